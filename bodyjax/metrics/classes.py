"""Measures of classes, of which one or several hold: functions of arrays, and folds over batches.

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
from bodyjax.metrics.intervals import of_share
from bodyjax.metrics.shares import present, ratio


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, classes: int, mask: ArrayLike | None = None
) -> Array:
    """(C, C + 1) int32: rows are labels, columns predictions; (...,) int inputs, mask (...,).

    A prediction outside [0, C) means none, and counts in the last column; a label outside [0, C)
    counts nowhere.
    """
    labels, predictions = jnp.asarray(labels).ravel(), jnp.asarray(predictions).ravel()
    counted = (labels >= 0) & (labels < classes)
    if mask is not None:
        counted = counted & jnp.asarray(mask, bool).ravel()
    told = (predictions >= 0) & (predictions < classes)
    row, column = jnp.where(counted, labels, classes), jnp.where(told, predictions, classes)
    counts = jnp.zeros((classes + 1, classes + 1), jnp.int32).at[row, column].add(1)
    return counts[:-1]


def best_classes(logits: ArrayLike, top: int = 1) -> Array:
    """The `top` classes of the highest logits, or all if there are fewer, highest first: (..., C)
    -> (..., min(top, C)) int32; -1, which is no class, in rows with NaN."""
    logits = jnp.asarray(logits)
    best = jax.lax.top_k(logits, min(top, logits.shape[-1]))[1]
    return jnp.where(jnp.isnan(logits).any(axis=-1, keepdims=True), -1, best)


def accuracy(labels: ArrayLike, logits: ArrayLike, top: int = 1) -> Array:
    """Share of rows whose label is among the `top` highest logits: (B,), (B, C) -> (). Rows with
    NaN are wrong; without rows the result is NaN."""
    wanted = jnp.asarray(labels)[..., None]
    hit = jnp.any((best_classes(logits, top) == wanted) & (wanted >= 0), axis=-1)
    return jnp.mean(hit) if hit.size else jnp.float32(jnp.nan)


def mean_class_accuracy(confusion: ArrayLike) -> float:
    """Mean recall of the classes that occur as labels, which is also the balanced accuracy (host).

    confusion: (C, >= C), rows are labels; columns beyond C count as wrong. NaN if it is empty.
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

    Measures: accuracy; accuracy_interval, its Wilson bounds (intervals.of_share); topK, if there
    are more than K classes (otherwise it can't be wrong); mean_class_accuracy, also called
    balanced_accuracy; n rows, left_out, without_prediction; per_class, the accuracy of the classes
    that occur; confusion (C, C). Of no rows the shares are NaN.
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
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs
        labels, classes = jnp.asarray(batch["label"]), len(self.labels)
        mask = present(batch, len(labels))
        known = mask & (labels >= 0) & (labels < classes)
        best = best_classes(logits, self.top)
        hit = known & jnp.any(best == labels[:, None], axis=-1)
        fresh = {
            "confusion": confusion_matrix(labels, best[:, 0], classes, mask),
            "top": jnp.sum(hit, dtype=jnp.int32),
            "left_out": jnp.sum(mask & ~known, dtype=jnp.int32),
        }
        return jax.tree.map(jnp.add, state, fresh)

    def compute(self, state: dict[str, Any]) -> dict[str, Any]:
        counts = np.asarray(state["confusion"])
        total, right, of_class = counts.sum(), np.diagonal(counts), counts.sum(axis=1)
        mean = mean_class_accuracy(counts)
        among = {f"top{self.top}": ratio(state["top"], total)}
        return {
            "accuracy": ratio(right.sum(), total),
            "accuracy_interval": of_share(int(right.sum()), int(total)),
            **(among if len(self.labels) > self.top else {}),
            "mean_class_accuracy": mean,
            "balanced_accuracy": mean,
            "n": int(total),
            "left_out": int(state["left_out"]),
            "without_prediction": int(counts[:, -1].sum()),
            "per_class": {
                label: ratio(right[i], of_class[i])
                for i, label in enumerate(self.labels)
                if of_class[i]
            },
            "confusion": counts[:, :-1],
        }


@dataclass(frozen=True)
class SeveralAtOnce:
    """F1 of each class, their mean, and how often all classes of a row are right.

    Reads outputs["probability"] (B, C), batch["label"] (B, C) of 0 and 1, and batch["mask"]. Rows
    with NaN predict no class; they are wrong and counted as without prediction.
    """

    labels: tuple[str, ...]
    threshold: float = 0.5

    def init(self) -> dict[str, Any]:
        each = np.zeros(len(self.labels), np.int32)
        zero = np.zeros((), np.int32)
        counts = {"right": zero, "n": zero, "without_prediction": zero}
        return {"hit": each, "held": each, "told": each, **counts}

    def update(self, state: dict[str, Any], outputs: Any, batch: Batch) -> dict[str, Any]:
        probability = jnp.asarray(outputs["probability"])
        valid = ~jnp.isnan(probability).any(axis=-1)
        told = (probability >= self.threshold) & valid[:, None]
        held = jnp.asarray(batch["label"]) > 0.5
        mask = present(batch, len(held))
        counted = mask[:, None]
        fresh = {
            "hit": jnp.sum(told & held & counted, axis=0, dtype=jnp.int32),
            "held": jnp.sum(held & counted, axis=0, dtype=jnp.int32),
            "told": jnp.sum(told & counted, axis=0, dtype=jnp.int32),
            "right": jnp.sum((told == held).all(axis=-1) & valid & mask, dtype=jnp.int32),
            "n": jnp.sum(mask, dtype=jnp.int32),
            "without_prediction": jnp.sum(~valid & mask, dtype=jnp.int32),
        }
        return jax.tree.map(jnp.add, state, fresh)

    def compute(self, state: dict[str, Any]) -> dict[str, Any]:
        """accuracy: the share of rows whose classes are all right; accuracy_interval: its Wilson
        bounds; f1: the mean over the classes that occur; per_class: their F1; n rows,
        without_prediction. Of no rows the shares are NaN."""
        hit, held, told = (np.asarray(state[name]) for name in ("hit", "held", "told"))
        per_class = {
            label: ratio(2 * hit[i], held[i] + told[i])
            for i, label in enumerate(self.labels)
            if held[i]
        }
        return {
            "accuracy": ratio(state["right"], state["n"]),
            "accuracy_interval": of_share(int(state["right"]), int(state["n"])),
            "f1": float(np.mean(list(per_class.values()))) if per_class else float("nan"),
            "per_class": per_class,
            "n": int(state["n"]),
            "without_prediction": int(state["without_prediction"]),
        }
