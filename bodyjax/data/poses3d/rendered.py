"""Rendered people as poses in space, with the joints that a detector found in their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from bodyjax import skeleton
from bodyjax.data.pictures.labelled import named_part, read_arrays
from bodyjax.data.poses3d import checks
from bodyjax.data.poses3d.mocap import FACE
from bodyjax.data.rows import Rows
from bodyjax.errors import DataError
from bodyjax.skeleton import COCO17, LIFT16

LEAST_AREA = 400.0
"""Visible pixels of a person from which they are evaluated and trained on."""

KEYS = (
    *("image_name", "image_split", "image_K", "person_image", "person_area", "person_height_mm"),
    *("coco_3d", "h36m_3d", "h36m_2d", "h36m_vis", "person_box"),
)


def rendered(
    path: str | PathLike[str],
    part: str,
    joints: str | PathLike[str] | None = None,
    *,
    least_area: float = LEAST_AREA,
) -> Rows:
    """The people of PATH/labels.npz (the layout of data/people), one a row.

    xyz (N, 20, 3) float32: mocap.POINTS in the person's heights, relative to the pelvis, in the
    camera's axes; height (N,) mm; camera (N, 4); root (N, 3) mm, the pelvis in the camera's frame;
    box (N, 4) pixels; person (N,) the row in the file; xy (N, 16, 2) pixels and score (N, 16) in
    joints of lift16: what a detector found there, from the file `joints` (`found_joints`), 0 for
    people that it lacks. Pixel centres are whole numbers. DataError as in `checked`.
    """
    file = Path(path) / "labels.npz"
    table = checked(path)
    owner = table["person_image"]
    names = [str(name) for name in table["image_name"]]
    camera = _cameras(table)
    pictures_of = named_part(part, names, table["image_split"] == "test")
    rows = np.flatnonzero(pictures_of[owner] & (table["person_area"] >= least_area))
    if not len(rows):
        raise DataError(f"nobody in part {part} has {least_area:g} visible pixels", file=file)
    nose_ears = [COCO17.index(name) for name in FACE]
    root = table["h36m_3d"][rows, 0]
    points = np.concatenate([table["h36m_3d"][rows], table["coco_3d"][rows][:, nose_ears]], 1)
    height = table["person_height_mm"][rows].astype(np.float32)
    found = np.zeros((len(owner), 16, 3), np.float32)
    if joints:
        found = found_joints(joints, len(owner))
    return Rows(
        {
            "xyz": ((points - root[:, None]) / height[:, None, None]).astype(np.float32),
            "height": height,
            "camera": camera[rows],
            "root": root.astype(np.float32),
            "box": table["person_box"][rows].astype(np.float32) - np.float32(0.5),
            "person": rows,
            "xy": found[rows][..., :2],
            "score": found[rows][..., 2],
        },
        str(path),
        groups=owner[rows],
        names=tuple(f"{names[owner[row]]} person {row}" for row in rows),
        heldout=(table["image_split"] == "test")[owner[rows]],
    )


def checked(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of PATH/labels.npz. DataError for missing ones, other shapes, a focal length that
    is not above 0, heights that are no person's in mm, and what poses3d.checks notices."""
    file = Path(path) / "labels.npz"
    table = read_arrays(file, KEYS)
    people, pictures = len(table["person_image"]), len(table["image_name"])
    wanted = {"h36m_3d": (people, 17, 3), "coco_3d": (people, 17, 3), "image_K": (pictures, 4)}
    for name, shape in wanted.items():
        if table[name].shape != shape:
            raise DataError(f"want {name} {shape}, got {table[name].shape}", file=file)
    bad = ~(table["image_K"][:, :2] > 0).all(1)
    if bad.any():
        what = "a camera whose focal length is not above 0"
        raise DataError(what, file=file, place=f"picture {table['image_name'][bad.argmax()]}")
    checks.check(table["h36m_3d"], file)
    checks.check_heights(table["person_height_mm"], file)
    return table


def _cameras(table: Mapping[str, np.ndarray]) -> np.ndarray:
    """The camera (N, 4) of each person, with the first pixel's centre at 0."""
    camera = table["image_K"][table["person_image"]].astype(np.float32)
    return camera - np.array([0, 0, 0.5, 0.5], np.float32)


def found_joints(file: str | PathLike[str], people: int) -> np.ndarray:
    """(people, 16, 3) x, y, score in joints of lift16 of a table that lift.store_joints wrote: rows
    (M,), xy (M, J, 2), score (M, J), skeleton. Other people have 0."""
    table = read_arrays(file, ("rows", "xy", "score", "skeleton"))
    rows = table["rows"]
    if len(rows) and not 0 <= rows.min() <= rows.max() < people:
        raise DataError(f"names person {rows.max()} of {people}: of another set", file=file)
    found = np.zeros((people, len(LIFT16.joints), 3), np.float32)
    found[rows] = as_lift16(table["xy"], table["score"], str(table["skeleton"]))
    return found


def as_lift16(xy: np.ndarray, score: np.ndarray, joints: str) -> np.ndarray:
    """(..., 16, 3) x, y, score of lift16 from joints of another skeleton, absent ones with 0; the
    middle of the head has the mean score of both ears."""
    both = np.concatenate([xy, score[..., None]], -1).astype(np.float32)
    both = np.where(np.isfinite(both).all(-1, keepdims=True), both, np.float32(0))
    there = (both[..., 2] > 0).astype(np.uint8)
    found, seen = skeleton.convert(both, there, skeleton.get(joints), LIFT16)
    return np.where(seen[..., None] > 0, found, np.float32(0))
