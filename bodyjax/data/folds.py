"""Who trains and who tests: folds by group, one group out, official splits; leaks are refused.

A group is a person, a take or a set of near-duplicates. Our own splits never share one between
training and test; official splits are taken as given; random folds must be asked for by name and
are labelled as leaking.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from bodyjax.errors import ConfigError, DataError

TRAIN, TEST = 1, 2
"""Values of an official split; 0 means in neither part."""


class Fold(NamedTuple):
    """`train` and `test` row indices; `leaking` if groups may be shared on purpose."""

    name: str
    train: np.ndarray
    test: np.ndarray
    leaking: bool = False


def check(fold: Fold, groups: np.ndarray) -> Fold:
    """The fold itself; DataError if both sides hold a group or a row, or a side is empty."""
    if len(fold.train) == 0 or len(fold.test) == 0:
        side = "training" if len(fold.train) == 0 else "test"
        raise DataError(f"fold {fold.name} has no {side} rows")
    shared = np.intersect1d(groups[fold.train], groups[fold.test])
    if len(shared):
        names = ", ".join(map(str, shared[:5])) + (" ..." if len(shared) > 5 else "")
        raise DataError(
            f"training and test of fold {fold.name} share {len(shared)} groups ({names})",
            hint="split by group; random folds need folds.random_folds = True",
        )
    return fold


def by_group(labels: np.ndarray, groups: np.ndarray, count: int, seed: int) -> list[Fold]:
    """`count` stratified folds that keep groups whole (scikit-learn's StratifiedGroupKFold)."""
    from sklearn.model_selection import StratifiedGroupKFold

    _check_count(labels, count)
    if count < 2 or len(np.unique(groups)) < count:
        raise DataError(f"{len(np.unique(groups))} groups can't make {count} folds of groups")
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # of rare labels: part_checks names them
        warnings.simplefilter("ignore", UserWarning)
        parts = list(splitter.split(np.zeros(len(labels)), labels, groups))
    return [check(Fold(f"{i + 1}", train, test), groups) for i, (train, test) in enumerate(parts)]


def random(
    labels: np.ndarray, clips: np.ndarray, count: int, seed: int, *, leaking: bool
) -> list[Fold]:
    """Stratified folds of clips that ignore groups: figures from them say little about new people.

    clips: (N,) which clip each row is a part of; the rows of a clip stay together even here.
    ConfigError without `leaking=True`.
    """
    from sklearn.model_selection import StratifiedKFold

    if not leaking:
        raise ConfigError(
            "random folds share people between training and test",
            place="folds.random_folds",
            hint="set it to True to see the leakage, or use folds by group",
        )
    unique, first = np.unique(clips, return_index=True)
    _check_count(labels[first], count)
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        parts = list(splitter.split(np.zeros(len(unique)), labels[first]))
    folds = []
    for i, (_, test) in enumerate(parts):
        inside = np.isin(clips, unique[test])
        folds.append(Fold(f"{i + 1}", np.flatnonzero(~inside), np.flatnonzero(inside), True))
    return folds


def _check_count(labels: np.ndarray, count: int) -> None:
    """DataError if no label occurs often enough for this many stratified folds."""
    most = int(np.unique(labels, return_counts=True)[1].max())
    if most < count:
        raise DataError(f"no label has {count} clips for {count} folds, the most is {most}")


def leave_one_group_out(groups: np.ndarray) -> list[Fold]:
    """One fold per group, named after it, in ascending order."""
    unique = np.unique(groups)
    if len(unique) < 2:
        raise DataError("leaving one group out needs two groups or more")
    return [
        check(Fold(str(g), np.flatnonzero(groups != g), np.flatnonzero(groups == g)), groups)
        for g in unique
    ]


def official(split: np.ndarray, name: str = "official") -> Fold:
    """The fold of a stored split (TRAIN, TEST, 0 = neither), taken as given."""
    fold = Fold(name, np.flatnonzero(split == TRAIN), np.flatnonzero(split == TEST))
    if len(fold.train) == 0 or len(fold.test) == 0:
        raise DataError(f"split {name} has {len(fold.train)} training, {len(fold.test)} test rows")
    return fold


def validation(
    fold: Fold, labels: np.ndarray, groups: np.ndarray, count: int, seed: int
) -> list[Fold]:
    """`count` folds by group inside a fold's training side: for choosing settings without its test
    side."""
    inner = by_group(labels[fold.train], groups[fold.train], count, seed)
    return [
        Fold(f"{fold.name}.{part.name}", fold.train[part.train], fold.train[part.test])
        for part in inner
    ]
