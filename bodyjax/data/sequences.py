"""Joint sequences as sources: the array sets of shared data, whole clips or windows.

A set is read into `Clips` (ragged, as stored), then made into `Sequences` (fixed shape) by
`resampled` (the whole clip at S steps) or `windows` (the paper's 10 frames at about 5 a second).
Joints are in pixels (first pixel's centre at 0) or cm; `visible` is 0 where a joint is never seen
in the clip, 1 where its place was filled in from earlier and later frames, 2 where it was measured.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax.data.labelled import read_arrays
from bodyjax.data.sampling import window_frames
from bodyjax.deform import UNIFORMS, Clip, Limits, apply, deformation, resample
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import Skeleton, get, make

FilePath = str | PathLike[str]
TRAIN, TEST = 1, 2
"""Values of an official split; 0 is in neither part."""

NATOPS8 = make(
    "natops8",
    "left_hand_tip right_hand_tip left_elbow right_elbow left_wrist right_wrist left_thumb"
    " right_thumb",
    "left_elbow-left_wrist left_wrist-left_hand_tip left_wrist-left_thumb"
    " right_elbow-right_wrist right_wrist-right_hand_tip right_wrist-right_thumb",
)


@dataclass(frozen=True)
class Clips:
    """N clips of different lengths: clip i is rows offsets[i] to offsets[i + 1].

    joints (R, J, D) float32, NaN where absent; score (R, J) float32 in [0, 1]; labels (N,) int32
    into `classes`; groups (N,) int32 or None: who or which take, never shared by training and test;
    condition (N,) int32 into `conditions` (a known side input; zeros where there is none);
    size (N, 2) float32 width and height, 0 where not known; fps (N,) float32, 0 where not known;
    splits: name -> (N,) int8 of TRAIN, TEST or 0.
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

    def __len__(self) -> int:
        return len(self.names)

    def frames(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """joints (F, J, D) with NaN and score (F, J) of clip i."""
        rows = slice(self.offsets[i], self.offsets[i + 1])
        return self.joints[rows], self.score[rows]


@dataclass(frozen=True)
class Sequences:
    """A source of fixed-shape sequences; row r is (part of) clip `clip[r]`.

    joints (N, S, J, D) float32, 0 where absent; visible (N, S, J) uint8 in {0, 1, 2}; score
    (N, S, J) float32; length (N,) int32, how many of the S steps count; labels, groups, condition,
    size, splits: as in `Clips`, one a row.
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
    fingerprint: str

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
            fingerprint=_fingerprint(*cut.values()),
        )


def resampled(clips: Clips, steps: int) -> Sequences:
    """Every clip as a whole at `steps` evenly spread times, first and last frame included."""
    return _fixed(clips, [(i, None) for i in range(len(clips))], steps)


def windows(
    clips: Clips, length: int = 10, rate: float = 5.0, every: int = 6, hop: int = 5
) -> Sequences:
    """Windows of `length` frames at about `rate` frames a second, `hop` frames apart (the paper's).

    Where a clip's frame rate is not known, one frame in `every` is taken. A clip with fewer than
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


def augmented(
    example: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    limits: Limits,
    mirror: np.ndarray,
    steps: int,
) -> dict[str, np.ndarray]:
    """One example at `steps` times, changed at random within `limits` (a stream's transform).

    mirror: (J,) of the skeleton. The keys and dtypes stay; `length` becomes `steps`.
    """
    count, dims = example["joints"].shape[1:]
    change = deformation(
        limits,
        rng.random(UNIFORMS + steps + count, np.float32),
        rng.standard_normal((steps + 1, count, dims), np.float32),
    )
    clip = Clip(example["joints"], example["visible"], example["score"])
    clip = apply(clip, example["length"].astype(np.float32), change, np.asarray(mirror))
    return {
        **example,
        "joints": clip.joints.astype(np.float32),
        "visible": clip.visible.astype(np.uint8),
        "score": clip.score.astype(np.float32),
        "length": np.int32(steps),
    }


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


def penn_action(path: FilePath) -> Clips:
    """Penn Action: 13 joints in pixels, 15 actions, one official split."""
    table, file = _read(path, "penn_action.npz", "joints visible offsets label classes train size")
    count = len(table["label"])
    joints = table["joints"].astype(np.float32) * _by_row(table, file, "size")[:, None, :]
    joints[~table["visible"].astype(bool)] = np.nan
    train = table["train"].astype(bool)
    return _clips(
        file,
        table,
        get("penn13"),
        joints,
        None,
        labels=table["label"],
        classes=tuple(map(str, table["classes"])),
        names=table.get("clip", np.arange(count)),
        size=table["size"],
        splits={"official": np.where(train, TRAIN, TEST).astype(np.int8)},
    )


def pushfit(path: FilePath, joints: str = "mediapipe") -> Clips:
    """Push-ups, standard (1) or not (0), with stored joints of MediaPipe (33) or MoveNet (17)."""
    if joints not in ("mediapipe", "movenet"):
        raise ConfigError(f"no joints {joints!r} in pushfit", hint="mediapipe or movenet")
    table, file = _read(path, "joints.npz", f"{joints} offsets standard group fps video_size")
    stored = table[joints].astype(np.float32)
    # relative places have the first pixel's centre at 0.5 of a pixel
    places = stored[..., :2] * _by_row(table, file, "video_size")[:, None, :] - 0.5
    return _clips(
        file,
        table,
        get("mediapipe33" if joints == "mediapipe" else "coco17"),
        places,
        stored[..., -1],
        labels=table["standard"],
        classes=("not standard", "standard"),
        groups=table["group"],
        names=table.get("clip", np.arange(len(table["standard"]))),
        size=table["video_size"],
        fps=table["fps"],
    )


def ui_prmd(path: FilePath, label: str = "correct", joints: str = "joints") -> Clips:
    """UI-PRMD: correct or not with the movement as condition, or which movement.

    joints: "joints" are 22 places in cm; "angles" are sines, then cosines, of the Euler angles of
    18 joints, as 36 points. Groups are the subjects.
    """
    if label not in ("correct", "movement"):
        raise ConfigError(f"no label {label!r} in ui_prmd", hint="correct or movement")
    if joints not in ("joints", "angles"):
        raise ConfigError(f"no joints {joints!r} in ui_prmd", hint="joints or angles")
    needed = f"{joints} offsets movement subject correct movement_names"
    table, file = _read(path, "ui_prmd.npz", needed)
    stored, body = table[joints].astype(np.float32), get("uiprmd22")
    if joints == "angles":
        turned = np.deg2rad(stored)
        stored = np.concatenate([np.sin(turned), np.cos(turned)], axis=1)
        names = [f"{kind}_{i}" for kind in ("sin", "cos") for i in range(turned.shape[1])]
        body = make("angles", " ".join(names), "")
    movements = tuple(map(str, table["movement_names"]))
    movement = table["movement"].astype(np.int32) - 1
    count = len(movement)
    which = label == "movement"
    return _clips(
        file,
        table,
        body,
        stored,
        None,
        labels=movement if which else table["correct"],
        classes=movements if which else ("incorrect", "correct"),
        groups=table["subject"],
        condition=None if which else movement,
        conditions=() if which else movements,
        names=[f"m{m + 1}-s{s}" for m, s in zip(movement, table["subject"], strict=True)],
        fps=np.full(count, table.get("fps", 15.0)),
    )


def natops(path: FilePath) -> Clips:
    """NATOPS: 8 points of hands and arms, 51 steps, 6 commands, one official split."""
    table, file = _read(path, "natops.npz", "x_train y_train x_test y_test classes")
    both = np.concatenate([table["x_train"], table["x_test"]]).astype(np.float32)
    if both.ndim != 3 or both.shape[-1] != 24:
        raise DataError(f"clips of {both.shape[1:]}, not (steps, 24)", file=file)
    train = len(table["x_train"])
    split = np.full(len(both), TEST, np.int8)
    split[:train] = TRAIN
    table["offsets"] = np.arange(len(both) + 1) * both.shape[1]
    return _clips(
        file,
        table,
        NATOPS8,
        both.reshape(-1, 8, 3),
        None,
        labels=np.concatenate([table["y_train"], table["y_test"]]),
        classes=tuple(map(str, table["classes"])),
        names=[f"{'train' if i < train else 'test'}-{i}" for i in range(len(both))],
        splits={"official": split},
    )


def pose_trainer(path: FilePath) -> Clips:
    """Pose Trainer: OpenPose joints, standard or not, condition = exercise, groups of takes."""
    needed = "joints score offsets exercise exercises standard group"
    table, file = _read(path, "pose_trainer.npz", needed)
    joints, score = table["joints"].astype(np.float32), table["score"].astype(np.float32)
    joints[score <= 0] = np.nan
    return _clips(
        file,
        table,
        get("body18"),
        joints,
        score,
        labels=table["standard"],
        classes=("not standard", "standard"),
        groups=table["group"],
        condition=table["exercise"],
        conditions=tuple(map(str, table["exercises"])),
        names=table.get("clip", np.arange(len(table["standard"]))),
    )


def jhmdb(path: FilePath) -> Clips:
    """JHMDB's stored teacher joints (COCO-17), 21 actions, three official splits.

    Groups are (class, source video); the splits keep them apart. Needs splits.json beside.
    """
    table, file = _read(path, "teacher.npz", "xy score offsets names")
    listing = Path(file).parent / "splits.json"
    try:
        splits = json.loads(listing.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"can't be read ({error})", file=listing) from None
    names = [str(name) for name in table["names"]]
    classes = sorted({name.partition("/")[0] for name in names})
    kinds = [name.partition("/")[0] for name in names]
    sources = [
        (kind, name.partition("/")[2].rpartition(f"_{kind}_")[0])
        for kind, name in zip(kinds, names, strict=True)
    ]
    number = {source: i for i, source in enumerate(sorted(set(sources)))}
    parts = {
        key: np.array([part.get(name.partition("/")[2], 0) for name in names], np.int8)
        for key, part in splits.items()
        if key != "classes"
    }
    size = np.full((len(names), 2), (320, 240))
    return _clips(
        file,
        table,
        get("coco17"),
        table["xy"].astype(np.float32) - 0.5,
        table["score"],
        labels=np.array([classes.index(kind) for kind in kinds]),
        classes=tuple(classes),
        groups=np.array([number[source] for source in sources]),
        names=names,
        size=size,
        fps=np.full(len(names), 30.0),
        splits=parts,
    )


SETS: dict[str, Callable[..., Clips]] = {
    "penn_action": penn_action,
    "pushfit": pushfit,
    "ui_prmd": ui_prmd,
    "natops": natops,
    "pose_trainer": pose_trainer,
    "jhmdb": jhmdb,
}


def load(name: str, path: FilePath, **options: str) -> Clips:
    """The named set at `path` (its folder, or its file); ConfigError for an unknown name."""
    if name not in SETS:
        raise ConfigError(f"no joint set {name!r}", hint=f"known: {', '.join(SETS)}")
    return SETS[name](path, **options)


def from_config(data: Mapping[str, Any]) -> Sequences:
    """The sequences of a config's `data` section.

    set: a name of SETS. path: its folder or file. steps: whole clips at so many times, or
    window: frames in a window (with hop, rate, every as `windows` takes them). label, joints:
    which label and which stored joints, where the set has several. The set "exercises" is
    simulated: train, test and scatter as `bodyjax.data.exercises.simulated` takes them.
    """
    data = dict(data)
    options = {name: data[name] for name in ("label", "joints") if data.get(name)}
    if data["set"] == "exercises":
        from bodyjax.data.exercises import simulated

        more = {name: data[name] for name in ("train", "test", "scatter") if name in data}
        clips = simulated(**options, **more)
    else:
        clips = load(data["set"], data["path"], **options)
    if data.get("window"):
        shape = {name: data[name] for name in ("hop", "rate", "every") if name in data}
        return windows(clips, data["window"], **shape)
    return resampled(clips, data["steps"])


def _read(path: FilePath, name: str, needed: str) -> tuple[dict[str, np.ndarray], str]:
    file = Path(path) / name if Path(path).is_dir() else Path(path)
    return read_arrays(file, tuple(needed.split())), str(file)


def _by_row(table: Mapping[str, np.ndarray], file: str, name: str) -> np.ndarray:
    """A per-clip array repeated for each of the clip's rows, float32."""
    counts = np.diff(table["offsets"])
    if len(counts) != len(table[name]) or (counts < 0).any():
        raise DataError(f"offsets and {name} don't fit together", file=file)
    return np.repeat(table[name].astype(np.float32), counts, axis=0)


def _clips(
    file: str,
    table: Mapping[str, np.ndarray],
    skeleton: Skeleton,
    joints: np.ndarray,
    score: np.ndarray | None,
    *,
    labels: Any,
    classes: tuple[str, ...],
    names: Any,
    groups: Any = None,
    condition: Any = None,
    conditions: tuple[str, ...] = (),
    size: Any = None,
    fps: Any = None,
    splits: Mapping[str, np.ndarray] | None = None,
) -> Clips:
    """Checks what every set must hold, leaves out clips without any joint and counts them."""
    offsets = np.asarray(table["offsets"], np.int64)
    count = len(offsets) - 1
    if joints.ndim != 3 or joints.shape[1] != len(skeleton.joints):
        raise DataError(
            f"joints of shape {joints.shape}, not (rows, {len(skeleton.joints)}, 2 or 3)", file=file
        )
    if count < 1 or offsets[0] != 0 or offsets[-1] != len(joints) or (np.diff(offsets) < 0).any():
        raise DataError("offsets must rise from 0 to the number of rows", file=file)
    zeros = np.zeros(count, np.int32)
    columns: dict[str, Any] = {
        "labels": np.asarray(labels, np.int32),
        "condition": zeros if condition is None else np.asarray(condition, np.int32),
        "groups": None if groups is None else np.asarray(groups, np.int32),
        "size": np.asarray(np.zeros((count, 2)) if size is None else size, np.float32),
        "fps": np.asarray(zeros if fps is None else fps, np.float32),
        "names": np.array([str(name) for name in names]),
    }
    for name, column in columns.items():
        if column is not None and len(column) != count:
            raise DataError(f"{len(column)} {name} for {count} clips", file=file)
    _check_range(columns["labels"], len(classes), "label", file)
    _check_range(columns["condition"], max(len(conditions), 1), "condition", file)
    there = np.isfinite(joints).all(axis=-1)
    joints = np.where(there[..., None], joints, np.nan).astype(np.float32)
    score = there.astype(np.float32) if score is None else np.nan_to_num(score.astype(np.float32))
    score = np.where(there, np.clip(score, 0, 1), 0).astype(np.float32)
    any_row = there.any(axis=-1)
    keep = np.array([any_row[a:b].any() for a, b in itertools.pairwise(offsets)])
    if not keep.all():
        rows = np.repeat(keep, np.diff(offsets))
        joints, score = joints[rows], score[rows]
        offsets = np.concatenate([[0], np.cumsum(np.diff(offsets)[keep])])
        columns = {k: None if column is None else column[keep] for k, column in columns.items()}
        splits = {name: split[keep] for name, split in (splits or {}).items()}
        if not keep.any():
            raise DataError("no clip has a joint", file=file)
    return Clips(
        file,
        skeleton,
        joints,
        score,
        offsets,
        tuple(map(str, columns.pop("names"))),
        classes=classes,
        conditions=conditions,
        splits=splits or {},
        left_out={"without any joint": int((~keep).sum())},
        **columns,
    )


def _check_range(values: np.ndarray, count: int, name: str, file: str) -> None:
    wrong = np.flatnonzero((values < 0) | (values >= count))
    if len(wrong):
        raise DataError(
            f"{name} {values[wrong[0]]} is not in 0 to {count - 1}", file=file, place=f"{wrong[0]}"
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
        _fingerprint(joints, visible, score, *columns),
    )


def _fingerprint(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256(b"sequences 1")
    for array in arrays:
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
