"""The one loop that predicts: training, launch.evaluate and cross-validation measure through it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from bodyjax.contract import System, Variables
from bodyjax.engine import mesh as meshes

Batches = Iterable[Mapping[str, np.ndarray]]
"""Padded batches: `mask` (B,) bool says which rows are examples."""
Predicted = tuple[Any, dict[str, jax.Array]]
"""The outputs for a batch, and the batch, on the device."""
Predictor = Callable[[Variables, Batches], Iterator[Predicted]]
Evaluator = Callable[[Variables, Batches], dict[str, Any]]


def make_predictor(system: System, mesh: Mesh, at_once: int = 1) -> Predictor:
    """(variables, padded batches) -> each batch with its outputs, in order.

    predict is one jitted program, compiled at the first batch. at_once: the number of batches
    computed side by side, which pays on a CPU if one batch leaves a core idle; with several
    processes it must be 1, because all must launch the same programs in the same order.
    """
    compiled = jax.jit(lambda variables, batch: system.predict(variables, batch))

    def one(variables: Variables, batch: Mapping[str, np.ndarray]) -> Predicted:
        placed = meshes.to_device(batch, mesh)
        return compiled(variables, placed), placed

    def predict(variables: Variables, batches: Batches) -> Iterator[Predicted]:
        waiting = iter(batches)
        if at_once == 1:
            yield from _in_turn(lambda batch: one(variables, batch), waiting)
            return
        for batch in waiting:
            yield one(variables, batch)  # compiles, once for all threads
            break
        yield from _side_by_side(lambda batch: one(variables, batch), waiting, at_once)

    return predict


def _in_turn(run: Callable[[Any], Predicted], batches: Iterator[Any]) -> Iterator[Predicted]:
    """run(batch) for all batches, in order; at most two wait on the device."""
    before = None
    for batch in batches:
        found = run(batch)
        jax.block_until_ready(before)
        yield found
        before = found[0]


def _side_by_side(
    run: Callable[[Any], Predicted], batches: Iterator[Any], count: int
) -> Iterator[Predicted]:
    """run(batch) for all batches, in order, `count` of them in threads at a time."""

    def whole(batch: Any) -> Predicted:
        return jax.block_until_ready(run(batch))

    with ThreadPoolExecutor(count) as pool:
        running: deque[Future[Predicted]] = deque()
        for batch in batches:
            running.append(pool.submit(whole, batch))
            if len(running) > count:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def make_evaluator(system: System, mesh: Mesh, at_once: int = 1) -> Evaluator:
    """(variables, padded batches) -> what system.metrics() measures; {} if there are no batches.

    The metric state stays on the device until the end of the pass. at_once: as in make_predictor.
    """
    metrics, predict = system.metrics(), make_predictor(system, mesh, at_once)
    update = jax.jit(
        lambda total, outputs, batch: metrics.update(total, outputs, batch),
        donate_argnums=0,
        out_shardings=meshes.replicated(mesh),
    )

    def evaluate(variables: Variables, batches: Batches) -> dict[str, Any]:
        # numpy copies: initial arrays may share one buffer, which can't be donated twice
        total = meshes.replicate(jax.tree.map(np.array, metrics.init()), mesh)
        seen = False
        for outputs, batch in predict(variables, batches):
            total = update(total, outputs, batch)
            seen = True
        return dict(metrics.compute(jax.device_get(total))) if seen else {}

    return evaluate


def predict_rows(
    predict: Predictor, variables: Variables, batches: Batches, name: str = "probability"
) -> np.ndarray:
    """One output of all examples, in order, as a host array: (N, ...)."""
    parts = [
        np.asarray(outputs[name])[np.asarray(batch["mask"])]
        for outputs, batch in predict(variables, batches)
    ]
    return np.concatenate(parts)


def batches_of(
    arrays: Mapping[str, np.ndarray], rows: np.ndarray, size: int = 256
) -> Iterator[dict[str, np.ndarray]]:
    """Rows of arrays as padded batches of `size`."""
    for first in range(0, len(rows), size):
        index = np.resize(rows[first : first + size], size)
        batch = {name: array[index] for name, array in arrays.items()}
        yield {**batch, "mask": np.arange(size) < len(rows) - first}
