"""Clips of joints of different lengths, as sets store them, and what every set must contain.

`data.sequences.source` makes sequences of fixed shape from them. Joints are in pixels (first
pixel's centre at 0) or cm, NaN where absent.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bodyjax.errors import DataError
from bodyjax.skeleton import Skeleton


@dataclass(frozen=True)
class Clips:
    """N clips of different lengths: clip i is rows offsets[i] to offsets[i + 1].

    joints (R, J, D) float32, NaN where absent; score (R, J) float32 in [0, 1]; labels (N,) int32
    into `classes`; groups (N,) int32 or None: who or which take, never shared by training and test;
    condition (N,) int32 into `conditions` (a known side input; zeros if there is none); size (N, 2)
    float32 width and height, 0 where not known; fps (N,) float32, 0 where not known; splits: name
    -> (N,) int8 of TRAIN, TEST or 0. left_out: clips by reason; notes: a line each about what else
    was left out (people of a clip), or which files.
    """

    file: str
    skeleton: Skeleton
    joints: np.ndarray
    score: np.ndarray
    offsets: np.ndarray
    names: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray | None
    condition: np.ndarray
    conditions: tuple[str, ...] = ()
    size: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    fps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    splits: Mapping[str, np.ndarray] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def frames(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """joints (F, J, D) with NaN and score (F, J) of clip i."""
        rows = slice(self.offsets[i], self.offsets[i + 1])
        return self.joints[rows], self.score[rows]


@dataclass(frozen=True)
class About:
    """What a set knows about each of its N clips, as in `Clips`; None: nothing."""

    labels: Any
    classes: tuple[str, ...]
    names: Any
    groups: Any = None
    condition: Any = None
    conditions: tuple[str, ...] = ()
    size: Any = None
    fps: Any = None
    splits: Mapping[str, np.ndarray] = field(default_factory=dict)


def checked_clips(
    file: str,
    skeleton: Skeleton,
    joints: np.ndarray,
    score: np.ndarray | None,
    offsets: np.ndarray,
    about: About,
) -> Clips:
    """Checks what every set must contain; leaves out clips without any joint and counts them."""
    offsets = np.asarray(offsets, np.int64)
    count = len(offsets) - 1
    if joints.ndim != 3 or joints.shape[1] != len(skeleton.joints):
        raise DataError(
            f"joints of shape {joints.shape}, not (rows, {len(skeleton.joints)}, 2 or 3)", file=file
        )
    if count < 1 or offsets[0] != 0 or offsets[-1] != len(joints) or (np.diff(offsets) < 0).any():
        raise DataError("offsets must rise from 0 to the number of rows", file=file)
    columns = _columns(about, count, file)
    there = np.isfinite(joints).all(axis=-1)
    joints = np.where(there[..., None], joints, np.nan).astype(np.float32)
    score = there.astype(np.float32) if score is None else np.nan_to_num(score.astype(np.float32))
    score = np.where(there, np.clip(score, 0, 1), 0).astype(np.float32)
    any_row = there.any(axis=-1)
    splits = about.splits
    keep = np.array([any_row[a:b].any() for a, b in itertools.pairwise(offsets)])
    if not keep.all():
        rows = np.repeat(keep, np.diff(offsets))
        joints, score = joints[rows], score[rows]
        offsets = np.concatenate([[0], np.cumsum(np.diff(offsets)[keep])])
        columns = {k: None if column is None else column[keep] for k, column in columns.items()}
        splits = {name: split[keep] for name, split in splits.items()}
        if not keep.any():
            raise DataError("no clip has a joint", file=file)
    return Clips(
        file,
        skeleton,
        joints,
        score,
        offsets,
        tuple(map(str, columns.pop("names"))),
        classes=about.classes,
        conditions=about.conditions,
        splits=splits,
        left_out={"without any joint": int((~keep).sum())},
        **columns,
    )


def _columns(about: About, count: int, file: str) -> dict[str, Any]:
    """Each column as an array of `count` clips; DataError if one has another length or range."""
    zeros = np.zeros(count, np.int32)
    columns: dict[str, Any] = {
        "labels": np.asarray(about.labels, np.int32),
        "condition": zeros if about.condition is None else np.asarray(about.condition, np.int32),
        "groups": None if about.groups is None else np.asarray(about.groups, np.int32),
        "size": np.asarray(np.zeros((count, 2)) if about.size is None else about.size, np.float32),
        "fps": np.asarray(zeros if about.fps is None else about.fps, np.float32),
        "names": np.array([str(name) for name in about.names]),
    }
    for name, column in columns.items():
        if column is not None and len(column) != count:
            raise DataError(f"{len(column)} {name} for {count} clips", file=file)
    _check_range(columns["labels"], len(about.classes), "label", file)
    _check_range(columns["condition"], max(len(about.conditions), 1), "condition", file)
    return columns


def _check_range(values: np.ndarray, count: int, name: str, file: str) -> None:
    wrong = np.flatnonzero((values < 0) | (values >= count))
    if len(wrong):
        raise DataError(
            f"{name} {values[wrong[0]]} is not in 0 to {count - 1}", file=file, place=f"{wrong[0]}"
        )
