"""One person's label in a COCO keypoint file: what is wrong with it, and what the joints say where
its box, area or number of joints is missing or contradicts them. Training and evaluation use it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bodyjax.skeleton import AREA_OF_BOX

BOX = "boxes missing or without extent: taken from the joints"
AREA = "areas missing or not above 0: taken from the box"
COUNT = "num_keypoints other than the joints: counted anew"
"""What is repaired, as counts of it say."""


class Label(NamedTuple):
    """A person's label. fault: why it can't be used, or ""; points (J, 3) float64: x, y and flag,
    or (0, 3) if it has no joints; box (4,): x, y, width, height; repaired: which fields were
    replaced (BOX, AREA, COUNT)."""

    fault: str
    points: np.ndarray
    box: np.ndarray
    area: float
    crowd: bool
    repaired: tuple[str, ...]


NO_POINTS, NO_BOX = np.zeros((0, 3)), np.zeros(4)


def read_label(annotation: Mapping[str, Any], joints: int, image: Mapping[str, Any]) -> Label:
    """The label of a person with this many joints in a picture.

    Joints may be written flat or as rows of x, y, flag. A box that is missing or has no extent is
    that of the labelled joints; an area that is missing or not above 0 is AREA_OF_BOX x the box;
    num_keypoints is always the number of labelled joints.
    """
    fault, points = _points(annotation, joints)
    labelled = points[points[:, 2] > 0]
    repaired: list[str] = []
    box = numbers(annotation.get("bbox") or (0, 0, 0, 0))
    if box is None or box.shape != (4,) or not np.isfinite(box).all():
        box, fault = NO_BOX, fault or "invalid bounding box"
    elif (box[2:] <= 0).any():
        low = labelled[:, :2].min(axis=0) if len(labelled) else box[:2]
        extent = np.ptp(labelled[:, :2], axis=0) if len(labelled) else np.zeros(2)
        box = np.concatenate([low, extent])
        repaired.append(BOX)
        if (extent <= 0).any():
            fault = fault or "invalid bounding box"
    edge = (image.get("width", np.inf), image.get("height", np.inf))
    if not fault and ((box[:2] >= edge).any() or (box[:2] + box[2:] <= 0).any()):
        fault = "a box outside the picture"
    stated = annotation.get("area")
    area, count = numbers(0 if stated is None else stated), numbers(_count(annotation))
    if area is None or area.shape or count is None or count.shape:
        fault = fault or "area or num_keypoints is not a number"
    if area is None or area.shape or not np.isfinite(area) or area <= 0:
        area = np.asarray(AREA_OF_BOX * box[2] * box[3])
        repaired.append(AREA)
    if count is not None and not count.shape and "num_keypoints" in annotation:
        repaired += [COUNT] if count != len(labelled) else []
    crowd = annotation.get("iscrowd") or 0
    if crowd not in (0, 1):
        crowd, fault = 0, "iscrowd other than 0, 1"
    return Label(fault, points, box, float(area), bool(crowd), () if fault else tuple(repaired))


def _points(annotation: Mapping[str, Any], joints: int) -> tuple[str, np.ndarray]:
    """What is wrong with the joints of a label, or "", and the joints."""
    values = annotation.get("keypoints")
    if values in (None, []):
        return ("num_keypoints without keypoints" if _count(annotation) else ""), NO_POINTS
    points = numbers(values)
    if points is None or not np.isfinite(points).all():
        return "joints that are not numbers", NO_POINTS
    if points.shape not in ((3 * joints,), (joints, 3)):
        shape = f", in rows {' x '.join(map(str, points.shape))}" if points.ndim > 1 else ""
        return f"{points.size} joint values instead of {3 * joints}{shape}", NO_POINTS
    points = points.reshape(joints, 3)
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        return "a joint flag other than 0, 1, 2", NO_POINTS
    return "", points


def _count(annotation: Mapping[str, Any]) -> Any:
    count = annotation.get("num_keypoints")
    return 0 if count is None else count


def numbers(values: Any) -> np.ndarray | None:
    """JSON numbers, one or (nested) lists of them, as float64; None if anything else is among them,
    such as a text that looks like a number."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "iuf" else None


def unknown_category(annotation: Mapping[str, Any], categories: Mapping[Any, Any]) -> str:
    """Why an annotation is of no category, or ""."""
    category = annotation.get("category_id")
    there = isinstance(category, Hashable) and category in categories
    return "" if there else f"unknown category {category!r}"
