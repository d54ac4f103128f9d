"""Many trainings on one small array set at once: data on the device, one program for all.

A run is a plan of row numbers and weights of rows; one scan makes its steps, which are the engine's
(engine.step.update). Runs are a leading axis under `vmap` or, if that is slower, run one after
another on a few threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bodyjax.contract import System
from bodyjax.engine import mesh as meshes
from bodyjax.engine import step as steps
from bodyjax.engine.evaluate import batches_of, make_predictor, predict_rows
from bodyjax.engine.optim import make_optimizer
from bodyjax.engine.settings import OptimizerSettings
from bodyjax.errors import UserError

Array = jax.Array
Say = Callable[[str], None]


def plan(rows: np.ndarray, batch: int, steps: int, seed: int) -> np.ndarray:
    """(steps, batch) row numbers: every row once per epoch, in a new random order each time."""
    rng = np.random.default_rng(seed)
    epochs = -(-steps * batch // len(rows))
    order = np.concatenate([rng.permutation(rows) for _ in range(epochs)])
    return order[: steps * batch].reshape(steps, batch).astype(np.int32)


def balanced(labels: np.ndarray, condition: np.ndarray, train: np.ndarray) -> np.ndarray:
    """(N,) float32 weights that give each label the same total weight within each condition of
    `train`.

    Their mean over the training rows is 1; rows of (condition, label) not seen there weigh 0.
    """
    kinds = condition.astype(np.int64) * (labels.max() + 1) + labels
    counts = np.bincount(kinds[train], minlength=kinds.max() + 1)
    share = np.where(counts > 0, 1.0 / np.maximum(counts, 1), 0.0)
    size = np.bincount(condition[train], minlength=condition.max() + 1)
    weights = share[kinds] * size[condition]
    return (weights / weights[train].mean()).astype(np.float32)


class Models(NamedTuple):
    """Runs under way: what a step changes, and what stays. Every leaf has a leading axis if there
    are several."""

    state: steps.TrainState
    frozen: Any


@dataclass(frozen=True)
class Training:
    """How each run is trained; the data are arguments of `advance`."""

    system: System
    transform: optax.GradientTransformationExtraArgs
    optimizer: OptimizerSettings
    batch: int

    def start(self, seed: Array) -> Models:
        """A run before its first step."""
        variables = self.system.init(jax.random.key(seed))
        key = jax.random.fold_in(jax.random.key(seed), 1)
        shapes = steps.shapes(self.system.batch_spec(self.batch))
        ema = self.optimizer.ema > 0
        state = steps.init_state(self.system, self.transform, variables, shapes, key, ema)
        return Models(state, variables["frozen"])

    def advance(self, models: Models, rows: Array, weight: Array, data: Any) -> Models:
        """One run after the steps of rows (steps, B); the window holds these steps alone."""

        def step(state: steps.TrainState, chosen: Array) -> tuple[steps.TrainState, None]:
            batch = {name: array[chosen] for name, array in data.items()}
            batch["weight"] = weight[chosen]
            args = self.system, self.transform, self.optimizer, state, models.frozen, batch
            return steps.update(*args)[0], None

        empty = jax.tree.map(jnp.asarray, steps.empty_window(list(models.state.window.sums)))
        state, _ = jax.lax.scan(step, models.state._replace(window=empty), rows)
        return models._replace(state=state)

    def finish(self, models: Models) -> Any:
        """The variables that predict."""
        state = models.state
        params, statistics = state.params, state.batch_stats
        if self.optimizer.ema:
            params, statistics = state.ema, state.ema_stats
        return {"params": params, "batch_stats": statistics, "frozen": models.frozen}


def train_runs(
    system: System,
    arrays: Mapping[str, np.ndarray],
    plans: np.ndarray,
    weights: np.ndarray,
    seeds: Sequence[int],
    optimizer: OptimizerSettings,
    *,
    chunk: int = 100,
    together: bool = True,
    threads: int = 2,
    say: Say = lambda line: None,
) -> Any:
    """Variables of R trained models, every leaf with a leading axis R.

    plans: (R, steps, B) row numbers into `arrays`. weights: (R, N) of rows. seeds: R, for first
    parameters, changes and dropout. together: one program for all runs by vmap; otherwise one
    program per run, `threads` at a time. The result is the same up to rounding. `optimizer.ema`
    gives the moving average of the parameters instead of the last ones. chunk: steps between two
    looks at the loss. UserError if a loss or gradient is not a number.
    """
    transform = make_optimizer(optimizer, plans.shape[1])
    training = Training(system, transform, optimizer, plans.shape[2])
    data = {name: jnp.asarray(array) for name, array in arrays.items()}
    numbers = jnp.asarray(seeds, jnp.uint32)
    if together:
        return _together(training, data, plans, weights, numbers, chunk, say)
    return _one_by_one(training, data, plans, weights, numbers, chunk, threads, say)


def _together(
    training: Training, data: Any, plans: np.ndarray, weights: np.ndarray, seeds: Array,
    chunk: int, say: Say,
) -> Any:  # fmt: skip
    models = jax.jit(jax.vmap(training.start))(seeds)
    forward = jax.jit(jax.vmap(training.advance, in_axes=(0, 0, 0, None)), donate_argnums=0)
    count, began = plans.shape[1], time.monotonic()
    for first in range(0, count, chunk):
        rows = jnp.asarray(plans[:, first : first + chunk])
        models = forward(models, rows, jnp.asarray(weights), data)
        loss = checked_loss(models.state.window, range(len(plans))).mean()
        done, spent = min(first + chunk, count), time.monotonic() - began
        say(f"step {done}/{count}  loss {loss:.4f}  {spent:.0f} s")
    return training.finish(models)


def _one_by_one(
    training: Training, data: Any, plans: np.ndarray, weights: np.ndarray, seeds: Array,
    chunk: int, threads: int, say: Say,
) -> Any:  # fmt: skip
    begin, forward = jax.jit(training.start), jax.jit(training.advance, donate_argnums=0)
    began = time.monotonic()

    def one(r: int) -> Any:
        models, weight = begin(seeds[r]), jnp.asarray(weights[r])
        for first in range(0, plans.shape[1], chunk):
            rows = jnp.asarray(plans[r, first : first + chunk])
            models = forward(models, rows, weight, data)
            loss = checked_loss(models.state.window, [r])[0]
        say(f"run {r + 1}/{len(plans)}  loss {loss:.4f}  {time.monotonic() - began:.0f} s")
        return training.finish(models)

    ready = [one(0)]  # compiles, once for all
    with ThreadPoolExecutor(threads) as pool:
        ready += pool.map(one, range(1, len(plans)))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *ready)


def checked_loss(window: steps.Window, runs: Sequence[int]) -> np.ndarray:
    """The mean loss of each of `runs` in the window; UserError if one has diverged."""
    sums, bad = jax.device_get((window.sums, window.bad))
    for run, step in zip(runs, np.atleast_1d(bad), strict=True):
        if step >= 0:
            raise UserError(
                f"the loss of run {run + 1} or its gradient is not a finite number at step "
                f"{step + 1}",
                hint="lower optimizer.rate or set optimizer.clip",
            )
    total, count = sums["loss"]
    return np.atleast_1d(total / count)


def predict_runs(
    system: System, variables: Any, arrays: Mapping[str, np.ndarray], rows: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """probability (rows of the run, C) of R models, each on its own rows."""
    predict, size = make_predictor(system, meshes.one_device()), min(256, max(map(len, rows)))
    results = []
    for r, mine in enumerate(rows):
        model = jax.tree.map(lambda leaf, r=r: leaf[r], variables)
        results.append(predict_rows(predict, model, batches_of(arrays, mine, size)))
    return results
