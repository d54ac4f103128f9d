"""One training step of any system, as the engine runs it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from bodyjax.bench import timing
from bodyjax.bench.rows import Row
from bodyjax.bench.timing import Timed
from bodyjax.contract import System, Variables
from bodyjax.engine import mesh, optim, settings
from bodyjax.engine import step as steps


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


def step(
    config: Mapping[str, Any], system: System, variables: Variables, batch: Mapping[str, np.ndarray]
) -> Timed:
    """The engine's step (engine.step.make_step) of one batch on all devices, with the config's
    optimizer; `config` is that of the system."""
    values = settings.plain(config)
    chosen = settings.optimizer(values.get("optimizer", {}))
    train = settings.train(values.get("train", {}))
    optimizer = optim.make_optimizer(chosen, train.steps)
    grid = mesh.make_mesh(train.model_parallel)
    (size,) = {len(array) for array in batch.values()}
    mesh.check_batch_size(size, grid)
    held = mesh.to_device(batch, grid)

    def init(variables: Variables, key: jax.Array) -> steps.TrainState:
        return steps.init_state(system, optimizer, variables, held, key, chosen.ema > 0)

    key = jax.random.key(0)
    shapes = jax.eval_shape(init, variables, key)
    state = jax.jit(init, out_shardings=mesh.shardings(shapes, grid))(variables, key)
    frozen = variables["frozen"]
    frozen = jax.device_put(frozen, mesh.shardings(frozen, grid))
    program = steps.make_step(system, optimizer, chosen, shapes, frozen, grid)
    return timing.measure_step(program, state, frozen, held)


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
    batch = timing.random_batch(system.batch_spec(size), classes)
    timed = step(config, system, variables, batch)
    note = "; ".join(x for x in (f"{timed.gflop:.3g} GFLOP", timing.share(timed, rate)) if x)
    yield Row(part, f"batch {size}", 1 / timed.seconds, "steps/s", timed.compile_seconds, note)
