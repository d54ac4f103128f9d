"""Which set is at a path, and its split for choosing settings: by group, never by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bodyjax import files
from bodyjax.data import folds
from bodyjax.data.clips.folder import LAYOUT, clips
from bodyjax.data.pictures.coco_files import holds_coco
from bodyjax.data.pictures.labelled import FilePath, Pictures, read_arrays
from bodyjax.data.pictures.rendered_people import coco, lsp, people
from bodyjax.data.prepared import Prepared
from bodyjax.data.sequences.array_sets import FILES
from bodyjax.errors import ConfigError, DataError

PICTURES: dict[str, Callable[..., Pictures]] = {"lsp": lsp, "people": people, "coco": coco}

LABELLED = "labelled pictures lie beside annotations.json, COCO keypoints (docs/DATA.md)"
"""A hint: the layout that most sets of pictures have."""

AnySource = TypeVar("AnySource", bound=Any)


def recognise(path: FilePath, hint: str = f"{LAYOUT}; {LABELLED}") -> str:
    """What is at a path, recognised by its layout: "prepared", "clips", "lsp", "people", "coco", or
    the name of a joint set of data.sequences.array_sets (its folder is "clips" if clips and their
    splits are in it). DataError if nothing fits, with a hint at what the caller can use.
    """
    path = Path(path)
    if not path.exists():
        raise DataError("no such file or folder", file=path)
    if path.is_file():
        if path.suffix.lower() == ".json":
            return "coco"
        if path.name in FILES:
            return FILES[path.name]
        raise DataError("not the file of a set", file=path, hint=f"name the set's folder: {hint}")
    if (path / "dataset_info.json").exists():
        return "prepared"
    if (path / "labels.npz").exists():
        return "people" if "coco_2d" in read_arrays(path / "labels.npz", ()) else "lsp"
    if (path / "splits.json").exists():
        return "clips"
    found = [name for file, name in FILES.items() if (path / file).exists()]
    if found:
        return found[0]
    if _holds_clips(path):
        return "clips"
    if holds_coco(path):
        return "coco"
    below = [file for depth in ("*", "*/*") for file in path.glob(f"{depth}/dataset_info.json")]
    if len(below) == 1:
        return "prepared"
    raise DataError("no set of a known layout", file=path, hint=hint)


def open_set(path: FilePath, part: str = "all", **options: Any) -> Any:
    """The source of pictures or clips at a path; options go to `lsp`, `people`, `coco` or `clips`.

    ConfigError for a set of joints: bodyjax.data.sequences.source opens those.
    """
    kind = recognise(path)
    if kind in PICTURES:
        return PICTURES[kind](path, part, **options)
    if kind == "clips":
        return clips(path, part, **options)
    if kind == "prepared":
        return Prepared(path, part)
    raise ConfigError(f"{kind} is a set of joints, not of pictures or clips", file=path)


def parts(path: FilePath, number: str = "1", *, on_bad: str = "raise") -> dict[str, str]:
    """The parts of the set at a path, as names of splits and what `open_set` calls them.

    With numbered splits (splits.json), those of `number`. A set without a test side is all "train".
    `on_bad`: for pictures, whose labels are read for this.
    """
    kind, path = recognise(path), Path(path)
    if kind == "prepared":
        return {split: split for split in Prepared(path, "all").splits}
    if kind == "clips":
        there = [part for part in ("train", "valid", "test") if (path / part).is_dir()]
        if there:
            return {part: part for part in there}
        if (path / "splits.json").exists():
            return {"train": f"{number}:train", "test": f"{number}:test"}
        return {"train": "all"}
    heldout = open_set(path, on_bad=on_bad).heldout
    sides = ("train", "valid", "test") if heldout.any() and not heldout.all() else ()
    return {part: part for part in sides} or {"train": "all"}


def validation_split(
    source: AnySource, fraction: float = 1 / 6, seed: int = 0
) -> tuple[AnySource, AnySource]:
    """(train, valid) of a training source with labels, groups and `take`: about `fraction` of it is
    valid, no group is on both sides, and classes are as even as groups allow
    (StratifiedGroupKFold).

    Raises DataError if held-out rows are in the source or there are too few groups.
    """
    if source.heldout.any():
        raise DataError("held-out rows can't be used for choosing settings")
    if source.labels is None or source.groups is None:
        raise DataError("a split by group needs labels and groups")
    if not 0 < fraction <= 0.5:
        raise ConfigError(f"a share of {fraction:g} for validation", hint="use 0 to 0.5")
    fold = folds.by_group(source.labels, source.groups, round(1 / fraction), seed)[0]
    return source.take(fold.train), source.take(fold.test)


def _holds_clips(path: Path) -> bool:
    """Whether there are videos one or two folders down (CLASS/NAME.mp4, train/CLASS/NAME.mp4)."""
    found = files.listed(path, files.VIDEOS).files if path.is_dir() else []
    deep = [file for file in found if len(file.relative_to(path).parts) in (2, 3)]
    return any(files.is_video(file) for file in deep)
