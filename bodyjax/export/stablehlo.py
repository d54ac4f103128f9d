"""The deployed function whole, weights inside, as StableHLO: runs where jax and flatbuffers are.

    from jax import export
    run = export.deserialize(Path("detector.stablehlo").read_bytes()).call
    people = run(canvases)                 # {"xy": ..., "score": ..., ...}

Results are dictionaries instead of named tuples, so that reading them takes nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from bodyjax.contract import Deployed, Variables
from bodyjax.export.program import Arrays, Program, shapes

PLATFORMS = ("cpu", "cuda", "tpu")


def program(deployed: Deployed, variables: Variables, *, float16: bool = False) -> Program:
    """`deployed` with these variables inside. Every input and output has a first axis for the
    batch, of any size if the function allows it, otherwise 1.

    float16: the file holds parameters and statistics in half precision; computing stays float32.
    """
    batched = of_batch(deployed)
    stored = halved(variables) if float16 else variables

    def run(*inputs: Any) -> Any:
        return plain(batched.run(whole(stored), *inputs))

    (b,) = export.symbolic_shape("b")
    fixed = ""
    try:
        exported = _exported(run, jax.tree.map(lambda leaf: _resized(leaf, b), batched.inputs))
    except Exception as error:  # any step may refuse a symbolic size, each in its own way
        fixed = (str(error).splitlines() or [type(error).__name__])[0]
        exported = _exported(run, batched.inputs)
    data = bytes(exported.serialize())
    call = jax.jit(export.deserialize(bytearray(data)).call)
    inputs = jax.tree.unflatten(exported.in_tree, exported.in_avals)[0]
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    structure = jax.tree.structure(inputs)

    def by_name(arrays: Arrays) -> Arrays:
        found: Arrays = call(*jax.tree.unflatten(structure, list(arrays.values())))
        return found

    return Program(data, by_name, shapes(inputs), shapes(outputs), fixed)


def ours(deployed: Deployed, variables: Variables) -> Callable[[Arrays], Arrays]:
    """What `program` should give, for inputs by name: the function itself, jitted."""
    batched = of_batch(deployed)
    structure = jax.tree.structure(batched.inputs)
    run = jax.jit(lambda variables, *inputs: plain(batched.run(variables, *inputs)))

    def by_name(arrays: Arrays) -> Arrays:
        found: Arrays = run(variables, *jax.tree.unflatten(structure, list(arrays.values())))
        return found

    return by_name


def _exported(run: Callable[..., Any], inputs: tuple[Any, ...]) -> export.Exported:
    return export.export(jax.jit(run), platforms=PLATFORMS)(*inputs)


def of_batch(deployed: Deployed) -> Deployed:
    """The function of a batch of any size: of each example by itself, which allows a size that is
    not known when the function is traced."""

    def one(variables: Variables, *inputs: Any) -> Any:
        if not deployed.batched:
            return deployed.run(variables, *inputs)
        inputs = jax.tree.map(lambda leaf: leaf[None], inputs)
        return jax.tree.map(lambda leaf: leaf[0], deployed.run(variables, *inputs))

    def run(variables: Variables, *inputs: Any) -> Any:
        return jax.vmap(lambda *example: one(variables, *example))(*inputs)

    def first(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype)

    inputs = deployed.inputs if deployed.batched else jax.tree.map(first, deployed.inputs)
    return Deployed(run, inputs, batched=True)


def _resized(leaf: Any, batch: Any) -> Any:
    return jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype)


def plain(value: Any) -> Any:
    """Named tuples as dictionaries, without what is None."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items() if part is not None}
    return value


def halved(variables: Variables) -> Variables:
    """float32 leaves as float16."""

    def half(leaf: Any) -> Any:
        return np.asarray(leaf, np.float16) if leaf.dtype == jnp.float32 else leaf

    found: Variables = jax.tree.map(half, variables)
    return found


def whole(variables: Variables) -> Variables:
    """float16 leaves as float32."""

    def full(leaf: Any) -> Any:
        # A step of the program, so that the program keeps the halves.
        wide = lax.convert_element_type(jnp.asarray(leaf), jnp.float32)
        return wide if leaf.dtype == jnp.float16 else leaf

    found: Variables = jax.tree.map(full, variables)
    return found
