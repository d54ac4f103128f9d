"""One pass over held-out examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from bodyjax.contract import System, Variables
from bodyjax.engine import mesh as meshes

Evaluator = Callable[[Variables, Iterable[dict[str, np.ndarray]]], dict[str, Any]]


def make_evaluator(system: System, mesh: Mesh) -> Evaluator:
    """(variables, padded batches with `mask`) -> metrics; {} where there are no batches.

    predict and the metrics' update run as one jitted program, compiled at the first call; the
    metric state stays on the device until the end of the pass.
    """
    metrics = system.metrics()

    def add(total: Any, variables: Variables, batch: dict[str, jax.Array]) -> Any:
        return metrics.update(total, system.predict(variables, batch), batch)

    compiled = jax.jit(add, donate_argnums=0, out_shardings=meshes.replicated(mesh))

    def evaluate(variables: Variables, batches: Iterable[dict[str, np.ndarray]]) -> dict[str, Any]:
        # numpy copies: initial arrays may share one buffer, which can't be donated twice
        total = meshes.replicate(jax.tree.map(np.array, metrics.init()), mesh)
        seen = False
        for batch in batches:
            total = compiled(total, variables, meshes.to_device(batch, mesh))
            seen = True
        return dict(metrics.compute(jax.device_get(total))) if seen else {}

    return evaluate


def predict_rows(
    predict: Callable[[Variables, Any], Any],
    variables: Variables,
    arrays: Mapping[str, np.ndarray],
    rows: np.ndarray,
    batch: int = 256,
) -> dict[str, np.ndarray]:
    """Outputs of `predict` (jitted) for rows of arrays, in their order; every batch has one shape,
    so one program serves all."""
    parts = []
    for first in range(0, len(rows), batch):
        index = np.resize(rows[first : first + batch], batch)
        out = predict(variables, {name: array[index] for name, array in arrays.items()})
        parts.append({k: np.asarray(v)[: len(rows) - first] for k, v in out.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
