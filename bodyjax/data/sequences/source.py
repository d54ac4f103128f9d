"""Joint sequences as sources: clips of joints at fixed shape, whole or in windows.

Clips (ragged, as a set of `array_sets` or a simulation stores them) become `Sequences` (fixed
shape) by `resampled` (the whole clip at S steps) or `windows` (the paper's 10 frames at about 5 a
second). Joints are in pixels (first pixel's centre at 0) or cm; `visible` is 0 where a joint is
never seen in the clip, 1 where its place was filled in from earlier and later frames, 2 where it
was measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bodyjax.data.sampling import window_frames
from bodyjax.data.sequences import settings
from bodyjax.data.sequences.array_sets import SETS, check_options, choices, load
from bodyjax.data.sequences.ragged_clips import Clips
from bodyjax.data.sequences.settings import SequenceData
from bodyjax.deform import Clip, resample
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import Skeleton


@dataclass(frozen=True)
class Sequences:
    """A source of fixed-shape sequences; row r is (part of) clip `clip[r]`.

    joints (N, S, J, D) float32, 0 where absent; visible (N, S, J) uint8 in {0, 1, 2}; score (N, S,
    J) float32; length (N,) int32, how many of the S steps count; labels, groups, condition, size,
    splits: as in `Clips`, one per row; left_out and notes likewise.
    """

    skeleton: Skeleton
    joints: np.ndarray
    visible: np.ndarray
    score: np.ndarray
    length: np.ndarray
    clip: np.ndarray
    names: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray | None
    condition: np.ndarray
    conditions: tuple[str, ...]
    size: np.ndarray
    splits: Mapping[str, np.ndarray]
    left_out: Mapping[str, int]
    fingerprint: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", _fingerprint(self))

    @property
    def heldout(self) -> np.ndarray:
        """(N,) all False: code that holds out rows, by `splits` or folds, removes them (`rows`)."""
        return np.zeros(len(self), bool)

    @property
    def bad(self) -> tuple[str, ...]:
        """None: what can't be used is counted in `left_out`."""
        return ()

    def name(self, index: int) -> str:
        """What errors call a sequence."""
        return self.names[index]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: array[index] for name, array in self.arrays().items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """All rows, by the names of a batch."""
        return {
            "joints": self.joints,
            "visible": self.visible,
            "score": self.score,
            "length": self.length,
            "size": self.size,
            "condition": self.condition,
            "label": self.labels,
            "clip": self.clip,
        }

    def rows(self, keep: np.ndarray) -> Sequences:
        """The rows where `keep` (N,) is True, or at these indices."""
        index = np.flatnonzero(keep) if np.asarray(keep).dtype == bool else np.asarray(keep)
        if len(index) == 0:
            raise DataError("no sequence is left", hint="choose another split or condition")
        cut: dict[str, Any] = {
            name: getattr(self, name)[index]
            for name in (
                *("joints", "visible", "score", "length", "clip"),
                *("labels", "condition", "size"),
            )
        }
        return replace(
            self,
            **cut,
            names=tuple(self.names[i] for i in index),
            groups=None if self.groups is None else self.groups[index],
            splits={name: split[index] for name, split in self.splits.items()},
            fingerprint="",
        )


def resampled(clips: Clips, steps: int) -> Sequences:
    """Every clip as a whole at `steps` evenly spread times, first and last frame included."""
    return _fixed(clips, [(i, None) for i in range(len(clips))], steps)


def windows(
    clips: Clips, length: int = 10, rate: float = 5.0, every: int = 6, hop: int = 5
) -> Sequences:
    """Windows of `length` frames at about `rate` frames a second, `hop` frames apart (the paper's).

    If a clip's frame rate is not known, one frame in `every` is taken. A clip with fewer than
    `length` such frames gives one window: the whole clip at `length` steps.
    """
    picked: list[tuple[int, np.ndarray | None]] = []
    for i in range(len(clips)):
        count = int(clips.offsets[i + 1] - clips.offsets[i])
        stride = max(round(float(clips.fps[i]) / rate), 1) if clips.fps[i] > 0 else every
        frames = np.arange(0, count, stride)
        if len(frames) < length:
            picked.append((i, None))
            continue
        picked += [(i, frames[a:b]) for a, b in window_frames(len(frames), length, hop)]
    return _fixed(clips, picked, length)


def fill_in_time(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Absent joints filled from earlier and later frames.

    joints (F, J, D) with NaN where absent. Returns joints with straight lines between the frames
    that have the joint (the nearest one before the first and after the last), 0 where none has, and
    visible (F, J) uint8: 2 measured, 1 filled, 0 never there.
    """
    seen = np.isfinite(joints).all(axis=-1)
    visible = np.where(seen, 2, np.where(seen.any(axis=0), 1, 0)).astype(np.uint8)
    filled = np.where(seen[..., None], joints, 0.0).astype(np.float32)
    frames = np.arange(len(joints))
    for j in np.flatnonzero(seen.any(axis=0) & ~seen.all(axis=0)):
        known = np.flatnonzero(seen[:, j])
        for d in range(joints.shape[-1]):
            filled[:, j, d] = np.interp(frames, known, joints[known, j, d])
    return filled, visible


def from_config(data: Mapping[str, Any], say: Callable[[str], None] = print) -> Sequences:
    """The sequences of a config's `data` section (settings.SequenceData); reports what was left
    out.

    Joint tables have one label and one kind of joints, so both options are ignored. joints "A+B":
    both, each clip once with every estimator's joints (its answer is the mean over them).
    ConfigError names a wrong field.
    """
    found = _opened(settings.read(data))
    for line in (*(f"{n} {why}" for why, n in found.left_out.items() if n), *found.notes):
        say(f"left out: {line}")
    return found


def _opened(data: SequenceData) -> Sequences:
    """`from_config` without any output."""
    options = data.chosen("label", "joints")
    if data.normalized and data.kind != "tables":
        raise ConfigError("is for joint tables", place="data.normalized", hint="leave it out")
    if data.kind == "exercises":
        from bodyjax.data.sequences.exercises import simulated

        check_options(data.kind, ("label",), options, "data.")
        return _cut(simulated(**options, **data.chosen("train", "test", "seed", "scatter")), data)
    if data.kind == "tables":
        from bodyjax.data.sequences.table_folders import table_sequences

        if data.window and data.fps is None:
            what = "joint tables don't say how many frames a second their numbers count"
            raise ConfigError(what, place="data.fps", hint="give it, or window=None: whole clips")
        size = None
        if data.normalized:
            size = settings.picture_size(data.normalized, "data.normalized")
        found = table_sequences(
            data.path, fps=data.fps or 0.0, on_bad=data.on_bad or "raise", normalized=size
        )
        return _cut(found, data)
    if data.kind not in SETS:
        known = ", ".join((*SETS, "tables", "exercises"))
        raise ConfigError(f"no joint set {data.kind!r}", place="data.kind", hint=f"known: {known}")
    check_options(data.kind, choices(data.kind), options, "data.")
    several = str(options.pop("joints", "")).split("+")
    parts = [
        _cut(load(data.kind, data.path, **options, **({"joints": j} if j else {})), data)
        for j in several
    ]
    return parts[0] if len(parts) == 1 else together(parts)


def _cut(clips: Clips, data: SequenceData) -> Sequences:
    """Clips as windows or whole, as a config's `data` section says."""
    if data.window:
        return windows(clips, data.window, **data.chosen("hop", "rate", "every"))
    return resampled(clips, data.steps)


def together(parts: Sequence[Sequences]) -> Sequences:
    """The rows of all parts, several estimators' joints of the same clips; rows with the same name
    belong to one clip. A clip that no part has is left out; one that some parts lack is in the
    notes. DataError if the parts differ in joints or classes."""
    first = parts[0]
    for part in parts[1:]:
        if part.skeleton != first.skeleton or part.classes != first.classes:
            raise DataError(
                f"joints of {first.skeleton.name} and {part.skeleton.name} don't go together",
                hint="take estimators with the same joints, e.g. mediapipe17+movenet",
            )

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    names = tuple(name for part in parts for name in part.names)
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    rows = ("joints", "visible", "score", "length", "labels", "condition", "size")
    cut: dict[str, Any] = {name: joined(name) for name in rows}
    cut["clip"] = np.array([number[name] for name in names], first.clip.dtype)
    there = [len(np.unique(part.clip)) for part in parts]
    whole = max(n + sum(part.left_out.values()) for n, part in zip(there, parts, strict=True))
    lacking = [
        f"the joints of estimator {k + 1} of {len(parts)} for {len(number) - n} clips"
        for k, n in enumerate(there)
        if n < len(number)
    ]
    return replace(
        first,
        **cut,
        names=names,
        groups=None if first.groups is None else joined("groups"),
        splits={
            name: np.concatenate([part.splits[name] for part in parts]) for name in first.splits
        },
        left_out={"without joints of any estimator": whole - len(number)},
        fingerprint="",
        notes=tuple(dict.fromkeys([*lacking, *(note for part in parts for note in part.notes)])),
    )


def _fixed(clips: Clips, picked: list[tuple[int, np.ndarray | None]], steps: int) -> Sequences:
    count, dims = clips.joints.shape[1:]
    joints = np.zeros((len(picked), steps, count, dims), np.float32)
    visible = np.zeros((len(picked), steps, count), np.uint8)
    score = np.zeros((len(picked), steps, count), np.float32)
    last, whole = -1, Clip(joints[:0], visible[:0], score[:0])
    for row, (i, frames) in enumerate(picked):
        if i != last:
            places, scores = clips.frames(i)
            whole, last = Clip(*fill_in_time(places), scores), i
        at = np.linspace(0, len(whole.joints) - 1, steps) if frames is None else frames
        joints[row], visible[row], score[row] = resample(whole, at.astype(np.float32))
    index = np.array([i for i, _ in picked], np.int32)
    length = np.full(len(picked), steps, np.int32)
    columns = (clips.labels[index], clips.condition[index])
    return Sequences(
        clips.skeleton,
        joints,
        visible,
        score,
        length,
        index,
        tuple(clips.names[i] for i in index),
        columns[0],
        clips.classes,
        None if clips.groups is None else clips.groups[index],
        columns[1],
        clips.conditions,
        clips.size[index],
        {name: split[index] for name, split in clips.splits.items()},
        clips.left_out,
        notes=clips.notes,
    )


def _fingerprint(found: Sequences) -> str:
    """The fingerprint of everything that a model, its folds and its figures depend on."""
    digest = hashlib.sha256(repr(("sequences 2", found.classes, found.conditions)).encode())
    groups = () if found.groups is None else (found.groups,)
    for array in (*found.arrays().values(), *groups, *found.splits.values()):
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def without_size(features: Sequence[str], data: Sequences) -> int:
    """How many clips lack the size of their picture, by which the paper's features divide."""
    if "paper" not in features:
        return 0
    return len(np.unique(data.clip[(data.size <= 0).any(axis=1)]))
