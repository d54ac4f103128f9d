"""One training step of any system, as the engine runs it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bodyjax.bench import timing
from bodyjax.bench.rows import Row
from bodyjax.bench.timing import Timed
from bodyjax.contract import Batch, System, Variables


def variables_of(system: System) -> Variables:
    """Random variables of the right shapes, made by NumPy: compiling init takes long."""
    rng = np.random.default_rng(0)

    def fill(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        last = str(getattr(path[-1], "key", ""))
        if last in ("scale", "var"):
            return np.ones(leaf.shape, leaf.dtype)
        if last in ("bias", "mean") or leaf.dtype.kind != "f":
            return np.zeros(leaf.shape, leaf.dtype)
        fan_in = max(1, math.prod(leaf.shape[:-1]))
        return rng.normal(0, fan_in**-0.5, leaf.shape).astype(leaf.dtype)

    shapes = jax.eval_shape(system.init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(fill, shapes)


def millions(tree: Any) -> float:
    """Parameters in a tree, in millions."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree)) / 1e6


def step(system: System, variables: Variables, batch: Batch) -> Timed:
    """Loss, gradient and an Adam update of one batch."""
    optimizer = optax.adam(1e-4)
    rest = {name: variables[name] for name in ("batch_stats", "frozen")}

    def train(params: Any, state: Any, rest: Any, batch: Any) -> Any:
        def loss(params: Any) -> Any:
            return system.loss({"params": params, **rest}, batch, jax.random.key(1))

        (_, aux), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, aux.batch_stats

    params = jax.tree.map(jnp.asarray, variables["params"])
    return timing.measure(train, params, optimizer.init(params), rest, dict(batch))


def training(name: str, config: Mapping[str, Any], platform: str) -> Iterator[Row]:
    """Parameters, compile time and steps per second of a config's system."""
    from bodyjax import systems

    timing.use_platform(platform)
    part = f"{name}: training step"
    system = systems.build(config)
    data = config["data"]
    size = data["batch"]
    classes = len(config.get("labels", ()))
    variables = variables_of(system)
    yield Row(part, "parameters", millions(variables["params"]), "M")
    rows, rate = timing.matmul_rows(part)
    yield from rows
    timed = step(system, variables, timing.random_batch(system.batch_spec(size), classes))
    note = "; ".join(x for x in (f"{timed.gflop:.3g} GFLOP", timing.share(timed, rate)) if x)
    yield Row(part, f"batch {size}", 1 / timed.seconds, "steps/s", timed.compile_seconds, note)
