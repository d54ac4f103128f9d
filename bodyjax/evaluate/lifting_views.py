"""What a lifter says of people in labelled boxes, whether it reads joints or pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from bodyjax import lift, skeleton
from bodyjax.detect.found import boxes as found_boxes
from bodyjax.lift import Lifter, boxes
from bodyjax.lift.crops import Seen, by_boxes
from bodyjax.skeleton import COCO17, H36M17


class BoxLifter:
    """A lifter on crops by boxes: one from pictures looks itself, one from joints through the
    detector's network for crops (lift.boxes.BoxDetector)."""

    def __init__(self, lifter: Lifter) -> None:
        self.lifter = lifter
        self.find = None if lifter.crops else boxes.BoxDetector(lifter.detector)

    def __call__(
        self, picture: np.ndarray, box: np.ndarray, camera: np.ndarray, height: np.ndarray
    ) -> Seen:
        """People in boxes (P, 4) of a picture; camera (P, 4), height (P,) mm."""
        crops = self.lifter.crops
        if crops is not None:
            return by_boxes(crops, self.lifter.variables, picture, box, camera, height)
        xy, score = self.joints(picture, box)
        xyz = lift.poses(self.lifter, xy, score, camera=camera, height=height)
        flat, there = skeleton.convert(
            np.concatenate([xy, score[..., None]], -1), (score > 0).astype(np.uint8), COCO17, H36M17
        )
        missing = there == 0
        flat[missing] = [np.nan, np.nan, 0.0]
        return Seen(xyz, flat[..., :2], flat[..., 2])

    def joints(self, picture: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """COCO's joints that the detector finds in crops by boxes (P, 4): xy (P, 17, 2), score (P,
        17). Of lifters from joints alone."""
        assert self.find is not None
        found = [in_coco(*self.find(picture, one), self.find.skeleton) for one in box]
        xy, score = (np.stack(part) for part in zip(*found, strict=True))
        return xy, score


def better_fit(
    one: tuple[np.ndarray, np.ndarray],
    others: tuple[np.ndarray, np.ndarray],
    box: np.ndarray,
    size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """For each box (P, 4) its person's joints `one`, xy (P, J, 2) and score (P, J), or those of one
    of the Q `others`, whichever has the box around its joints that overlaps with the given one most
    (intersection over union). size: (height, width) of the picture."""
    if not len(others[0]):
        return one
    mine = overlap(around(*one, size), box)
    every = overlap(around(*others, size)[None], box[:, None])
    best = every.argmax(1)
    use = every.max(1) > mine
    xy, score = (np.where(use.reshape(-1, *[1] * (a.ndim - 1)), b[best], a)
                 for a, b in zip(one, others, strict=True))  # fmt: skip
    return xy, score


def around(xy: np.ndarray, score: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (P, 4) around joints with a score, as detect.Found has them."""
    there = (score > 0) & np.isfinite(xy).all(-1)
    return found_boxes(np.where(there[..., None], xy, np.nan), there, size)


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (..., 4) x0, y0, x1, y1."""
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clip(0).prod(-1)
    both = sum((box[..., 2:] - box[..., :2]).prod(-1) for box in (first, second)) - shared
    return np.asarray(shared / np.maximum(both, 1e-9))


def in_coco(xy: np.ndarray, score: np.ndarray, bones: Any) -> tuple[np.ndarray, np.ndarray]:
    """Joints of a detector's skeleton in COCO's."""
    order = [bones.index(name) for name in COCO17.joints]
    return xy[order], score[order]


def bone_agreement(xyz: np.ndarray) -> float:
    """Share of people whose upper and lower arms and legs differ by at most 10 % between left and
    right, each of the four pairs. xyz (N, 17, 3)."""
    at = {name: xyz[:, i] for i, name in enumerate(H36M17.joints)}
    agree = np.ones(len(xyz), bool)
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
        left, right = (
            np.linalg.norm(at[f"{side}_{a}"] - at[f"{side}_{b}"], axis=-1)
            for side in ("left", "right")
        )
        agree &= np.abs(left - right) <= 0.1 * 0.5 * (left + right)
    return float(agree.mean())
