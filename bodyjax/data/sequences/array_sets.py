"""The stored sets of joint sequences: the array files of shared data, read into `Clips`.

Other sets with the same layouts can be read too: every reader takes a folder, or the file itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from bodyjax import files
from bodyjax.data.clips.folder import ClipFolder
from bodyjax.data.clips.opening import open_clips
from bodyjax.data.folds import TEST, TRAIN
from bodyjax.data.pictures.labelled import FilePath, Manifest, read_arrays
from bodyjax.data.sequences.joint_tables import clip_tables
from bodyjax.data.sequences.ragged_clips import About, Clips, checked_clips
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import COCO17, SEEN, Skeleton, convert, get, make

NATOPS8 = make(
    "natops8",
    "left_hand_tip right_hand_tip left_elbow right_elbow left_wrist right_wrist left_thumb"
    " right_thumb",
    "left_elbow-left_wrist left_wrist-left_hand_tip left_wrist-left_thumb"
    " right_elbow-right_wrist right_wrist-right_hand_tip right_wrist-right_thumb",
)


def penn_action(path: FilePath) -> Clips:
    """Penn Action: 13 joints in pixels, 15 actions, one official split."""
    table, file = _read(path, "penn_action.npz", "joints visible offsets label classes train size")
    count = len(table["label"])
    joints = table["joints"].astype(np.float32) * _by_row(table, file, "size")[:, None, :]
    joints[~table["visible"].astype(bool)] = np.nan
    train = table["train"].astype(bool)
    return checked_clips(
        file,
        get("penn13"),
        joints,
        None,
        table["offsets"],
        About(
            labels=table["label"],
            classes=tuple(map(str, table["classes"])),
            names=table.get("clip", np.arange(count)),
            size=table["size"],
            splits={"official": np.where(train, TRAIN, TEST).astype(np.int8)},
        ),
    )


HELD_OUT = 5
"""Groups of pushfit that this number divides are left for tests where nothing else splits them."""
PUSHFIT_JOINTS = {"mediapipe": "mediapipe33", "mediapipe17": "coco17", "movenet": "coco17"}
"""Joints that pushfit stores, and their skeletons: MediaPipe's 33, those of them that COCO has,
MoveNet's 17."""


def pushfit(path: FilePath, joints: str = "mediapipe") -> Clips:
    """Push-ups, standard (1) or not (0).

    joints: one of PUSHFIT_JOINTS, or a folder of joint tables that launch.prepare --detect made
    from the set's videos.
    """
    if joints not in PUSHFIT_JOINTS and not Path(joints).is_dir():
        hint = f"{', '.join(PUSHFIT_JOINTS)}, or a folder of joint tables"
        raise ConfigError(f"no joints {joints!r} in pushfit", hint=hint)
    estimator = "movenet" if joints == "movenet" else "mediapipe"
    table, file = _read(path, "joints.npz", f"{estimator} offsets standard group fps video_size")
    names = [str(name) for name in table.get("clip", np.arange(len(table["standard"])))]
    tables = None
    if joints in PUSHFIT_JOINTS:
        stored = table[estimator].astype(np.float32)
        # relative places have the first pixel's centre at 0.5 of a pixel
        places = stored[..., :2] * _by_row(table, file, "video_size")[:, None, :] - 0.5
        score = stored[..., -1]
        if joints == "mediapipe17":
            places, score = _in_coco(places, score, get("mediapipe33"))
    else:
        tables = clip_tables(Path(joints), names, np.asarray(table["offsets"], np.int64))
        places, score = tables.places, tables.score
    clips = checked_clips(
        file,
        get("mediapipe33" if joints == "mediapipe" else "coco17"),
        places,
        score,
        table["offsets"],
        About(
            labels=table["standard"],
            classes=("not standard", "standard"),
            groups=table["group"],
            names=names,
            size=table["video_size"],
            fps=table["fps"],
        ),
    )
    if tables is None:
        return clips
    left_out = {"without any joint": clips.left_out["without any joint"] - tables.lone}
    lone = {"with one frame in the joint table": tables.lone} if tables.lone else {}
    return replace(clips, left_out=left_out | lone, notes=tables.notes)


def _in_coco(
    places: np.ndarray, score: np.ndarray, source: Skeleton
) -> tuple[np.ndarray, np.ndarray]:
    """Places (R, J, 2) with NaN and score (R, J) of another skeleton in COCO's 17 joints."""
    there = np.isfinite(places).all(-1)
    joined = np.concatenate([np.where(there[..., None], places, 0), score[..., None]], axis=-1)
    joints, seen = convert(joined, (there * SEEN).astype(np.uint8), source, COCO17)
    return np.where((seen > 0)[..., None], joints[..., :2], np.nan), joints[..., 2]


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
    return checked_clips(
        file,
        body,
        stored,
        None,
        table["offsets"],
        About(
            labels=movement if which else table["correct"],
            classes=movements if which else ("incorrect", "correct"),
            groups=table["subject"],
            condition=None if which else movement,
            conditions=() if which else movements,
            names=[f"m{m + 1}-s{s}" for m, s in zip(movement, table["subject"], strict=True)],
            fps=np.full(count, table.get("fps", 15.0)),
        ),
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
    return checked_clips(
        file,
        NATOPS8,
        both.reshape(-1, 8, 3),
        None,
        table["offsets"],
        About(
            labels=np.concatenate([table["y_train"], table["y_test"]]),
            classes=tuple(map(str, table["classes"])),
            names=[f"{'train' if i < train else 'test'}-{i}" for i in range(len(both))],
            splits={"official": split},
        ),
    )


def pose_trainer(path: FilePath) -> Clips:
    """Pose Trainer: OpenPose joints, standard or not, condition = exercise, groups of takes."""
    needed = "joints score offsets exercise exercises standard group"
    table, file = _read(path, "pose_trainer.npz", needed)
    joints, score = table["joints"].astype(np.float32), table["score"].astype(np.float32)
    joints[score <= 0] = np.nan
    return checked_clips(
        file,
        get("body18"),
        joints,
        score,
        table["offsets"],
        About(
            labels=table["standard"],
            classes=("not standard", "standard"),
            groups=table["group"],
            condition=table["exercise"],
            conditions=tuple(map(str, table["exercises"])),
            names=table.get("clip", np.arange(len(table["standard"]))),
        ),
    )


def jhmdb(path: FilePath) -> Clips:
    """JHMDB's stored teacher joints (COCO-17), 21 actions, three official splits.

    Groups are (class, source video); the splits keep them apart. Needs splits.json beside the file.
    """
    table, file = _read(path, "teacher.npz", "xy score offsets names")
    listing = Path(file).parent / "splits.json"
    splits = files.read_json(listing)
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
    return checked_clips(
        file,
        get("coco17"),
        table["xy"].astype(np.float32) - 0.5,
        table["score"],
        table["offsets"],
        About(
            labels=np.array([classes.index(kind) for kind in kinds]),
            classes=tuple(classes),
            groups=np.array([number[source] for source in sources]),
            names=names,
            size=size,
            fps=np.full(len(names), 30.0),
            splits=parts,
        ),
    )


def pushfit_videos(path: FilePath, on_bad: str = "raise") -> ClipFolder:
    """The push-up clips themselves (videos/pNNN.mp4), labels and groups from joints.npz: class 1 is
    standard. All rows: there is no official split, folds are by group. on_bad: as of
    `clips.folder.clips`."""
    folder = Path(path)
    table = read_arrays(folder / "joints.npz", ("clip", "standard", "group"))
    every = [folder / "videos" / f"{Path(str(name)).stem}.mp4" for name in table["clip"]]
    manifest = Manifest(folder, on_bad)
    readable = open_clips(every, manifest, on_bad)
    rows = list(readable)
    files = [every[row] for row in rows]
    classes = ("not standard", "standard")
    labels = table["standard"].astype(np.int32)[rows]
    return ClipFolder(
        folder,
        tuple(f"{classes[k]}/{file.stem}" for k, file in zip(labels, files, strict=True)),
        tuple(files),
        classes,
        labels,
        table["group"].astype(np.int32)[rows],
        np.zeros(len(files), bool),
        np.array([clip.frames for clip in readable.values()], np.int32),
        np.array([clip.size for clip in readable.values()], np.int32),
        tuple(manifest.names),
        dict(manifest.left_out),
    )


SETS: dict[str, Callable[..., Clips]] = {
    "penn_action": penn_action,
    "pushfit": pushfit,
    "ui_prmd": ui_prmd,
    "natops": natops,
    "pose_trainer": pose_trainer,
    "jhmdb": jhmdb,
}


FILES = {
    "penn_action.npz": "penn_action",
    "ui_prmd.npz": "ui_prmd",
    "natops.npz": "natops",
    "pose_trainer.npz": "pose_trainer",
    "joints.npz": "pushfit",
    "teacher.npz": "jhmdb",
}
"""The file that identifies each set."""
VIDEOS: dict[str, Callable[..., ClipFolder]] = {"pushfit": pushfit_videos}
"""Sets with videos beside the joints, and the functions that open these."""
ESTIMATORS = {"pushfit": PUSHFIT_JOINTS}
"""Sets that store joints of several estimators, with the skeleton of each."""


def names_at(path: FilePath) -> list[str]:
    """The sets whose file is at a path, or in the folder there."""
    root = Path(path)
    there = [root.name] if root.is_file() else [name for name in FILES if (root / name).is_file()]
    if "teacher.npz" in there:  # JHMDB has its labelled joints beside the stored ones
        there = ["teacher.npz"]
    return [FILES[name] for name in there if name in FILES]


def choices(name: str) -> tuple[str, ...]:
    """Which of `label` and `joints` the named set lets choose; ConfigError for an unknown name."""
    if name not in SETS:
        raise ConfigError(f"no joint set {name!r}", hint=f"known: {', '.join(SETS)}")
    return tuple(inspect.signature(SETS[name]).parameters)[1:]


def check_options(
    name: str, known: tuple[str, ...], options: Mapping[str, str], section: str = ""
) -> None:
    """ConfigError for an option that is not among those `known` of a set; `section` is its prefix
    in a config."""
    for option, value in options.items():
        if option not in known:
            has = f"{name} has no {option} to choose, here {value!r}"
            raise ConfigError(has, place=f"{section}{option}", hint="leave it empty")


def load(name: str, path: FilePath, **options: str) -> Clips:
    """The named set at `path` (its folder, or its file); ConfigError for an unknown name, or an
    option that the set lacks."""
    check_options(name, choices(name), options)
    return SETS[name](path, **options)


def _read(path: FilePath, name: str, needed: str) -> tuple[dict[str, np.ndarray], str]:
    file = Path(path) / name if Path(path).is_dir() else Path(path)
    return read_arrays(file, tuple(needed.split())), str(file)


def _by_row(table: Mapping[str, np.ndarray], file: str, name: str) -> np.ndarray:
    """A per-clip array repeated for each of the clip's rows, float32."""
    counts = np.diff(table["offsets"])
    if len(counts) != len(table[name]) or (counts < 0).any():
        raise DataError(f"offsets and {name} don't fit together", file=file)
    return np.repeat(table[name].astype(np.float32), counts, axis=0)
