"""Stored joints or maps of another detector, given with each picture: a teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import skeleton
from bodyjax.contract import Source
from bodyjax.data import affine
from bodyjax.data.pictures.labelled import FilePath, Pictures, read_arrays
from bodyjax.data.pictures.map_store import Form, MapStore, pictures_of
from bodyjax.data.stream import Transform
from bodyjax.errors import DataError
from bodyjax.skeleton import BODY18, COCO17

Example = dict[str, Any]


def with_teacher(source: Pictures, path: FilePath) -> Pictures:
    """`source` with stored joints: an .npz of ids (M,), xy (M, 17, 2) COCO joints in stored pixels
    and score (M, 17).

    Examples get teacher_xy (J, 2) and teacher_score (J,) in the source's skeleton, NaN where no row
    has the picture's id.
    Raises DataError for missing or misshapen arrays, or where no picture has a row.
    """
    table = read_arrays(path, ("ids", "xy", "score"))
    ids, found = table["ids"], np.concatenate([table["xy"], table["score"][..., None]], -1)
    if found.shape != (len(ids), 17, 3):
        raise DataError(f"want xy (M, 17, 2) and score (M, 17), got {found.shape}", file=path)
    every = np.ones(found.shape[:2], np.uint8)
    joints, _ = skeleton.convert(found.astype(np.float32), every, COCO17, source.skeleton)
    rows = {int(number): row for row, number in enumerate(ids)}
    given = np.full((len(source), *joints.shape[1:]), np.nan, np.float32)
    for i, number in enumerate(source.ids):
        if int(number) in rows:
            given[i] = joints[rows[int(number)]]
    if np.isnan(given).all():
        raise DataError("has joints of none of the pictures", file=path)
    words = source.fingerprint.encode() + Path(path).read_bytes()
    return replace(
        source,
        extra={**source.extra, "teacher_xy": given[..., :2], "teacher_score": given[..., 2]},
        fingerprint=hashlib.sha256(words).hexdigest(),
    )


@dataclass(frozen=True)
class Taught:
    """A picture's transform that also moves the teacher's joints.

    Joints with a score of `least` or more are seen; those under a third of it are not visible;
    about those between, and about pictures without stored joints, the teacher says nothing. Adds
    teacher_xy (J, 2), teacher_visible (J,) and teacher_mask (J,) to the result of `transform`.
    mirror: that of the examples' skeleton.
    """

    transform: Transform
    mirror: tuple[int, ...] = BODY18.mirror
    least: float = 0.3

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        out = self.transform(example, rng)
        joints, mirror = len(self.mirror), np.array(self.mirror)
        xy = example.get("teacher_xy", np.zeros((joints, 2), np.float32))
        score = example.get("teacher_score", np.full(joints, np.nan, np.float32))
        matrix = np.asarray(out["matrix"], np.float64)
        xy = affine.move(xy, matrix)
        if np.linalg.det(matrix[:, :2]) < 0:
            xy, score = xy[mirror], score[mirror]
        seen = score >= self.least
        out["teacher_xy"] = np.where(seen[:, None], xy, np.float32(0))
        out["teacher_visible"] = np.where(seen, skeleton.SEEN, skeleton.ABSENT).astype(np.uint8)
        out["teacher_mask"] = seen | (score < self.least / 3)
        return out


@dataclass(frozen=True)
class WithMaps:
    """A source of pictures with the stored maps of a teacher (bodyjax.data.pictures.map_store).

    Examples get teacher_maps (h, w, J + 2L) float16 and teacher_canvas (2, 3), from the picture's
    pixels to those of the teacher's canvas. names: of the pictures, as the store knows them.
    """

    source: Source
    store: MapStore
    names: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        words = f"{self.source.fingerprint} {self.store.fingerprint}"
        return hashlib.sha256(words.encode()).hexdigest()

    @property
    def labels(self) -> np.ndarray | None:
        return self.source.labels

    @property
    def groups(self) -> np.ndarray | None:
        return self.source.groups

    @property
    def heldout(self) -> np.ndarray:
        return self.source.heldout

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @property
    def bad(self) -> tuple[str, ...]:
        return self.source.bad

    @property
    def left_out(self) -> Mapping[str, int]:
        return self.source.left_out

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        """What errors call an example."""
        return self.source.name(index)

    def __getitem__(self, index: int) -> Example:
        maps, canvas = self.store.read(self.names[index])
        return {**self.source[index], "teacher_maps": maps, "teacher_canvas": canvas}


def with_maps(source: Source, store: MapStore) -> WithMaps:
    """`source` with stored maps; DataError if these belong to another set or another version of it,
    or don't cover all its pictures."""
    names, stamps = pictures_of(source)
    store.check(names, stamps)
    return WithMaps(source, store, tuple(names))


@dataclass(frozen=True)
class TaughtByMaps:
    """A picture's transform that also says how the teacher's maps must move.

    Adds to the result of `transform`: teacher_maps as they are stored, of zeros for pictures
    without; teacher_matrix (2, 3) float32, from the teacher's canvas to the new picture;
    teacher_known.
    """

    transform: Transform
    form: Form

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        out = self.transform(example, rng)
        known = "teacher_maps" in example
        matrix = affine.IDENTITY
        if known:
            back = affine.inverse(example["teacher_canvas"])
            matrix = affine.compose(np.asarray(out["matrix"], np.float64), back)
        out["teacher_maps"] = (
            example["teacher_maps"] if known else np.zeros(self.form.shape, np.float16)
        )
        out["teacher_matrix"] = matrix.astype(np.float32)
        out["teacher_known"] = np.asarray(known)
        return out
