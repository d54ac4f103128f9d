"""The people of a picture as arrays, in the joints of any skeleton, and as COCO results."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from bodyjax import draw, skeleton
from bodyjax.skeleton import Skeleton


class PicturePeople(NamedTuple):
    """People of one picture, best first, in pixels of that picture (NumPy).

    xy (P, J, 2), NaN where there is not even a guess; score (P, J); found (P, J) bool;
    person_score (P,); overflow: peaks and people beyond the maxima; maxima_xy (J, 2) and
    maxima_score (J,): the highest point of each map, as if there were one person; evidence (P, F):
    see canvas.Detections.
    """

    xy: np.ndarray
    score: np.ndarray
    found: np.ndarray
    person_score: np.ndarray
    overflow: int
    maxima_xy: np.ndarray
    maxima_score: np.ndarray
    evidence: np.ndarray = np.zeros((0, 0))


class Results(list[dict[str, Any]]):
    """The COCO results of one picture: a list like any other, which in a notebook shows the picture
    with its people. picture (H, W, 3) uint8; skeleton: of the results' joints."""

    def __init__(
        self, people: Iterable[dict[str, Any]], picture: np.ndarray, skeleton: Skeleton
    ) -> None:
        super().__init__(people)
        self.picture = picture
        self.skeleton = skeleton

    def plot(self) -> Image.Image:
        """The picture with the joints that were found; guesses are not drawn."""
        shape = (len(self), len(self.skeleton.joints), 3)
        tables = np.array([one["keypoints"] for one in self]).reshape(shape)
        flags = np.array([one["found"] for one in self], bool).reshape(tables.shape[:2])
        sure = np.where(flags, tables[..., 2], 0.0)
        return Image.fromarray(draw.skeletons(self.picture, tables[..., :2], sure, self.skeleton))

    def _repr_png_(self) -> bytes:
        return png(self.plot())


def png(picture: Image.Image) -> bytes:
    """The file of a picture, as notebooks show it."""
    stream = io.BytesIO()
    picture.save(stream, "png")
    return stream.getvalue()


def coco_results(found: PicturePeople, bones: Skeleton, image_id: Any = 0) -> list[dict[str, Any]]:
    """People of a picture as `people` gives them."""
    xy, score, flags = as_skeleton(found, bones, skeleton.reported(bones))
    return [
        coco_result(*person, found.overflow, image_id)
        for person in zip(xy, score, flags, found.person_score.tolist(), strict=True)
    ]


def coco_result(
    xy: np.ndarray,
    score: np.ndarray,
    found: np.ndarray,
    person_score: float,
    overflow: int,
    image_id: Any,
) -> dict[str, Any]:
    """One person as a COCO result; xy (17, 2) with NaN for absent joints."""
    there = np.isfinite(xy).all(axis=-1)
    table = np.where(there[:, None], np.concatenate([xy, score[:, None]], -1), 0.0)
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": [round(float(value), 4) for value in table.ravel()],
        "score": person_score,
        "found": found.tolist(),
        "overflow": overflow,
    }


def as_skeleton(
    found: PicturePeople, bones: Skeleton, target: Skeleton
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """xy (P, J', 2), score (P, J') and found (P, J') in another skeleton's joints; joints that the
    detector lacks are NaN with score 0."""
    joined = np.concatenate([found.xy, found.score[..., None]], axis=-1)
    visible = np.where(np.isfinite(found.xy).all(-1), 1 + found.found, 0).astype(np.uint8)
    joints, seen = skeleton.convert(joined, visible, bones, target)
    missing = seen == 0
    joints[missing, :2] = np.nan
    return joints[..., :2], np.where(missing, 0.0, joints[..., 2]), seen == skeleton.SEEN
