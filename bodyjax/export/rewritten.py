"""A network as other runtimes run it fast: the same function with fewer and plainer steps.

A converter takes a traced function step by step, but what training wants of a step is not what a
runtime wants. `simplified` gives a function with the same results in which

- calls are opened, and steps that depend on weights alone are computed once;
- a product over the channels of a map (B, H, W, C) is a 1 x 1 convolution;
- scales and offsets of channels are part of the convolution before them: norms vanish;
- twice-upsampling is one step again, not the products that it is traced as;
- a choice between truth values is made by "and" and "or", which every runtime has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.extend import core

Array = Any

CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")
OF_CONVOLUTION = (
    "window_strides", "padding", "lhs_dilation", "rhs_dilation", "dimension_numbers",
    "feature_group_count", "batch_group_count", "precision", "preferred_element_type",
)  # fmt: skip


@dataclass
class Convolution:
    """A convolution that is not computed before a step other than a scale or an offset of its
    channels asks for it."""

    x: Array
    kernel: np.ndarray
    bias: np.ndarray | None
    shape: tuple[int, ...]
    rest: dict[str, Any]
    made: list[Array] = field(default_factory=list)

    def value(self) -> Array:
        if not self.made:
            y = lax.conv_general_dilated(self.x, jnp.asarray(self.kernel), **self.rest)
            if self.bias is not None:
                y = y + self.bias
            self.made.append(y)
        return self.made[0]


def simplified(
    function: Callable[..., Any], *inputs: jax.ShapeDtypeStruct, unroll: bool = False
) -> Callable[..., list[Array]]:
    """The function of arrays of these shapes, as a function that gives the leaves of its result.

    unroll: loops of a known number of turns are written out (a format without loops).
    """
    closed = jax.make_jaxpr(function)(*inputs)
    run = Rewriter(unroll)

    def rewritten(*arguments: Array) -> list[Array]:
        return [needed(leaf) for leaf in run(closed.jaxpr, closed.consts, arguments)]

    return rewritten


def known(value: Any) -> bool:
    """Whether a value depends on no input."""
    return not isinstance(value, jax.core.Tracer | Convolution)


def needed(value: Any) -> Array:
    """A value as steps take it. A constant that repeats one value along an axis is stored once."""
    if isinstance(value, Convolution):
        return value.value()
    if not isinstance(value, np.ndarray) or not value.ndim:
        return value
    small = shrunk(value)
    if small.shape == value.shape:
        return jnp.asarray(value)
    return lax.broadcast_in_dim(jnp.asarray(small), value.shape, tuple(range(value.ndim)))


def shrunk(value: np.ndarray) -> np.ndarray:
    """One entry of each axis along which `np.broadcast_to` repeats."""
    pairs = zip(value.shape, value.strides, strict=True)
    return value[tuple(slice(1) if step == 0 and size > 1 else slice(None) for size, step in pairs)]


class Rewriter:
    """Runs a traced function step by step; `run(jaxpr, constants, arguments)` -> its results."""

    def __init__(self, unroll: bool) -> None:
        self.unroll = unroll
        self.rules: dict[str, Callable[..., list[Any] | None]] = {
            "dot_general": product,
            "conv_general_dilated": convolution,
            "add": partial(affine, "add"),
            "sub": partial(affine, "sub"),
            "mul": partial(affine, "mul"),
            "select_n": choice,
            "reduce_window_max": largest,
            "stop_gradient": lambda step, inputs: inputs,
            "scan": self.scan,
        }

    def __call__(self, jaxpr: Any, constants: Iterable[Any], arguments: Iterable[Any]) -> list[Any]:
        values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
        values |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else values[atom]

        for step in jaxpr.eqns:
            results = self.step(step, [read(atom) for atom in step.invars])
            values |= dict(zip(step.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def step(self, step: Any, inputs: list[Any]) -> list[Any]:
        """The results of one step."""
        name = step.primitive.name
        if all(map(known, inputs)):
            return computed(step, inputs)
        inner = next((step.params[k] for k in INSIDE if k in step.params), None)
        if inner is not None and name not in ("scan", "while", "cond"):
            if (resized := upsampled(step, inputs)) is not None:
                return [resized]
            closed = isinstance(inner, core.ClosedJaxpr)
            jaxpr, constants = (inner.jaxpr, inner.consts) if closed else (inner, ())
            return self(jaxpr, constants, inputs)
        rule = self.rules.get(name)
        results = rule(step, inputs) if rule else None
        if results is None:
            out = step.primitive.bind(*map(needed, inputs), **step.params)
            results = list(out) if step.primitive.multiple_results else [out]
        return results

    def scan(self, step: Any, inputs: list[Any]) -> list[Any]:
        """A loop whose body is rewritten too."""
        params, body = step.params, step.params["jaxpr"]
        consts, carried = params["num_consts"], params["num_carry"]
        fixed, first, rows = (
            inputs[:consts], inputs[consts : consts + carried], inputs[consts + carried :]
        )  # fmt: skip

        def turn(carry: Sequence[Any], row: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            out = [needed(leaf) for leaf in self(body.jaxpr, body.consts, [*fixed, *carry, *row])]
            return out[:carried], out[carried:]

        first = [jnp.asarray(needed(leaf)) for leaf in first]
        rows = [needed(leaf) for leaf in rows]
        length = params["length"]
        if not self.unroll and length > 1:
            carry, made = lax.scan(turn, first, rows, length, params["reverse"])
            return [*carry, *made]
        carry, parts = first, []
        order = range(length)[::-1] if params["reverse"] else range(length)
        for t in order:
            carry, part = turn(carry, [row[t] for row in rows])
            parts.append(part)
        parts = parts[::-1] if params["reverse"] else parts
        return [*carry, *(jnp.stack(leaf) for leaf in zip(*parts, strict=True))]


INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Where steps keep the function that they call."""


def computed(step: Any, inputs: list[Any]) -> list[Any]:
    """The results of a step on constants, as constants."""
    if step.primitive.name == "broadcast_in_dim" and np.ndim(inputs[0]) == np.size(inputs[0]) == 0:
        return [inputs[0]]
    if step.primitive.name == "broadcast_in_dim":
        value, shape = np.asarray(inputs[0]), step.params["shape"]
        places = step.params["broadcast_dimensions"]
        spread = [1] * len(shape)
        for size, place in zip(value.shape, places, strict=True):
            spread[place] = size
        return [np.broadcast_to(value.reshape(spread), shape)]
    with jax.ensure_compile_time_eval():
        out = step.primitive.bind(*inputs, **step.params)
    several = out if step.primitive.multiple_results else [out]
    return [leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)
            for leaf in several]  # fmt: skip


def convolution(step: Any, inputs: list[Any]) -> list[Any] | None:
    """A convolution of maps (B, H, W, C) with known weights waits for scales and offsets."""
    x, kernel = inputs
    numbers = step.params["dimension_numbers"]
    last = numbers.lhs_spec == numbers.out_spec == (0, 3, 1, 2)
    if not (known(kernel) and last and numbers.rhs_spec == (3, 2, 0, 1)):
        return None
    kernel, shape = np.asarray(kernel), step.outvars[0].aval.shape
    rest = {name: step.params[name] for name in OF_CONVOLUTION}
    return [Convolution(needed(x), kernel, None, shape, rest)]


def product(step: Any, inputs: list[Any]) -> list[Any] | None:
    """A product of a map's channels with known weights (C, K) is a 1 x 1 convolution."""
    x, weights = inputs
    (over, along), batch = step.params["dimension_numbers"]
    if not known(weights) or np.ndim(weights) != 2 or tuple(along) != (0,) or any(batch):
        return None
    shape = step.outvars[0].aval.shape
    if len(shape) != 4 or tuple(over) != (3,):
        return None
    kernel = np.asarray(weights)[None, None]
    rest = dict(window_strides=(1, 1), padding="VALID", dimension_numbers=CHANNELS_LAST)
    return [Convolution(needed(x), kernel, None, shape, rest)]


def affine(kind: str, step: Any, inputs: list[Any]) -> list[Any] | None:
    """A scale or an offset of the channels of a waiting convolution is part of its weights."""
    first, second = inputs
    turned = not isinstance(first, Convolution)
    waiting, by = (second, first) if turned else (first, second)
    if not isinstance(waiting, Convolution) or not known(by) or (kind == "sub" and turned):
        return None
    by = per_channel(by, waiting.shape)
    if by is None or step.outvars[0].aval.shape != waiting.shape:
        return None
    bias = waiting.bias
    if kind == "mul":
        scaled = None if bias is None else bias * by
        return [replace(waiting, kernel=waiting.kernel * by, bias=scaled, made=[])]
    moved = np.float32(0) if bias is None else bias
    moved = moved + by if kind == "add" else moved - by
    return [replace(waiting, bias=np.broadcast_to(moved, waiting.shape[-1:]), made=[])]


def per_channel(value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """A constant as (K,) if it depends on the channel alone, otherwise None."""
    value = np.asarray(value)
    if value.ndim == 0:
        return value
    small = shrunk(value)
    if value.ndim != len(shape) or any(size != 1 for size in small.shape[:-1]):
        return None
    return np.broadcast_to(small.reshape(-1), shape[-1:])


def choice(step: Any, inputs: list[Any]) -> list[Any] | None:
    """A choice between truth values: (which and second) or (not which and first)."""
    if len(inputs) != 3 or step.outvars[0].aval.dtype != jnp.bool_:
        return None
    which, first, second = map(needed, inputs)
    shape = step.outvars[0].aval.shape
    which = jnp.broadcast_to(which, shape)
    return [(which & second) | (~which & first)]


def largest(step: Any, inputs: list[Any]) -> list[Any] | None:
    """The largest value of windows of a map (B, H, W, C), as the layer that jax2onnx knows; it
    drops numbers of padding, so that is a step of its own."""
    params = step.params
    window, strides, padding = (
        params[k] for k in ("window_dimensions", "window_strides", "padding")
    )
    plain = len(window) == 4 and window[0] == window[3] == 1
    dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
    if not plain or dilated or padding[0] != (0, 0) or padding[3] != (0, 0):
        return None
    x = needed(inputs[0])
    lowest = jnp.finfo(x.dtype).min
    x = lax.pad(x, jnp.asarray(lowest, x.dtype), [(*ends, 0) for ends in padding])
    return [nn.max_pool(x, window_shape=window[1:3], strides=strides[1:3], padding="VALID")]


def upsampled(step: Any, inputs: list[Any]) -> Array | None:
    """models.resize.upsample2, if the step is a call that does the same; otherwise None."""
    if len(inputs) != 1 or len(step.outvars) != 1:
        return None
    before, after = step.invars[0].aval.shape, step.outvars[0].aval.shape
    doubled = len(before) == 4 and after == (before[0], 2 * before[1], 2 * before[2], before[3])
    if not doubled or "resize" not in str(step.params.get("name", "")):
        return None
    example = np.random.default_rng(0).normal(size=before).astype(np.float32)
    with jax.ensure_compile_time_eval():
        (traced,) = core.jaxpr_as_fun(step.params["jaxpr"])(example)
    for axis in (1, 2):
        example = doubled_along(example, axis)
    if not np.allclose(traced, example, atol=1e-5):
        return None
    return jax.image.resize(needed(inputs[0]), after, "bilinear", antialias=False)


def doubled_along(x: np.ndarray, axis: int) -> np.ndarray:
    """Twice as many entries along an axis, linear between the centres of the old ones."""
    count = x.shape[axis]
    before = np.take(x, np.maximum(np.arange(count) - 1, 0), axis)
    after = np.take(x, np.minimum(np.arange(count) + 1, count - 1), axis)
    pair = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
    return pair.reshape(*x.shape[:axis], 2 * count, *x.shape[axis + 1 :])
