"""Lifters from pictures at use: crops around people, and where each person's joints are in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bodyjax.data import affine, person_crops
from bodyjax.data.rows import padded
from bodyjax.detect import track
from bodyjax.detect.found import boxes
from bodyjax.skeleton import H36M17

if TYPE_CHECKING:
    from bodyjax.lift.motions import Motion

SMOOTHING = track.Settings()
"""Joints in space are smoothed over time as those in the picture are by default."""


@dataclass(frozen=True)
class Crops:
    """What a lifter from pictures sees: square crops of `size` pixels, of which the longer side of
    a person's box takes the share `person`. `see(variables, image (P, S, S, 3), camera (P, 4) of
    the crops, height (P,)) -> (xyz (P, 17, 3) mm, xy (P, 17, 2) pixels of the crop, score (P, 17))`
    is jitted and pure."""

    size: int
    person: float
    see: Callable[[Any, Any, Any, Any], tuple[Any, Any, Any]]


class Seen(NamedTuple):
    """People of one picture in joints of h36m17: xyz (P, 17, 3) mm from the pelvis, in the camera's
    axes; xy (P, 17, 2) pixels of the picture; score (P, 17)."""

    xyz: np.ndarray
    xy: np.ndarray
    score: np.ndarray


def by_boxes(
    crops: Crops,
    variables: Any,
    picture: np.ndarray,
    box: np.ndarray,
    camera: np.ndarray,
    height: np.ndarray,
) -> Seen:
    """The people in boxes (P, 4) x0, y0, x1, y1 of a picture (H, W, 3) that cameras (P, 4) took;
    height (P,) mm."""
    count, joints = len(box), len(H36M17.joints)
    if not count:
        return Seen(np.zeros((0, joints, 3)), np.zeros((0, joints, 2)), np.zeros((0, joints)))
    maps = [person_crops.crop_map(one, crops.size, crops.person) for one in box]
    images = np.stack([affine.warp(picture, m, (crops.size, crops.size)) for m in maps])
    lens = np.stack(
        [person_crops.moved_camera(one, m) for one, m in zip(camera, maps, strict=True)]
    )
    rows = padded(images, lens, np.asarray(height, np.float32))
    xyz, xy, score = (np.asarray(part)[:count] for part in crops.see(variables, *rows))
    places = [affine.move(one, affine.inverse(m)) for one, m in zip(xy, maps, strict=True)]
    return Seen(xyz, np.stack(places), score)


def of_joints(
    crops: Crops,
    variables: Any,
    picture: np.ndarray,
    xy: np.ndarray,
    score: np.ndarray,
    camera: np.ndarray,
    height: np.ndarray,
) -> np.ndarray:
    """xyz (P, 17, 3) of the people of a picture around whose joints xy (P, 17, 2), with score (P,
    17), crops are made; NaN for people without any joint."""
    there = (score > 0) & np.isfinite(xy).all(-1)
    some = there.any(-1)
    around = boxes(np.where(there[..., None], xy, np.nan)[some], there[some], picture.shape[:2])
    xyz = np.full((len(xy), len(H36M17.joints), 3), np.nan, np.float32)
    xyz[some] = by_boxes(crops, variables, picture, around, camera[some], height[some]).xyz
    return xyz


def over_frames(
    crops: Crops,
    variables: Any,
    frames: Iterable[np.ndarray],
    motions: Sequence[Motion],
    camera: np.ndarray,
    height: float,
) -> list[np.ndarray]:
    """xyz (F, 17, 3) of each of the people who are followed through the frames of a video, which
    are read once more; smoothed over time by SMOOTHING, as xy of the motions are."""
    joints = len(H36M17.joints)
    out = [np.full((len(one.times), joints, 3), np.nan) for one in motions]
    for number, frame in enumerate(frames):
        here = [(i, int(row)) for i, one in enumerate(motions)
                for row in np.flatnonzero(one.frames == number)]  # fmt: skip
        if here:
            xy = np.stack([motions[i].xy[row] for i, row in here])
            score = np.stack([motions[i].score[row] for i, row in here])
            lens, tall = np.tile(camera, (len(here), 1)), np.full(len(here), height)
            found = of_joints(crops, variables, frame, xy, score, lens, tall)
            for (i, row), pose in zip(here, found, strict=True):
                out[i][row] = pose
    return [
        track.one_euro(one.times, xyz, SMOOTHING.min_cutoff, SMOOTHING.beta)
        for one, xyz in zip(motions, out, strict=True)
    ]
