"""Weights that tell a scorer's exercise from other movements, fitted on the joints of both.

    push_ups = source.from_config({"kind": "pushfit", "path": PATH, "joints": "movenet"})
    others = source.from_config({"kind": "jhmdb", "path": OTHER})
    report = exercise.fit(push_ups, others.rows(others.splits["1"] == folds.TRAIN))
    report.weights # for score.exercise in the scorer's config

bodyjax.score.exercise says what they weigh. `kept` and `passed` come from folds by group: of people
and videos that the weights of the fold have not seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bodyjax.data import folds
from bodyjax.data.sequences.source import Sequences
from bodyjax.detect import person_score
from bodyjax.errors import DataError
from bodyjax.score.exercise import evidence
from bodyjax.skeleton import Skeleton


class Report(NamedTuple):
    """weights of the evidence values; kept: the share of rows of the exercise that count as it;
    passed: the share of rows of other movements that do; both from folds."""

    weights: tuple[float, ...]
    kept: float
    passed: float


def fit(exercise: Sequences, others: Sequences, count: int = 5, seed: int = 0) -> Report:
    """Fits on all rows of both, after `count` folds by group. DataError for 3D joints, or rows that
    don't say whose they are."""
    for part in (exercise, others):
        if part.joints.shape[-1] != 2:
            raise DataError(f"joints of {part.skeleton.name} are not 2D")
    tables = [table(part) for part in (exercise, others)]
    sides = [parts(part, count, seed) for part in (exercise, others)]
    held = [np.zeros(len(part)) for part in (exercise, others)]
    for fold in range(count):
        weights = weights_of(*(t[:, s != fold] for t, s in zip(tables, sides, strict=True)))
        for decided, rows, side in zip(held, tables, sides, strict=True):
            decided[side == fold] = rows[0, side == fold] @ np.array(weights)
    kept, passed = (float((decided > 0).mean()) for decided in held)
    return Report(weights_of(*tables), kept, passed)


def table(data: Sequences) -> np.ndarray:
    """(2, N, F) evidence of every row, and of its mirror image."""
    mirrored = np.array(data.skeleton.mirror)
    turned = data.joints[:, :, mirrored] * np.array([-1, 1], np.float32)
    body: Skeleton = data.skeleton
    return np.stack(
        [
            evidence(data.joints, data.visible, body),
            evidence(turned, data.visible[:, :, mirrored], body),
        ]
    )


def parts(data: Sequences, count: int, seed: int) -> np.ndarray:
    """(N,) the fold that tests each row; groups stay whole."""
    if data.groups is None:
        raise DataError("the set does not say whose clips are whose: no folds by group")
    number = np.zeros(len(data), int)
    for fold, part in enumerate(folds.by_group(data.labels, data.groups, count, seed)):
        number[part.test] = fold
    return number


def weights_of(exercise: np.ndarray, others: np.ndarray) -> tuple[float, ...]:
    """The logistic model of tables (2, N, F) and (2, M, F)."""
    rows = np.concatenate([*exercise, *others])
    right = np.repeat([1.0, 0.0], [2 * exercise.shape[1], 2 * others.shape[1]])
    return person_score.fit(rows, right, np.arange(len(rows)))
