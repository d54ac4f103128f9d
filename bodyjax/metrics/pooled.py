"""Figures of classifiers of joint sequences: clip by clip, pooled over folds, their interval over
groups, and the table over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bodyjax.data.folds import Fold
from bodyjax.data.sequences.source import Sequences
from bodyjax.errors import DataError
from bodyjax.metrics.intervals import LEVEL, bootstrap

FIGURES = ("accuracy", "balanced_accuracy", "fold_accuracy", "fold_balanced_accuracy")


class Answers(NamedTuple):
    """K clips: label (K,), guess (K,), -1 if the model gave no numbers, and row (K,), the first row
    of each clip in its set."""

    label: np.ndarray
    guess: np.ndarray
    row: np.ndarray


def pool(probability: np.ndarray, clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean probability over the windows of each clip: (clips, C), and the first row of each."""
    unique, first, inverse = np.unique(clip, return_index=True, return_inverse=True)
    total = np.zeros((len(unique), probability.shape[1]))
    np.add.at(total, inverse, probability)
    return total / np.bincount(inverse)[:, None], first


def balanced_accuracy(label: np.ndarray, guess: np.ndarray) -> float:
    """Mean over the labels that occur of the share that is guessed right."""
    return float(np.mean([(guess[label == k] == k).mean() for k in np.unique(label)]))


def answers(data: Sequences, rows: np.ndarray, probability: np.ndarray) -> Answers:
    """The answers to the clips of `rows` (N,) from their probability (N, C)."""
    mean, first = pool(probability, data.clip[rows])
    picked = rows[first]
    guess = np.where(np.isnan(mean).any(axis=1), -1, mean.argmax(axis=1))
    return Answers(data.labels[picked], guess, picked)


def accuracy(label: np.ndarray, guess: np.ndarray) -> float:
    """The share that is guessed right."""
    return float((label == guess).mean())


def interval(
    data: Sequences,
    seeds: Sequence[Answers],
    samples: int = 500,
    figure: Callable[[np.ndarray, np.ndarray], float] = balanced_accuracy,
) -> dict[str, Any]:
    """The bootstrap interval of a figure of (label, guess), mean over seeds, over groups if the set
    has them, otherwise over clips: a drawn group counts in every seed.

    Returns low, high, level, and over: "groups" or "clips".
    """
    unit_of = data.clip if data.groups is None else data.groups
    units = np.unique(np.concatenate([unit_of[one.row] for one in seeds]))
    members = [[np.flatnonzero(unit_of[one.row] == unit) for unit in units] for one in seeds]

    def statistic(drawn: np.ndarray) -> float:
        values = []
        for one, rows_of in zip(seeds, members, strict=True):
            rows = np.concatenate([rows_of[i] for i in drawn])
            if len(rows):
                values.append(figure(one.label[rows], one.guess[rows]))
        return float(np.mean(values)) if values else float("nan")

    found = bootstrap(statistic, len(units), level=LEVEL, samples=samples)
    over = "clips" if data.groups is None else "groups"
    return {"low": found.low, "high": found.high, "level": LEVEL, "over": over}


def cells(data: Sequences, answered: Answers, unit: str) -> dict[str, float]:
    """Balanced accuracy of the clips of a unit (a fold, a group) within each condition, if they
    hold two labels or more, as UNIT/CONDITION; without conditions, that of the unit."""
    kind, found = data.condition[answered.row], {}
    for k in np.unique(kind):
        label, guess = answered.label[kind == k], answered.guess[kind == k]
        if len(np.unique(label)) > 1:
            name = f"{unit}/{data.conditions[k]}" if data.conditions else unit
            found[name] = balanced_accuracy(label, guess)
    return found


def pooled(data: Sequences, predictions: Sequence[tuple[Fold, np.ndarray]]) -> Answers:
    """The answers of one seed: those of all its folds, one after the other."""
    parts = [answers(data, fold.test, probability) for fold, probability in predictions]
    return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def scores(data: Sequences, predictions: Sequence[tuple[Fold, np.ndarray]]) -> dict[str, Any]:
    """Figures of one seed from the probabilities of its folds' test rows, clip by clip.

    accuracy, balanced_accuracy: of all folds' predictions pooled. fold_accuracy: mean over folds
    (three official splits). fold_balanced_accuracy: mean over folds and, with conditions, over
    (fold, condition) cells that hold two labels or more: UI-PRMD's 70; None if there is no such
    cell. cells: their table. DataError for probabilities that are not numbers.
    """
    by_cell: dict[str, float] = {}
    accuracies = []
    for fold, probability in predictions:
        if not np.isfinite(probability).all():
            raise DataError(f"the model of fold {fold.name} gives no numbers (NaN)")
        answered = answers(data, fold.test, probability)
        accuracies.append(accuracy(answered.label, answered.guess))
        by_cell |= cells(data, answered, fold.name)
    label, guess, _ = pooled(data, predictions)
    mean = float(np.mean(list(by_cell.values()))) if by_cell else None
    return {
        "accuracy": accuracy(label, guess),
        "balanced_accuracy": balanced_accuracy(label, guess),
        "fold_accuracy": float(np.mean(accuracies)),
        "fold_balanced_accuracy": mean,
        "per_fold": {fold.name: a for (fold, _), a in zip(predictions, accuracies, strict=True)},
        "cells": by_cell,
        "n": len(label),
    }


def table(by_seed: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over seeds of every figure, None if a seed has none, and their `spread`."""
    result: dict[str, Any] = {}
    for name in FIGURES:
        row = [one[name] for one in by_seed.values()]
        known = None not in row
        mean = float(np.mean(row)) if known else None
        result[name] = {"mean": mean, "std": spread(row), "seeds": row}
    return result


def spread(seeds: Sequence[float | None]) -> float | None:
    """The standard deviation of a sample of seeds (n - 1); None of one seed, and if a figure is
    missing."""
    known = [one for one in seeds if one is not None]
    return float(np.std(known, ddof=1)) if len(known) == len(seeds) > 1 else None


def cell_table(by_seed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The `cells` of `scores`, mean over seeds, as lines: one line per condition (a movement), one
    column per fold (a subject), then the mean; no lines if there is only one condition, or none."""
    values: dict[tuple[str, str], list[float]] = {}
    for one in by_seed.values():
        for name, value in one["cells"].items():
            fold, slash, condition = name.partition("/")
            if slash:
                values.setdefault((condition, fold), []).append(value)
    folds = list(dict.fromkeys(fold for _, fold in values))
    conditions = list(dict.fromkeys(condition for condition, _ in values))
    if len(conditions) < 2:
        return []
    wide = {fold: max(5, len(fold)) for fold in folds}
    first = max(map(len, conditions))
    lines = [" ".join([" " * first, *(fold.rjust(wide[fold]) for fold in folds), " mean"])]
    for condition in conditions:
        row = {
            fold: np.mean(values[condition, fold]) for fold in folds if (condition, fold) in values
        }
        shown = [(f"{row[fold]:.2f}" if fold in row else "-").rjust(wide[fold]) for fold in folds]
        mean = f"{np.mean(list(row.values())):5.2f}"
        lines.append(" ".join([condition.ljust(first), *shown, mean]))
    return lines


def show(result: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """The table as lines: mean ± standard deviation of the seeds, intervals, the cells of folds and
    conditions, and notes about them."""
    for name in FIGURES:
        row = result[name]
        if row["mean"] is None:
            say(f"{name:24s} -       no fold tests two labels")
            continue
        seeds = " ".join(f"{value:.3f}" for value in row["seeds"])
        # From the seeds: finished runs of before hold the deviation of a population.
        std = spread(row["seeds"])
        deviation = "" if std is None else f" ± {std:.3f}"
        say(f"{name:24s} {row['mean']:.3f}{deviation}   seeds {seeds}")
    for name in FIGURES[:2]:
        bounds = result.get(f"{name}_interval")  # finished runs of before have none
        if bounds:
            share, over = f"{100 * bounds['level']:.0f} %", bounds["over"]
            say(f"{name} lies in {bounds['low']:.3f} to {bounds['high']:.3f} ({share} of "
                f"resamples of {over})")  # fmt: skip
    for line in cell_table(result["by_seed"]):
        say(line)
    notes = [f"{result['n']} clips", f"{result['runs']} runs in {result['seconds']} s"]
    if result["members"] > 1:
        notes.append(f"each prediction is the mean of {result['members']} models")
    if result["leaking"]:
        notes.append("RANDOM FOLDS: people are shared between training and test")
    if result["validation"]:
        notes.append("validation inside the training sides")
    say(", ".join(notes))
