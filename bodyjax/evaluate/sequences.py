"""Evaluation of a sequence classifier on the joint sets, as launch.evaluate shows it.

Clips are read as in the checkpoint's config (windows or whole clips, which joints, which label); a
clip's answer is the mean over its windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bodyjax import systems
from bodyjax.contract import Metrics
from bodyjax.data.folds import TEST, TRAIN
from bodyjax.data.sequences import array_sets, source
from bodyjax.data.sequences.source import Sequences, without_size
from bodyjax.data.sequences.table_folders import table_files
from bodyjax.engine import mesh as meshes
from bodyjax.engine import settings
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.engine.evaluate import batches_of, make_predictor, predict_rows
from bodyjax.engine.report import plain
from bodyjax.errors import DataError
from bodyjax.evaluate.faulty_joints import blame
from bodyjax.metrics.intervals import of_share
from bodyjax.metrics.pooled import (
    Answers,
    accuracy,
    answers,
    balanced_accuracy,
    cells,
    interval,
    pool,
)
from bodyjax.systems.sequence import SequenceSystem

EXERCISES = ("exercises", "simulated:exercises")
SIDES = {"train": TRAIN, "test": TEST}


def evaluate(
    checkpoint: Checkpoint,
    data: str | Path,
    split: str | None = None,
    *,
    samples: int = 500,
    normalized: str | None = None,
) -> dict[str, Any]:
    """What the system's metrics measure, as during training but clip by clip, and for each
    condition and group separately.

    normalized: "1280x720" if x and y of joint tables are shares of pictures of this size.
    data: a set's folder or file, joint tables by class, or "simulated:exercises", made here. split:
    "train" or "test" of an official split, "1:test" if a set has several; None: every clip, with
    the counts of each side. samples: resamples of the 80 % intervals (of groups if the set has
    them, otherwise of clips); 0: only the interval of the accuracy, which counts clips.
    mean_cell_balanced_accuracy: mean over the cells (group, condition) that hold two labels or
    more: UI-PRMD's 70. guilty_joints: for simulated exercises, standard or not, the result of
    `blame`. Clips without any joint are left out and counted; notes: what else was left out, if
    anything. DataError if the set does not fit the checkpoint.
    """
    system: Any = systems.build(checkpoint.config)
    found = open_set(checkpoint.config, system, data, normalized)
    rows = chosen_rows(found, split, data)
    predict = make_predictor(system, meshes.one_device())
    batches = batches_of(found.arrays(), rows, min(256, len(rows)))
    probability = predict_rows(predict, jax.device_put(checkpoint.variables), batches)
    measures = report(system.metrics(), found, rows, probability, samples)
    measures["part"] = split or "all"
    if str(data) in EXERCISES and found.conditions:  # standard or not, with known faults
        measures["guilty_joints"] = blame(system, checkpoint.variables, found, rows)
    return measures


def set_name(path: str | Path) -> str:
    """Which set is at a path; DataError if there is none."""
    root = Path(path)
    if str(path) in EXERCISES:
        return "exercises"
    known = array_sets.names_at(root)
    if not known and root.is_dir() and table_files(root):
        return "tables"
    if len(known) != 1:
        what = "holds several sets" if known else "is no set of joint sequences"
        hint = f"a folder with one of {', '.join(array_sets.FILES)}, or that file"
        if not known:
            tables = "CLASS/NAME.csv, which launch.prepare --detect makes of videos"
            hint = f"a folder of joint tables ({tables}), or {hint}"
        raise DataError(what if root.exists() else "there is no such file", file=root, hint=hint)
    return known[0]


def open_set(
    config: Any, system: SequenceSystem, path: str | Path, normalized: str | None = None
) -> Sequences:
    """The set at a path, cut into sequences as the config says; DataError if it does not fit.
    normalized: as data.normalized, instead of that of training.

    If the model was trained on the joints of several estimators, only those that the set itself
    stores count: joint tables belong to the clips they were made from (`notes` names them).
    """
    name, section = set_name(path), dict(settings.plain(config["data"]))
    same = section.get("kind") == name
    options = {key: section[key] for key in ("label", "joints") if same and section.get(key)}
    notes: tuple[str, ...] = ()
    if name in array_sets.ESTIMATORS:
        options["joints"], notes = _stored(name, options.get("joints", ""), system.skeleton.name)
    cut = {k: value for k, value in section.items() if k not in ("label", "joints", "normalized")}
    cut["normalized"] = normalized
    found = source.from_config(cut | options | {"kind": name, "path": str(path)}, lambda line: None)
    found = replace(found, notes=(*notes, *found.notes))
    _check_fit(found, system, path)
    return found


def _stored(name: str, joints: str, skeleton: str) -> tuple[str, tuple[str, ...]]:
    """From estimators "A+B+FOLDER", those that the named set stores, and what is left out; all of
    them if it stores none. "": the last of those with the joints of `skeleton`, otherwise the
    first."""
    estimators = array_sets.ESTIMATORS[name]
    if not joints:
        fitting = [one for one, bones in estimators.items() if bones == skeleton]
        return fitting[-1] if fitting else next(iter(estimators)), ()
    several = joints.split("+")
    stored = [one for one in several if one in estimators]
    tables = [one for one in several if one not in stored]
    if not (stored and tables):
        return joints, ()
    return "+".join(stored), tuple(f"the joint tables {folder} of training" for folder in tables)


def _check_fit(found: Sequences, system: SequenceSystem, path: str | Path) -> None:
    pairs: Mapping[str, tuple[Any, Any]] = {
        "joints": (found.skeleton.joints, system.skeleton.joints),
        "labels": (found.classes, system.labels),
        "exercises as input": (len(found.conditions), system.model.conditions),
        "dimensions": (found.joints.shape[-1], system.dims),
        "steps": (found.joints.shape[1], system.stored),
    }
    for what, (has, needs) in pairs.items():
        if has != needs:
            raise DataError(
                f"its {what} are {_short(has)}", file=path, hint=f"the model has {_short(needs)}"
            )
    unknown = without_size(system.parts, found)
    if unknown:
        hint = "tables say it in the columns width, height"
        what = f"{unknown} clips lack the size of the picture, which the model's 'paper' needs"
        raise DataError(what, file=path, hint=hint)


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} ({', '.join(value[:3])}{', ...' if len(value) > 3 else ''})"
    return str(value)


def chosen_rows(found: Sequences, split: str | None, path: str | Path) -> np.ndarray:
    """Rows of a part; DataError if the set has no such part."""
    if split is None:
        return np.arange(len(found))
    number, _, side = split.rpartition(":")
    parts = list(found.splits)
    if (
        side not in SIDES
        or not parts
        or (number or parts[0]) not in parts
        or (not number and len(parts) > 1)
    ):
        known = [f"{name}:{part}" if len(parts) > 1 else part for name in parts for part in SIDES]
        hint = f"parts: {', '.join(known)}" if known else "it has groups for folds: leave it out"
        raise DataError(f"there is no part {split!r}", file=path, hint=hint)
    rows = np.flatnonzero(found.splits[number or parts[0]] == SIDES[side])
    if not len(rows):
        raise DataError(f"part {split!r} is empty", file=path)
    return rows


def report(
    metrics: Metrics, found: Sequences, rows: np.ndarray, probability: np.ndarray, samples: int
) -> dict[str, Any]:
    """The measures of rows with probabilities (len(rows), C), clip by clip: those of the system's
    `metrics`, and of conditions and groups."""
    mean, first = pool(probability, found.clip[rows])
    picked = rows[first]
    answered = answers(found, rows, probability)
    label, guess = answered.label, answered.guess
    state = metrics.update(metrics.init(), {"logits": mean}, {"label": label})
    out: dict[str, Any] = {
        **plain(metrics.compute(state)),
        "windows": len(rows),
        "left_out": int(sum(found.left_out.values())),
        "left_out_why": {why: n for why, n in found.left_out.items() if n},
        "split": split_counts(found),
        "labels": list(found.classes),
    }
    kinds, groups = found.condition[picked], None if found.groups is None else found.groups[picked]
    if found.conditions:
        out["per_condition"] = {
            name: _measures(label[kinds == k], guess[kinds == k])
            for k, name in enumerate(found.conditions)
            if (kinds == k).any()
        }
    if groups is not None:
        out["per_group"] = {
            str(g): _measures(label[groups == g], guess[groups == g]) for g in np.unique(groups)
        }
        by_cell: dict[str, float] = {}
        for g in np.unique(groups):
            mine = Answers(*(column[groups == g] for column in answered))
            by_cell |= cells(found, mine, str(g))
        mean_cell = float(np.mean(list(by_cell.values()))) if by_cell else None
        out |= {"mean_cell_balanced_accuracy": mean_cell, "cells": by_cell}
    if found.notes:
        out["notes"] = [f"left out: {note}" for note in found.notes]
    if samples:
        out["accuracy_interval"] = interval(found, [answered], samples, accuracy)
        out["balanced_accuracy_interval"] = interval(found, [answered], samples)
    return out


def _measures(label: np.ndarray, guess: np.ndarray) -> dict[str, Any]:
    return {
        "accuracy": accuracy(label, guess),
        "accuracy_interval": of_share(int((label == guess).sum()), len(label), over="clips"),
        "balanced_accuracy": balanced_accuracy(label, guess),
        "n": len(label),
    }


def split_counts(found: Sequences) -> dict[str, Any]:
    """Clips of each side of every official split; {} if the set has none."""
    first = np.unique(found.clip, return_index=True)[1]
    counts = {
        name: {side: int((split[first] == value).sum()) for side, value in SIDES.items()}
        for name, split in found.splits.items()
    }
    return counts["official"] if list(counts) == ["official"] else counts
