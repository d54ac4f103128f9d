"""Weights of a network for phones, cut out of MoveNet's: a start that has seen people.

Hidden channels of an inverted residual are kept by their norm: the root mean square of what a
channel holds on some pictures, times the norm of what the projection makes of it (after Molchanov
et al., "Pruning convolutional neural networks for resource efficient inference", ICLR 2017). The
projection is then fitted to what the whole block gave, by least squares (He et al., "Channel
pruning for accelerating very deep neural networks", ICCV 2017), block after block on what the
narrower network itself gives. The layer `deep`, which stands for the blocks left out, is fitted in
the same way to the pyramid's deepest level.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from bodyjax.models.backbones.mobilenet_v2_fpn import STRIDES, TAPS
from bodyjax.models.backbones.mobilenet_v2_short import expansions
from bodyjax.models.depthwise import depthwise
from bodyjax.models.resize import upsample2

Array = jax.Array
Tree = dict[str, Any]

RIDGE = 1e-4
"""Of the mean square of the inputs: keeps weights of channels that hardly vary small."""


def short(params: Tree, shallow: int, deep: int, pixels: np.ndarray) -> Tree:
    """Parameters of `MobileNetV2Short` with these expansions from those of `MobileNetV2FPN`
    (multiplier 1.5).

    pixels (N, H, W, 3) in 0..255, H and W multiples of 32: a few hundred pictures like those that
    the network will see; more than that hardly changes the fit.
    """
    whole = jax.jit(_stem)(params["stem"], pixels)
    narrow, cut, taps = whole, {"stem": params["stem"]}, {}
    count = len(expansions(shallow, deep))
    for i, expansion in enumerate(expansions(shallow, deep)):
        block, stride = params[f"block{i}"], STRIDES[i]
        # The first has no expansion.
        kept = _narrowed(block, whole, narrow, stride, expansion) if i else block
        whole = _block(block, whole, stride)
        narrow = _block(kept, narrow, stride)
        cut[f"block{i}"] = kept
        if i in TAPS:
            taps[TAPS[i]] = narrow
    deepest = _deepest(params, whole, count)
    cut["deep"] = _fitted(narrow, deepest if deep else upsample2(deepest))
    for stride in (16, 8, 4):
        cut[f"lateral{stride}"] = params[f"lateral{stride}"]
        cut[f"smooth{stride}"] = params[f"smooth{stride}"]
    return jax.tree.map(np.asarray, cut)


def _stem(stem: Tree, pixels: Array) -> Array:
    x = jnp.asarray(pixels, jnp.float32) / 127.5 - 1.0
    y = jax.lax.conv_general_dilated(
        x, jnp.asarray(stem["kernel"]), (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return nn.relu6(y + stem["bias"])


def _hidden(block: Tree, x: Array, stride: int) -> Array:
    """What the projection of a residual reads."""
    if "expand" in block:
        x = nn.relu6(_pointwise(block["expand"], x))
    y = depthwise(x, jnp.asarray(block["depthwise"]["kernel"]), stride)
    return nn.relu6(y + block["depthwise"]["bias"])


@jax.jit
def _pointwise(layer: Tree, x: Array) -> Array:
    return jnp.dot(x, jnp.asarray(layer["kernel"])[0, 0]) + layer["bias"]


def _block(block: Tree, x: Array, stride: int) -> Array:
    y = _pointwise(block["project"], _hidden_jit(block, x, stride))
    return x + y if "expand" in block and x.shape == y.shape else y


_hidden_jit = jax.jit(_hidden, static_argnums=2)


def _narrowed(block: Tree, whole: Array, narrow: Array, stride: int, expansion: int) -> Tree:
    """A residual with `expansion` hidden channels for each input: `whole` goes into the published
    one, `narrow` into the new one."""
    hidden, kernel = _hidden_jit(block, whole, stride), np.asarray(block["project"]["kernel"])[0, 0]
    size = np.sqrt(np.asarray(jnp.mean(jnp.square(hidden), axis=(0, 1, 2))))
    count = expansion * whole.shape[-1]
    kept = np.sort(np.argsort(-size * np.linalg.norm(kernel, axis=1), kind="stable")[:count])
    new = {
        "expand": {
            "kernel": np.asarray(block["expand"]["kernel"])[..., kept],
            "bias": np.asarray(block["expand"]["bias"])[kept],
        },
        "depthwise": {name: np.asarray(part)[..., kept] for name, part in
                      block["depthwise"].items()},
    }  # fmt: skip
    aim = _block(block, whole, stride)
    if aim.shape == narrow.shape:  # the shortcut carries what the narrow network gave so far
        aim = aim - narrow
    return {**new, "project": _fitted(_hidden_jit(new, narrow, stride), aim)}


def _deepest(params: Tree, x: Array, first: int) -> Array:
    """The pyramid's level of stride 32, from what goes into block number `first`."""
    for i in range(first, len(STRIDES)):
        x = _block(params[f"block{i}"], x, STRIDES[i])
    x = nn.relu6(_pointwise(params["head"], x))
    return _pointwise(params["lateral32"], x)


def _fitted(inputs: Array, aims: Array) -> Tree:
    """The 1x1 convolution from inputs (N, H, W, C) to aims (N, H, W, D) with the least squares."""
    x, y = (np.asarray(a, np.float64).reshape(-1, a.shape[-1]) for a in (inputs, aims))
    middle, aim = x.mean(0), y.mean(0)
    square = (x - middle).T @ (x - middle)
    square[np.diag_indices_from(square)] += RIDGE * len(x) * np.mean(np.square(x - middle))
    kernel = np.linalg.solve(square, (x - middle).T @ (y - aim))
    bias = aim - middle @ kernel
    return {"kernel": kernel[None, None].astype(np.float32), "bias": bias.astype(np.float32)}
