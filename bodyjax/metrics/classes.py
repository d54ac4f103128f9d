"""Measures of classes, one or several of which hold: functions of arrays, and folds over batches.

The folds keep int32 counts, and `compute` divides them on the host in float64. Rows where
batch["mask"] is False are padding and count nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bodyjax.contract import Batch
from bodyjax.metrics.shares import present, ratio


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, classes: int, mask: ArrayLike | None = None
) -> Array:
    """(C, C) int32, rows are labels, columns predictions; (...,) int inputs, mask (...,)."""
    labels, predictions = jnp.asarray(labels).ravel(), jnp.asarray(predictions).ravel()
    counted = (labels >= 0) & (labels < classes) & (predictions >= 0) & (predictions < classes)
    if mask is not None:
        counted = counted & jnp.asarray(mask, bool).ravel()
    place = jnp.where(counted, labels * classes + predictions, classes * classes)
    counts = jnp.zeros(classes * classes + 1, jnp.int32).at[place].add(1)
    return counts[:-1].reshape(classes, classes)


def accuracy(labels: ArrayLike, logits: ArrayLike, top: int = 1) -> Array:
    """Share of rows whose label is among the `top` highest logits: (B,), (B, C) -> ()."""
    _, best = jax.lax.top_k(jnp.asarray(logits), top)
    return jnp.mean(jnp.any(best == jnp.asarray(labels)[..., None], axis=-1))


def mean_class_accuracy(confusion: ArrayLike) -> float:
    """Mean recall of the classes that occur as labels, which is also the balanced accuracy (host).

    confusion: (C, >= C), rows are labels; columns beyond C count as wrong. NaN where it is empty.
    """
    counts = np.asarray(confusion, np.float64)
    occurs = counts.sum(axis=1) > 0
    if not occurs.any():
        return float("nan")
    return float(np.mean(np.diagonal(counts)[occurs] / counts.sum(axis=1)[occurs]))


balanced_accuracy = mean_class_accuracy


@dataclass(frozen=True)
class Classification:
    """Top-1, top-k, mean-class accuracy and the confusion matrix of C classes.

    Reads outputs["logits"] (B, C) (or outputs, if it is an array), batch["label"] (B,) int and
    batch["mask"]. Rows with a label outside [0, C) are left out and counted; rows with NaN among
    the logits are wrong and counted as without prediction.
    """

    labels: tuple[str, ...]
    top: int = 3

    def init(self) -> dict[str, Any]:
        classes, zero = len(self.labels), np.zeros((), np.int32)
        return {
            "confusion": np.zeros((classes, classes + 1), np.int32),
            "top": zero,
            "left_out": zero,
        }

    def update(self, state: dict[str, Any], outputs: Any, batch: Batch) -> dict[str, Any]:
        logits = jnp.asarray(outputs["logits"] if isinstance(outputs, Mapping) else outputs)
        labels, classes = jnp.asarray(batch["label"]), len(self.labels)
        mask = present(batch, len(labels))
        known = mask & (labels >= 0) & (labels < classes)
        valid = ~jnp.any(jnp.isnan(logits), axis=-1)
        best = jax.lax.top_k(logits, min(self.top, classes))[1]
        column = jnp.where(valid, best[:, 0], classes)
        row = jnp.where(known, labels, classes)
        counts = jnp.zeros((classes + 1, classes + 1), jnp.int32).at[row, column].add(1)
        hit = known & valid & jnp.any(best == labels[:, None], axis=-1)
        fresh = {
            "confusion": counts[:-1],
            "top": jnp.sum(hit, dtype=jnp.int32),
            "left_out": jnp.sum(mask & ~known, dtype=jnp.int32),
        }
        return jax.tree.map(jnp.add, state, fresh)

    def compute(self, state: dict[str, Any]) -> dict[str, Any]:
        counts = np.asarray(state["confusion"])
        total, right = counts.sum(), np.diagonal(counts)
        mean = mean_class_accuracy(counts)
        return {
            "accuracy": ratio(right.sum(), total),
            f"top{min(self.top, len(self.labels))}": ratio(state["top"], total),
            "mean_class_accuracy": mean,
            "balanced_accuracy": mean,
            "n": int(total),
            "left_out": int(state["left_out"]),
            "without_prediction": int(counts[:, -1].sum()),
            "per_class": {
                label: ratio(right[i], counts[i].sum()) for i, label in enumerate(self.labels)
            },
            "confusion": counts[:, :-1],
        }


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
