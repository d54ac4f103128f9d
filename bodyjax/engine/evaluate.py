"""One pass over held-out examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
