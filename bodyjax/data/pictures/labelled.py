"""Labelled pictures of people as a source, whatever file they come from.

Every source has a `skeleton` and a method `to(target)`, the same source in another skeleton's
joints. Its examples have one form, in the J joints of its skeleton and in pixels of the stored
picture (centre of the first pixel = (0, 0)):

image (H, W, 3) uint8; xy (P, J, 2) float32; visible (P, J) uint8 in {0, 1, 2}; boxes (P, 4)
float32, the labelled people as x0, y0, x1, y1; ignore (K, 4) float32, crowds and people without
joints: nothing is taught there; joint_mask (J,) bool: False where this picture says nothing about a
joint (an absent joint of a person with joint_mask True is not visible); complete bool: False where
there may be people without any label; id int64. If the set has them, xyz (P, J, 3) float32, the
joints in mm in the camera's frame (x right, y down, z forward), NaN where not known, whatever
`visible` says (a joint outside the picture may be known); and camera (P, 4) float32, the camera
that saw each person: focal lengths x, y and principal point x, y in pixels.

Parts: "train", "valid" (a tenth of the training side, or a third if that has fewer than 1,000
pictures; never trained on while choosing), "trainvalid" (both), "test" (held out), "all".
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

import numpy as np

from bodyjax import skeleton
from bodyjax.data.opened_once import Learnt, Notes, open_once
from bodyjax.data.pictures.images import Archive, Folder
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import Skeleton

PARTS = ("train", "valid", "trainvalid", "test", "all")

FilePath = str | PathLike[str]


class NoPictures(DataError):
    """A part of a set is empty."""


@dataclass(frozen=True)
class People:
    """The labels of one picture, as the module's docstring says; xyz and camera are None if the set
    lacks them."""

    xy: np.ndarray
    visible: np.ndarray
    boxes: np.ndarray
    ignore: np.ndarray
    joint_mask: np.ndarray
    complete: bool
    xyz: np.ndarray | None = None
    camera: np.ndarray | None = None


@dataclass(frozen=True)
class Pictures:
    """A source of labelled pictures; pictures are read on request, from any thread.

    `skeleton`: of all joints. `heldout` (N,) marks rows that must not be trained on. `bad` names
    each picture that was left out because it or its labels can't be used, `left_out` counts what
    was left out or cut, by reason. `extra` holds further arrays with one row per picture, given
    with each example. stored: the names in `files`, where they differ from `names`; sizes: (width,
    height) of each picture as the labels say it, None where they don't.
    """

    files: Archive | Folder
    names: tuple[str, ...]
    ids: np.ndarray
    people: tuple[People, ...]
    heldout: np.ndarray
    skeleton: Skeleton
    bad: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    fingerprint: str = ""
    stored: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int] | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise NoPictures("no pictures are left", file=self.files.path)
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", _fingerprint(self))

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """What errors call an example."""
        return f"{self.files.path}/{self.names[index]}"

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {"image": self.image(index), **self.labels_of(index)}

    def image(self, index: int) -> np.ndarray:
        """The picture of a row, (H, W, 3) uint8. DataError if it can't be read, or if its labels
        are of a picture of another size (such as one that is turned by its EXIF orientation)."""
        picture = self.files.image(self.stored[index] if self.stored else self.names[index])
        height, width = picture.shape[:2]
        fault = size_fault(self.sizes[index] if self.sizes else None, (width, height))
        if fault:
            hint = 'set width and height right, or leave it out by on_bad = "skip"'
            raise DataError(fault, file=self.name(index), hint=hint)
        return picture

    def labels_of(self, index: int) -> dict[str, np.ndarray]:
        """An example without its picture."""
        people = self.people[index]
        return {
            "xy": people.xy,
            "visible": people.visible,
            "boxes": people.boxes,
            "ignore": people.ignore,
            "joint_mask": people.joint_mask,
            "complete": np.asarray(people.complete),
            "id": self.ids[index],
            **({} if people.xyz is None else {"xyz": people.xyz}),
            **({} if people.camera is None else {"camera": people.camera}),
            **{name: rows[index] for name, rows in self.extra.items()},
        }

    def to(self, target: Skeleton) -> Pictures:
        """The source in the joints of another skeleton, with missing joints masked; ConfigError if
        it has none of them. `extra` is unchanged."""
        if target.joints == self.skeleton.joints:
            return replace(self, skeleton=target)
        skeleton.check_convertible(self.skeleton, target, str(self.files.path))
        people = _converted(self.people, self.skeleton, target)
        return replace(self, people=people, skeleton=target, fingerprint="")

    def take(self, rows: np.ndarray) -> Pictures:
        """The source of these rows only."""
        rows = np.asarray(rows)
        return replace(
            self,
            names=tuple(self.names[i] for i in rows),
            ids=self.ids[rows],
            people=tuple(self.people[i] for i in rows),
            heldout=self.heldout[rows],
            extra={name: values[rows] for name, values in self.extra.items()},
            fingerprint="",
            stored=tuple(self.stored[i] for i in rows) if self.stored else (),
            sizes=tuple(self.sizes[i] for i in rows) if self.sizes else (),
        )


def size_fault(stated: tuple[int, int] | None, shown: tuple[int, int]) -> str:
    """Why labels that state a width and height don't belong to a picture that is shown with
    others, or ""."""
    if stated is None or stated == shown:
        return ""
    turned = ": it is turned by its EXIF orientation" if stated == shown[::-1] else ""
    sizes = f"{stated[0]} x {stated[1]}, the picture has {shown[0]} x {shown[1]}"
    return f"labels are of another size ({sizes}{turned})"


class Manifest:
    """Collects what is left out while a source is made: each bad row is named once and counted."""

    def __init__(self, file: FilePath, on_bad: str) -> None:
        if on_bad not in ("skip", "raise"):
            raise ConfigError(f"on_bad = {on_bad!r}", hint='use "skip" or "raise"')
        self.file, self.on_bad = file, on_bad
        self.names: list[str] = []
        self.left_out: Counter[str] = Counter()

    def bad(self, name: str, reason: str) -> None:
        """Leave out one row, or raise DataError, as on_bad says."""
        if self.on_bad == "raise":
            raise DataError(reason, file=self.file, place=name, hint='or set on_bad = "skip"')
        self.names.append(f"{name}: {reason}")
        self.left_out[reason.partition(" (")[0]] += 1  # brackets hold what differs from row to row

    def source(
        self,
        files: Archive | Folder,
        names: list[str],
        ids: np.ndarray,
        labels: list[People],
        heldout: np.ndarray,
        skeleton: Skeleton,
        extra: dict[str, np.ndarray] | None = None,
        *,
        stored: tuple[str, ...] = (),
        sizes: tuple[tuple[int, int] | None, ...] = (),
    ) -> Pictures:
        """The source of the rows that are good."""
        counts = {reason: n for reason, n in self.left_out.items() if n}
        return Pictures(
            files,
            tuple(names),
            ids,
            tuple(labels),
            heldout,
            skeleton,
            tuple(self.names),
            counts,
            extra or {},
            stored=stored,
            sizes=sizes,
        )


def read_arrays(file: FilePath, needed: tuple[str, ...]) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, none pickled; DataError if one of `needed` is missing."""
    try:
        with np.load(file, allow_pickle=False) as table:
            arrays = {name: table[name] for name in table.files}
    except FileNotFoundError:
        raise DataError("no such file", file=file) from None
    except Exception as error:  # zip, zlib and NumPy each have their own
        raise DataError(f"not a readable .npz file ({error})", file=file) from None
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise DataError(f"has no array {', '.join(missing)}", file=file)
    return arrays


FEW = 1000
"""Training sides with fewer pictures give a third of them for validation: fewer are not enough to
choose by."""


def seeded_share(names: list[str], one_of: int) -> np.ndarray:
    """(N,) bool: one in `one_of` of the names, chosen by each name alone, so choices stay when
    other names come or go."""
    digests = [hashlib.sha256(f"bodyjax valid {name}".encode()).digest() for name in names]
    numbers = [int.from_bytes(digest[:4], "big") for digest in digests]
    return np.array([number % one_of == 0 for number in numbers], bool)


def check_part(part: str) -> None:
    """ConfigError if `part` is not a part of a set."""
    if part not in PARTS:
        raise ConfigError(f"no part {part!r}", hint=f"known: {', '.join(PARTS)}")


def named_part(
    part: str, names: list[str], heldout: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """Which pictures belong to a part, by held-out flag and a share for validation by name; `valid`
    names those for validation if a set has such names."""
    check_part(part)
    if valid is None or not valid.any():
        valid = seeded_share(names, 3 if (~heldout).sum() < FEW else 10)
    if part == "test" and not heldout.any():
        raise DataError("no picture is marked as test", hint='use part "all"')
    return {
        "train": ~heldout & ~valid,
        "valid": ~heldout & valid,
        "trainvalid": ~heldout,
        "test": heldout,
        "all": np.ones_like(heldout),
    }[part]


def open_files(folder: Path) -> Archive | Folder:
    """The pictures of a set: images.zip, or the folder images/, or the folder itself."""
    if (folder / "images.zip").exists():
        return Archive(folder / "images.zip")
    return Folder(folder / "images" if (folder / "images").is_dir() else folder)


def decoded_sizes(
    files: Archive | Folder, names: list[str], notes: Notes | None = None
) -> dict[str, tuple[int, int] | str]:
    """(width, height) of each existing picture, or why it can't be decoded; each is decoded once,
    in threads. notes: as in data.opened_once."""

    def look(name: str) -> Learnt | str:
        try:
            height, width = files.image(name).shape[:2]
        except DataError as error:
            return error.message
        return width, height

    places = {name: files.place(name) for name in names if name in files}
    pool = ThreadPoolExecutor()
    try:
        found = open_once(places, look, notes, "picture", pool.map)
    finally:
        pool.shutdown(cancel_futures=True)  # an error does not wait for the rest
    return {name: one if isinstance(one, str) else (one[0], one[1]) for name, one in found.items()}


def _converted(people: Sequence[People], source: Skeleton, target: Skeleton) -> tuple[People, ...]:
    """The labels of many pictures in the joints of another skeleton, all at once."""
    ends = np.cumsum([len(one.xy) for one in people])[:-1]
    flags = np.concatenate([one.visible for one in people])

    moved = skeleton.convert(np.concatenate([one.xy for one in people]), flags, source, target)
    xy, visible = (np.split(part, ends) for part in moved)
    masks = skeleton.convert_mask(np.stack([one.joint_mask for one in people]), source, target)
    xyz: Sequence[np.ndarray | None] = [None] * len(people)
    deep = [one.xyz for one in people if one.xyz is not None]
    if len(deep) == len(people):
        xyz = np.split(convert_xyz(np.concatenate(deep), source, target), ends)
    return tuple(
        replace(one, xy=a, visible=b, joint_mask=mask, xyz=c)
        for one, a, b, mask, c in zip(people, xy, visible, masks, xyz, strict=True)
    )


def convert_xyz(xyz: np.ndarray, source: Skeleton, target: Skeleton) -> np.ndarray:
    """Joints in space (..., J, 3), NaN where not known, in the joints of another skeleton."""
    known = np.isfinite(xyz).all(-1)
    flat = np.where(known[..., None], xyz, xyz.dtype.type(0))
    moved, seen = skeleton.convert(flat, known.astype(np.uint8), source, target)
    moved[seen == 0] = np.nan
    return moved


def _fingerprint(source: Pictures) -> str:
    digest = hashlib.sha256(b"pictures 1")
    stored = source.stored or source.names
    for name, there, labels in zip(source.names, stored, source.people, strict=True):
        size = (
            source.files.sizes[there]
            if isinstance(source.files, Archive)
            else (source.files.path / there).stat().st_size
        )
        digest.update(f"{name} {size} {labels.complete}".encode())
        arrays = labels.xy, labels.visible, labels.boxes, labels.ignore, labels.joint_mask
        for array in (*arrays, labels.xyz, labels.camera):
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
