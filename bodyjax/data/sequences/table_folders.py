"""Joints of clips of any length as sources: folders of joint tables, and the array sets.

An example: xy (F, P, J, 2 or 3) float32, 0 where absent; visible (F, P, J) uint8 in {0, 2}; score
(F, P, J) float32; numbers (F,) int64, the frames' numbers; size (2,) float32, width and height, 0
where not known; fps float32, 0 where not known; condition int32; id int64; label int32 if the set
has labels.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bodyjax.data.clips.folder import PARTS
from bodyjax.data.clips.opening import SKIP
from bodyjax.data.folds import TEST, TRAIN
from bodyjax.data.pictures.labelled import FilePath, Manifest
from bodyjax.data.sequences.array_sets import load
from bodyjax.data.sequences.joint_tables import (
    Size,
    people_beside,
    read_joints,
    surest_person,
    tables_in,
)
from bodyjax.data.sequences.ragged_clips import Clips
from bodyjax.errors import ConfigError, DataError
from bodyjax.files import skipped_counts
from bodyjax.skeleton import COCO17, SEEN, Skeleton

Example = dict[str, np.ndarray]


@dataclass(frozen=True)
class JointClips:
    """A source of clips of joints, all in memory. `conditions` names the values of `condition`."""

    place: Path
    skeleton: Skeleton
    names: tuple[str, ...]
    examples: tuple[Example, ...]
    classes: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    heldout: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    bad: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("no clips of joints are left", file=self.place)
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", _fingerprint(self))

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """What errors call an example."""
        return f"{self.place}/{self.names[index]}"

    def __getitem__(self, index: int) -> Example:
        label = {} if self.labels is None else {"label": self.labels[index]}
        return {**self.examples[index], **label, "id": np.asarray(index, np.int64)}

    def take(self, rows: np.ndarray) -> JointClips:
        """The source of these rows only."""
        rows = np.asarray(rows)
        return replace(
            self,
            names=tuple(self.names[i] for i in rows),
            examples=tuple(self.examples[i] for i in rows),
            labels=None if self.labels is None else self.labels[rows],
            groups=None if self.groups is None else self.groups[rows],
            heldout=self.heldout[rows],
            fingerprint="",
        )


def table_files(folder: FilePath) -> list[Path]:
    """The joint tables of a folder and the folders in it, sorted."""
    return tables_in(folder).files


def joint_tables(
    path: FilePath,
    *,
    skeleton: Skeleton = COCO17,
    on_bad: str = "raise",
    normalized: Size | None = None,
) -> dict[str, JointClips]:
    """The joint tables (joint_tables.read_joints, `normalized` as there) of a folder, one source
    per part.

    Layouts: NAME.csv (no labels); CLASS/NAME.csv; {train,valid,test}/CLASS/NAME.csv. Without parts
    everything is "train". With on_bad="skip", tables that can't be used are named and counted; with
    "raise", the first one is a DataError with file and line. A table of one frame can't be used.
    """
    root = Path(path)
    listing = tables_in(root)
    files = listing.files
    if not files:
        raise DataError("no joint tables (NAME.csv)", file=root)
    parted = any((root / part).is_dir() for part in PARTS)
    rows = [file.relative_to(root).parts for file in files]
    parts = [row[0] if parted else "train" for row in rows]
    inner = [row[1:] if parted else row for row in rows]
    for file, part, row in zip(files, parts, inner, strict=True):
        if part not in PARTS or len(row) not in (1, 2) or len(row) != len(inner[0]):
            hint = "use CLASS/NAME.csv, or {train,valid,test}/CLASS/NAME.csv"
            raise DataError("lies at another depth than the other tables", file=file, hint=hint)
    classes = tuple(sorted({row[0] for row in inner})) if len(inner[0]) == 2 else ()
    found: dict[str, JointClips] = {}
    dims = 0
    for part in [part for part in PARTS if part in parts]:
        manifest = Manifest(root, on_bad)
        if not found:  # once, of the whole folder
            manifest.left_out.update(skipped_counts(listing.skipped, root))
        names, labels, examples = [], [], []
        for i in [i for i, other in enumerate(parts) if other == part]:
            try:
                example = _of_table(files[i], skeleton, normalized)
                dims = dims or example["xy"].shape[-1]
                if example["xy"].shape[-1] != dims:
                    what = f"{example['xy'].shape[-1]} coordinates a joint, {dims} in other tables"
                    raise DataError(what, file=files[i])
            except DataError as error:
                if on_bad == "raise":
                    raise error.also(SKIP) from None
                where = f"{files[i]}: {error.place}" if error.place else str(files[i])
                manifest.bad(where, error.message)
                continue
            named = files[i] if files[i].is_dir() else files[i].with_suffix("")
            names.append(named.relative_to(root).as_posix())
            labels.append(classes.index(inner[i][0]) if classes else 0)
            examples.append(example)
        found[part] = JointClips(
            root,
            skeleton,
            tuple(names),
            tuple(examples),
            classes,
            labels=np.array(labels, np.int32) if classes else None,
            heldout=np.full(len(names), part == "test"),
            bad=tuple(manifest.names),
            left_out=dict(manifest.left_out),
        )
    return found


def _of_table(file: Path, skeleton: Skeleton, normalized: Size | None) -> Example:
    table = read_joints(file, skeleton, normalized=normalized)
    if len(table.frames) < 2:
        place = "line 2" if file.suffix.lower() == ".csv" else None
        raise DataError("has one frame alone", file=file, place=place, hint="a movement needs two")
    return {
        "xy": np.where(table.visible[..., None] > 0, table.xy, np.float32(0)),
        "visible": table.visible,
        "score": table.score,
        "numbers": table.frames,
        "size": np.array(table.size or (0, 0), np.float32),
        "fps": np.asarray(0, np.float32),
        "condition": np.asarray(0, np.int32),
    }


def table_sequences(
    path: FilePath,
    *,
    skeleton: Skeleton = COCO17,
    fps: float = 0.0,
    on_bad: str = "raise",
    normalized: Size | None = None,
) -> Clips:
    """The joint tables of a folder, CLASS/NAME.csv or {train,valid,test}/CLASS/NAME.csv, as clips
    of one person each: if there are several, the one with the highest sum of scores; `notes` counts
    the rest.

    A row is a frame; frames between those of a table are absent (every 6th is the paper's rate).
    fps: the frame rate that the tables' numbers count in, 0 if not known. on_bad, normalized: as
    for `joint_tables`. With a test part the split is "official": train and valid against test.
    """
    parts = joint_tables(path, skeleton=skeleton, on_bad=on_bad, normalized=normalized)
    sources = list(parts.values())
    classes = sources[0].classes
    if not classes or any(source.classes != classes for source in sources):
        hint = "CLASS/NAME.csv, the same classes in every part"
        raise DataError("joint tables without classes", file=path, hint=hint)
    joints, score, counts, sizes = [], [], [], []
    for example in (example for source in sources for example in source.examples):
        rows = example["numbers"] - example["numbers"][0]
        counts.append(int(rows[-1]) + 1)
        people = example["xy"], example["visible"], example["score"]
        places, surety = surest_person(*people, rows, counts[-1])
        joints.append(places)
        score.append(surety)
        sizes.append(example["size"])
    side = np.repeat([TEST if part == "test" else TRAIN for part in parts], list(map(len, sources)))
    others = {
        _file_of(source, name): example["xy"].shape[1] - 1
        for source in sources
        for name, example in zip(source.names, source.examples, strict=True)
    }
    left_out: Counter[str] = Counter()
    for source in sources:
        left_out.update(source.left_out)
    bad = (line for source in sources for line in source.bad)
    return Clips(
        str(path),
        skeleton,
        np.concatenate(joints),
        np.concatenate(score),
        np.cumsum([0, *counts]),
        tuple(name for source in sources for name in source.names),
        np.concatenate([np.asarray(source.labels) for source in sources]),
        classes,
        None,
        np.zeros(len(counts), np.int32),
        size=np.stack(sizes),
        fps=np.full(len(counts), fps, np.float32),
        splits={"official": side.astype(np.int8)} if "test" in parts else {},
        left_out=dict(left_out),
        notes=(*bad, *people_beside(others, skeleton)),
    )


def _file_of(source: JointClips, name: str) -> Path:
    """The joint table of a clip as messages name it."""
    table = source.place / f"{name}.csv"
    return table if table.is_file() else source.place / name


def array_set(
    kind: str, path: FilePath, number: str = "1", **options: str
) -> dict[str, JointClips]:
    """A set of `array_sets`, one source per part of its official split (`number` of several), or
    otherwise all "train". Options: `label`, `joints` as the set takes them; ConfigError for one
    that it lacks."""
    clips = load(kind, path, **options)
    whole = JointClips(
        Path(path),
        clips.skeleton,
        clips.names,
        tuple(_of_clips(clips, i) for i in range(len(clips))),
        clips.classes,
        clips.conditions,
        clips.labels,
        clips.groups,
        np.zeros(len(clips), bool),
        clips.notes,
        {reason: count for reason, count in clips.left_out.items() if count},
    )
    if not clips.splits:
        return {"train": whole}
    chosen = number if number in clips.splits else next(iter(clips.splits))
    if len(clips.splits) > 1 and number not in clips.splits:
        hint = f"there are {', '.join(clips.splits)}"
        raise ConfigError(f"no split {number!r}", file=path, hint=hint)
    sides = clips.splits[chosen]
    neither = int(((sides != TRAIN) & (sides != TEST)).sum())
    left_out = {**whole.left_out, **({f"not in split {chosen}": neither} if neither else {})}
    train = replace(whole.take(np.flatnonzero(sides == TRAIN)), left_out=left_out)
    test = replace(whole.take(np.flatnonzero(sides == TEST)), bad=(), left_out={})
    return {"train": train, "test": replace(test, heldout=np.ones(len(test), bool))}


def _of_clips(clips: Clips, i: int) -> Example:
    joints, score = clips.frames(i)
    there = np.isfinite(joints).all(-1)
    return {
        "xy": np.where(there[..., None], joints, np.float32(0))[:, None],
        "visible": (there * SEEN).astype(np.uint8)[:, None],
        "score": score[:, None],
        "numbers": np.arange(len(joints)),
        "size": clips.size[i] if len(clips.size) else np.zeros(2, np.float32),
        "fps": np.asarray(clips.fps[i] if len(clips.fps) else 0, np.float32),
        "condition": np.asarray(clips.condition[i], np.int32),
    }


def _fingerprint(source: JointClips) -> str:
    digest = hashlib.sha256(repr(("joint clips 1", source.names, source.classes)).encode())
    arrays: Iterable[np.ndarray] = (
        value for example in source.examples for value in example.values()
    )
    for array in arrays:
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    if source.labels is not None:
        digest.update(source.labels.tobytes())
    return digest.hexdigest()
