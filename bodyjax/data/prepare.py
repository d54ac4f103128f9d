"""Any set of data as a prepared set (bodyjax.data.prepared): which source lies where, what is left
out, and the names of joints beside the records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodyjax.data import prepared, sets
from bodyjax.data.clips import PARTS
from bodyjax.data.joint_clips import JointClips, array_set, joint_tables, table_files
from bodyjax.data.labelled import FilePath
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import COCO17, Skeleton

JOINTS_FILE = "bodyjax_joints.json"


@dataclass(frozen=True)
class Report:
    """What was prepared: its folder, the kind of set, rows of each part, what was left out by
    reason, and the name and fault of each row that was left out as bad."""

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
) -> Report:
    """Write the set at `path` below `out` as NAME/1.0.0 (default: named as its folder).

    Sets: folders of clips (with their joints where they lie beside), pictures with labels, COCO
    folders, the array sets, folders of joint tables in `skeleton`. `number`: of several
    official splits. `options`: label, joints of an array set. What can't be used is left out and
    named, or with on_bad="raise" ends the work. DataError where no set is found.
    """
    if on_bad not in ("skip", "raise"):
        raise ConfigError(f"on_bad = {on_bad!r}", hint='use "skip" or "raise"')
    source = Path(path)
    name = name or set_name(source)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(f"a set can't be called {name!r}", hint="small letters, digits and _")
    kind, splits = open_parts(source, on_bad, number, skeleton, options or {})
    folder = prepared.write(splits, out, name)
    first = next(iter(splits.values()))
    if isinstance(first, JointClips):
        _write_joints(folder, first)
    left_out: dict[str, int] = {}
    for part in splits.values():
        for reason, count in getattr(part, "left_out", {}).items():
            left_out[reason] = left_out.get(reason, 0) + count
    return Report(
        folder,
        kind,
        {part: len(rows) for part, rows in splits.items()},
        {reason: count for reason, count in left_out.items() if count},
        tuple(bad for rows in splits.values() for bad in getattr(rows, "bad", ())),
    )


def set_name(path: Path) -> str:
    """A name for the set at a path, as TFDS allows it."""
    words = re.sub(r"[^a-z0-9]+", "_", path.resolve().stem.lower()).strip("_")
    return words if re.match(r"[a-z]", words) else f"set_{words}".rstrip("_")


def open_parts(
    path: Path, on_bad: str, number: str, skeleton: Skeleton, options: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """(kind, sources by part) of the set at a path."""
    kind = _kind(path)
    if kind == "prepared":
        raise DataError("is prepared already", file=path)
    if kind == "joint tables":
        return kind, joint_tables(path, skeleton=skeleton, on_bad=on_bad)
    if kind in sets.JOINT_FILES.values():
        return kind, array_set(kind, path, number, **options)
    if options:
        raise ConfigError(f"{', '.join(options)} say nothing about {kind}", file=path)
    more: dict[str, Any] = {"on_bad": on_bad}
    if kind == "clips":
        more["joints"] = _has_joints(path)
    parts = sets.parts(path, number)
    return kind, {part: sets.open_set(path, which, **more) for part, which in parts.items()}


def _kind(path: Path) -> str:
    try:
        return sets.recognise(path)
    except DataError:
        if path.is_dir() and table_files(path):
            return "joint tables"
        raise


def _has_joints(path: Path) -> bool:
    """Whether joints lie beside the clips: a teacher.npz, or NAME.json as simulated clips have."""
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
    (folder / JOINTS_FILE).write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")
