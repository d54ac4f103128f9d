"""Person scores as probabilities, fitted on pictures that nothing was trained on.

    report = calibration.calibrate(detect.load("small"), sets.open_set("multi", "valid"))
    report.weights # for detect.ranking (or ranking_second) in the detector's config
    report.min_person # the lowest score that reaches the required precision

Only pictures whose people are all labelled count: elsewhere a detected person without a label is
not a mistake.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bodyjax import detect, metrics
from bodyjax.data.pictures.labelled import People, Pictures
from bodyjax.detect import person_score
from bodyjax.detect.detector import Detector
from bodyjax.errors import DataError
from bodyjax.skeleton import AREA_OF_BOX, COCO17

RIGHT = 0.5
"""Least OKS of a right person."""
PRECISION = 0.8


class Report(NamedTuple):
    """weights of the evidence values; min_person: the lowest score at which precision is
    `PRECISION`, by scores of models that did not see the picture (folds); precision and recall
    there; people and pictures that were counted; expected and observed: share of right people by
    tenths of the score (NaN if there are none)."""

    weights: tuple[float, ...]
    min_person: float
    precision: float
    recall: float
    people: int
    pictures: int
    expected: np.ndarray
    observed: np.ndarray


def calibrate(detector: Detector, source: Pictures, folds: int = 5) -> Report:
    """Fits the weights on the complete pictures of a source; see `Report`."""
    people = source.to(COCO17).people
    complete = [row for row in range(len(source)) if source.people[row].complete]
    if len(complete) < folds:
        raise DataError(f"{len(complete)} complete pictures", file=source.files.path)
    evidence, quality, groups, labelled = [], [], [], 0
    for row in complete:
        found = detect.detect(detector, source.image(row))
        score, counted = best_oks(found, detector, people[row])
        evidence.append(found.evidence[counted])
        quality.append(score[counted])
        groups += [row] * int(counted.sum())
        labelled += len(source.people[row].xy)
    table, oks, group = np.concatenate(evidence), np.concatenate(quality), np.array(groups)
    right = (oks >= RIGHT).astype(float)
    held = np.zeros(len(table))
    for fold in range(folds):
        out = np.array([complete.index(g) % folds == fold for g in group])
        held[out] = logistic(table[out], person_score.fit(table[~out], right[~out], group[~out]))
    least, precision, recall = threshold(held, right, labelled)
    tenth = np.minimum((held * 10).astype(int), 9)
    with np.errstate(invalid="ignore"):
        mean = [
            np.array(
                [values[tenth == k].mean() if (tenth == k).any() else np.nan for k in range(10)]
            )
            for values in (held, right)
        ]
    return Report(
        person_score.fit(table, right, group),
        least,
        precision,
        recall,
        len(table),
        len(complete),
        *mean,
    )


def logistic(table: np.ndarray, weights: tuple[float, ...]) -> np.ndarray:
    """As ranking.probability, in NumPy."""
    return 1 / (1 + np.exp(-(table @ np.array(weights))))


def threshold(score: np.ndarray, right: np.ndarray, labelled: int) -> tuple[float, float, float]:
    """The lowest score above which people reach `PRECISION`, with the precision and recall there;
    if no score does, the highest score of all."""
    order = np.argsort(-score, kind="stable")
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    fits = np.flatnonzero(precision >= PRECISION)
    last = int(fits[-1]) if len(fits) else 0
    recall = right[order][: last + 1].sum() / max(labelled, 1)
    return float(score[order][last]), float(precision[last]), float(recall)


def best_oks(
    found: detect.PicturePeople, detector: Detector, people: People
) -> tuple[np.ndarray, np.ndarray]:
    """OKS (P,) of each person with its matched label (best first, each once; 0 without a match),
    and whether the person counts: unmatched people inside ignored boxes don't. people: in
    COCO17."""
    ours, _, _ = detect.as_skeleton(found, detector.skeleton, COCO17)
    count = len(ours)
    if not count:
        return np.zeros(0), np.zeros(0, bool)
    quality = np.zeros(count)
    if len(people.xy):
        theirs, seen = people.xy, people.visible
        size = people.boxes[:, 2:] - people.boxes[:, :2]
        area = AREA_OF_BOX * size[:, 0] * size[:, 1]
        every: Any = metrics.oks(
            np.nan_to_num(ours[:, None], nan=-1e4), theirs[None], seen[None] > 0,
            np.maximum(area, 1.0)[None], metrics.sigmas(COCO17),
        )  # fmt: skip
        table, taken = np.array(every), np.zeros(len(theirs), bool)
        for person in range(count):  # best first
            row = np.where(taken, -1.0, np.nan_to_num(table[person]))
            best = int(row.argmax())
            if row[best] >= RIGHT:
                quality[person], taken[best] = row[best], True
    middle = np.nanmean(ours, axis=1)
    inside = np.zeros(count, bool)
    for x0, y0, x1, y1 in people.ignore:
        inside |= (
            (middle[:, 0] >= x0)
            & (middle[:, 0] <= x1)
            & (middle[:, 1] >= y0)
            & (middle[:, 1] <= y1)
        )
    return quality, (quality >= RIGHT) | ~inside
