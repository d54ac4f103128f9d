"""Checks of the parts of a labelled set before a classifier is trained on them: two classes or
more, each with training clips, and no clip on two sides.

A DataError names what is wrong. With on_bad "skip" the run continues without it, and the returned
lines say what was left out or is not taught, and how many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax.data.folds import Fold
from bodyjax.errors import DataError

SKIP = 'or data.on_bad="skip"'
MOST_NAMES = 5
"""The most names listed in a line."""


def check_classes(
    classes: Sequence[str],
    counts: np.ndarray,
    *,
    on_bad: str = "raise",
    file: str | Path | None = None,
    whose: str = "",
) -> list[str]:
    """counts (C,): training clips of each class; whose: the fold, if there are several. Fewer than
    two classes are an error whatever `on_bad` says: there is nothing to distinguish."""
    if len(classes) < 2:
        what = f"a single class ({', '.join(classes) or 'none'}): there is nothing to tell apart"
        raise DataError(what, file=file, hint="two classes or more: CLASS/NAME")
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if not absent:
        return []
    what = f"{whose}no training clips of {', '.join(absent)}"
    if on_bad == "raise":
        hint = f"add some, or take the class out of every part, {SKIP}"
        raise DataError(what, file=file, hint=hint)
    return [f"{what}: {'it is' if len(absent) == 1 else 'they are'} not taught"]


def not_judged(classes: Sequence[str], counts: np.ndarray, part: str) -> list[str]:
    """A line if a part that is measured lacks classes. counts (C,): its clips of each class; part:
    what it is for, "validation" or "test"."""
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if not absent:
        return []
    return [f"no clips for {part} of {', '.join(absent)}: its figures cover the other classes only"]


def rows_apart(
    keys: Mapping[str, Sequence[str]],
    names: Mapping[str, Sequence[str]],
    *,
    on_bad: str = "raise",
    file: str | Path | None = None,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Which rows of each part may stay: those whose key, a clip's content, is in no later part.

    keys, names: those of the rows of each part, with parts in an order in which later ones keep
    their rows ("train", "valid", "test").
    """
    kept, lines = {}, []
    order = list(keys)
    for k, part in enumerate(order):
        later = {
            key: f"{other}: {name}"
            for other in reversed(order[k + 1 :])
            for key, name in zip(keys[other], names[other], strict=True)
        }
        same = [i for i, key in enumerate(keys[part]) if key in later]
        kept[part] = np.setdiff1d(np.arange(len(keys[part])), same)
        if not same:
            continue
        pairs = [f"{names[part][i]} ({later[keys[part][i]]})" for i in same[:MOST_NAMES]]
        listed = ", ".join(pairs) + (" ..." if len(same) > MOST_NAMES else "")
        what = (
            f"{len(same)} of {part} {'is' if len(same) == 1 else 'are'} in another part: {listed}"
        )
        if on_bad == "raise":
            hint = f"keep each clip on one side, {SKIP}"
            raise DataError(what, file=file, hint=hint)
        lines.append(f"left out: {what}")
    return kept, lines


def file_keys(parts: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    """A key for each file, equal if the content is. Only files with the same size as another one
    are read."""
    sizes = {part: [file.stat().st_size for file in files] for part, files in parts.items()}
    every = [size for part in sizes.values() for size in part]
    twice = {size for size, count in zip(*np.unique(every, return_counts=True), strict=True)
             if count > 1}  # fmt: skip

    def key(file: Path, size: int) -> str:
        if size not in twice:
            return str(size)
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    return {part: list(map(key, files, sizes[part])) for part, files in parts.items()}


def row_keys(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """A key for each row of joint sequences, equal if joints and scores are; a row without any
    joint matches no other."""
    names = ("joints", "visible", "score", "length")
    seen: np.ndarray = np.any(arrays["visible"] > 0, axis=(1, 2))

    def key(row: int) -> str:
        if not seen[row]:
            return f"nobody in row {row}"
        return hashlib.sha256(b"".join(arrays[name][row].tobytes() for name in names)).hexdigest()

    return [key(row) for row in range(len(seen))]


def checked_fold(
    fold: Fold,
    data: Any,
    keys: Sequence[str],
    *,
    on_bad: str = "raise",
    file: str | Path | None = None,
) -> tuple[Fold, list[str]]:
    """A fold of joint sequences with only the rows that may stay on its training side. keys:
    `row_keys` of all rows of `data` (data.sequences.source.Sequences). A fold that leaks on purpose
    may repeat."""
    lines: list[str] = []
    if not fold.leaking:
        sides = {"train": fold.train, "test": fold.test}
        kept, lines = rows_apart(
            {side: [keys[i] for i in rows] for side, rows in sides.items()},
            {side: [data.names[i] for i in rows] for side, rows in sides.items()},
            on_bad=on_bad,
            file=file,
        )
        fold = fold._replace(train=fold.train[kept["train"]])
    counts = np.bincount(data.labels[fold.train], minlength=len(data.classes))
    whose = f"fold {fold.name} has "
    lines += check_classes(data.classes, counts, on_bad=on_bad, file=file, whose=whose)
    return fold, lines


def folds_not_judged(folds: Sequence[Fold], data: Any) -> list[str]:
    """`not_judged` of all folds' test sides together: each class in one of them is enough."""
    tested = np.unique(np.concatenate([fold.test for fold in folds]))
    counts = np.bincount(data.labels[tested], minlength=len(data.classes))
    return not_judged(data.classes, counts, "test")
