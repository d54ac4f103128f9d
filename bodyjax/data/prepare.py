"""Any set of data as a prepared set (bodyjax.data.prepared): where each source is, what is left
out, and the names of joints beside the records."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bodyjax import files
from bodyjax.contract import Source
from bodyjax.data import prepared, prepared_shards, sets
from bodyjax.data.clips.folder import PARTS
from bodyjax.data.opened_once import Notes
from bodyjax.data.pictures.coco_files import json_files
from bodyjax.data.pictures.labelled import FilePath, NoPictures, Pictures
from bodyjax.data.pictures.simulated import SimulatedPictures
from bodyjax.data.sequences.array_sets import FILES
from bodyjax.data.sequences.settings import picture_size
from bodyjax.data.sequences.table_folders import (
    JointClips,
    array_set,
    joint_tables,
    table_files,
)
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import COCO17, Skeleton

JOINTS_FILE = "bodyjax_joints.json"
SIMULATED = "simulated"
"""The source that is not a folder, as in `data.sets` of a config."""
COUNT = 1000
"""The default number of simulated training pictures: about a minute's work."""


@dataclass(frozen=True)
class StoredPictures:
    """Simulated pictures whose `image` is a PNG file's bytes, as a prepared set holds pictures."""

    made: SimulatedPictures
    labels: None = None
    groups: None = None
    classes: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        return self.made.fingerprint

    @property
    def skeleton(self) -> Skeleton:
        return self.made.skeleton

    @property
    def heldout(self) -> np.ndarray:
        return self.made.heldout

    @property
    def names(self) -> tuple[str, ...]:
        return self.made.names

    @property
    def left_out(self) -> dict[str, int]:
        return self.made.left_out

    def name(self, index: int) -> str:
        return self.made.name(index)

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.made[index]
        file = io.BytesIO()
        Image.fromarray(example["image"]).save(file, "PNG")
        return {**example, "image": file.getvalue()}


@dataclass(frozen=True)
class Report:
    """What was prepared: its folder, the kind of set, rows of each part, counts of what was left
    out by reason, and the name and fault of each bad row."""

    folder: Path
    kind: str
    rows: dict[str, int]
    left_out: dict[str, int]
    bad: tuple[str, ...]


def prepare(
    path: FilePath,
    out: FilePath,
    name: str = "",
    *,
    on_bad: str = "skip",
    number: str = "1",
    skeleton: Skeleton = COCO17,
    options: Mapping[str, str] | None = None,
    count: int | None = None,
    normalized: str | None = None,
) -> Report:
    """Write the set at `path` below `out` as NAME/1.0.0 (default: named as its folder).

    Sets: folders of clips (with any joints beside them), pictures with labels, COCO folders, the
    array sets, folders of joint tables in `skeleton`, and "simulated" pictures: `count` (1000) to
    train, a tenth as many in valid and test. `number`: which of several official splits. `options`:
    label, joints of an array set. normalized: "1280x720" if x and y of joint tables are shares of
    pictures of this size. Every picture and clip is opened once, across killed runs too
    (data.opened_once); what can't be used is left out and named, or ends the work with
    on_bad="raise". If no picture falls into the share for validation, there is no such part.
    DataError if no set is found, or if it is prepared already.
    """
    if on_bad not in ("skip", "raise"):
        raise ConfigError(f"on_bad = {on_bad!r}", hint='use "skip" or "raise"')
    source = Path(path)
    name = name or set_name(source)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(f"a set can't be called {name!r}", hint="small letters, digits and _")
    splits: Mapping[str, Any]
    _, unfinished = prepared_shards.new_folder(Path(out), name)
    if str(source) == SIMULATED:
        if options:
            raise ConfigError(f"{', '.join(options)} say nothing about {SIMULATED} pictures")
        kind, splits = SIMULATED, _simulated(COUNT if count is None else count)
    elif count is not None:
        raise ConfigError(f"a count belongs to {SIMULATED} pictures", file=source)
    else:
        with Notes(unfinished, on_bad) as notes:
            kind, splits = open_parts(
                source, on_bad, number, skeleton, options or {}, normalized, notes
            )
    folder = prepared.write(splits, out, name)
    first = next(iter(splits.values()))
    if isinstance(first, JointClips):
        _write_joints(folder, first)
    rows = {part: len(source) for part, source in splits.items()}
    return Report(folder, kind, rows, *_left_out(splits.values()))


def set_name(path: Path) -> str:
    """A name for the set at a path, as TFDS allows it."""
    words = re.sub(r"[^a-z0-9]+", "_", path.resolve().stem.lower()).strip("_")
    return words if re.match(r"[a-z]", words) else f"set_{words}".rstrip("_")


def open_parts(
    path: Path,
    on_bad: str,
    number: str,
    skeleton: Skeleton,
    options: Mapping[str, str],
    normalized: str | None = None,
    notes: Notes | None = None,
) -> tuple[str, Mapping[str, Any]]:
    """(kind, sources by part) of the set at a path; notes: of pictures and clips that were
    opened."""
    kind = _kind(path)
    if kind == "prepared":
        raise DataError("is prepared already", file=path)
    if kind == "joint tables":
        size = picture_size(normalized, "--normalized") if normalized else None
        return kind, joint_tables(path, skeleton=skeleton, on_bad=on_bad, normalized=size)
    if normalized:
        raise ConfigError("is for joint tables", file=path, place="--normalized")
    if kind in FILES.values():
        return kind, array_set(kind, path, number, **options)
    if options:
        raise ConfigError(f"{', '.join(options)} say nothing about {kind}", file=path)
    if kind in sets.PICTURES:
        return kind, _picture_parts(path, on_bad, notes)
    joints = _has_joints(path)
    return kind, {
        part: sets.open_set(path, which, on_bad=on_bad, joints=joints, notes=notes)
        for part, which in sets.parts(path, number).items()
    }


def _picture_parts(path: Path, on_bad: str, notes: Notes | None) -> dict[str, Pictures]:
    """Sources by part. The share for validation is not the set's own: if it, or the rest for
    training, is empty, the whole training side is "train"."""

    def opened(parts: Mapping[str, str]) -> dict[str, Pictures]:
        return {
            part: sets.open_set(path, which, on_bad=on_bad, check_pictures=True, notes=notes)
            for part, which in parts.items()
        }

    parts = sets.parts(path, on_bad=on_bad)
    try:
        return opened(parts)
    except NoPictures:
        if "valid" not in parts:
            raise
        return opened({"train": "trainvalid", "test": "test"})


def _simulated(count: int) -> dict[str, StoredPictures]:
    if count < 1:
        raise ConfigError(f"{count} pictures", hint="1 or more")
    counts = {"train": count, "valid": max(count // 10, 1), "test": max(count // 10, 1)}
    return {part: StoredPictures(SimulatedPictures(part, n)) for part, n in counts.items()}


def _left_out(sources: Iterable[Source]) -> tuple[dict[str, int], tuple[str, ...]]:
    """How many were left out by reason, and the bad rows of all parts. Rows that belong to no part
    are named by every part and count once."""
    counts: Counter[str] = Counter()
    bad: dict[str, None] = {}
    for source in sources:
        counts.update(source.left_out)
        for line in source.bad:
            if line in bad:
                counts.subtract(
                    reason for reason in source.left_out if line.endswith(f": {reason}")
                )
            bad[line] = None
    return dict(+counts), tuple(bad)


def _kind(path: Path) -> str:
    """The kind of set at a path. Several *.json side by side are joint tables unless they are
    COCO's, whose file would have to be named."""
    try:
        kind = sets.recognise(path)
    except DataError:
        if path.is_dir() and table_files(path):
            return "joint tables"
        raise
    flat = kind == "coco" and path.is_dir() and not (path / "annotations.json").exists()
    return "joint tables" if flat and not _is_coco(path) else kind


def _is_coco(folder: Path) -> bool:
    """Whether the *.json of a folder are keypoint files and not joint tables: objects that begin
    with other words than a frame of OpenPose, and no lists."""
    there = json_files(folder)
    heads = [file.open("rb").read(2000).decode("utf-8", "replace") for file in there]
    tables = [
        bool(re.match(r'\W*\[|\W*"(version|frames)"', head.lstrip("\ufeff{"))) for head in heads
    ]
    return not there or not all(tables)


def _has_joints(path: Path) -> bool:
    """Whether there are joints beside the clips: a teacher.npz, or NAME.json as simulated clips
    have."""
    if (path / "teacher.npz").exists():
        return True
    parts = [path / part for part in PARTS if (path / part).is_dir()] or [path]
    return any(next(part.glob("*/*.json"), None) is not None for part in parts)


def _write_joints(folder: Path, source: JointClips) -> None:
    bones = source.skeleton
    limbs = [[bones.joints[a], bones.joints[b]] for a, b in bones.limbs]
    words = {
        "skeleton": bones.name,
        "joints": list(bones.joints),
        "limbs": limbs,
        "conditions": list(source.conditions),
    }
    files.write_text(folder / JOINTS_FILE, json.dumps(words, indent=1) + "\n")
