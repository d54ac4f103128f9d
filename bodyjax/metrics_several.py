"""Measures of several classes at once: each holds or not, told at a probability of 0.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax.contract import Batch
from bodyjax.counting import present, ratio


@dataclass(frozen=True)
class SeveralAtOnce:
    """F1 of each class, their mean, and how often all classes of a row are right.

    Reads outputs["probability"] (B, C), batch["label"] (B, C) of 0 and 1, and batch["mask"].
    """

    labels: tuple[str, ...]
    threshold: float = 0.5

    def init(self) -> dict[str, Any]:
        each = np.zeros(len(self.labels), np.int32)
        zero = np.zeros((), np.int32)
        return {"hit": each, "held": each, "told": each, "right": zero, "n": zero}

    def update(self, state: dict[str, Any], outputs: Any, batch: Batch) -> dict[str, Any]:
        told = jnp.asarray(outputs["probability"]) >= self.threshold
        held = jnp.asarray(batch["label"]) > 0.5
        mask = present(batch, len(held))
        counted = mask[:, None]
        fresh = {
            "hit": jnp.sum(told & held & counted, axis=0, dtype=jnp.int32),
            "held": jnp.sum(held & counted, axis=0, dtype=jnp.int32),
            "told": jnp.sum(told & counted, axis=0, dtype=jnp.int32),
            "right": jnp.sum((told == held).all(axis=-1) & mask, dtype=jnp.int32),
            "n": jnp.sum(mask, dtype=jnp.int32),
        }
        return jax.tree.map(jnp.add, state, fresh)

    def compute(self, state: dict[str, Any]) -> dict[str, Any]:
        """accuracy: the share of rows whose classes are all right; f1: the mean over the classes
        that occur; per_class: their F1; n rows."""
        hit, held, told = (np.asarray(state[name]) for name in ("hit", "held", "told"))
        per_class = {
            label: ratio(2 * hit[i], held[i] + told[i])
            for i, label in enumerate(self.labels)
            if held[i]
        }
        return {
            "accuracy": ratio(state["right"], state["n"]),
            "f1": float(np.mean(list(per_class.values()))) if per_class else float("nan"),
            "per_class": per_class,
            "n": int(state["n"]),
        }
