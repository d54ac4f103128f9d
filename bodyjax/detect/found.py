"""What was found in a picture: people with joints, scores and boxes; it draws and saves itself.

found = detect.find(detect.load("small"), "photo.jpg")
found.save("overlay.png")
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bodyjax import draw, files
from bodyjax.detect.results import png
from bodyjax.errors import ConfigError, DataError, UserError
from bodyjax.skeleton import COCO17, Skeleton, reported

GROWN = 0.08
"""A box is enlarged on each side by this share of its longer side: heads, hands and feet reach
beyond their joints. Over 1,132 labelled people of COCO with at least 8 joints, the overlap with the
labelled box is highest at this value (mean 0.76; 0.59 without)."""

OVERLAYS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, eq=False)
class Found:
    """The P people of a picture, best first, in pixels of the picture (NumPy).

    xy (P, J, 2), NaN where there is not even a guess; scores (P, J) of the joints, 0 where absent;
    found (P, J) bool: more than a guess; person_scores (P,); boxes (P, 4): x0, y0, x1, y1 around
    the joints that were found; picture (H, W, 3) uint8; overflow: peaks and people beyond the
    maxima; left_out: people that `at_least` removed; skeleton: names of the J joints.
    """

    xy: np.ndarray
    scores: np.ndarray
    found: np.ndarray
    person_scores: np.ndarray
    boxes: np.ndarray
    picture: np.ndarray
    overflow: int = 0
    left_out: int = 0
    skeleton: Skeleton = COCO17

    @classmethod
    def of(
        cls,
        picture: np.ndarray,
        xy: np.ndarray,
        scores: np.ndarray,
        found: np.ndarray,
        person_scores: np.ndarray,
        overflow: int = 0,
        skeleton: Skeleton = COCO17,
    ) -> Found:
        """With the boxes of the joints."""
        around = boxes(xy, found, picture.shape[:2])
        return cls(xy, scores, found, person_scores, around, picture, overflow, skeleton=skeleton)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in pixels."""
        height, width = self.picture.shape[:2]
        return height, width

    def __len__(self) -> int:
        return len(self.xy)

    def __repr__(self) -> str:
        height, width = self.size
        more = "".join(
            f", {value} {what}"
            for value, what in ((self.left_out, "left out"), (self.overflow, "overflow"))
            if value
        )
        people = "1 person" if len(self) == 1 else f"{len(self)} people"
        return f"<Found: {people} in a picture of {width} x {height}{more}>"

    def at_least(self, score: float) -> Found:
        """Without the people whose score is below `score`, in [0, 1]; `left_out` counts them."""
        keep = self.person_scores >= checked_score(score)
        return dataclasses.replace(
            self,
            xy=self.xy[keep],
            scores=self.scores[keep],
            found=self.found[keep],
            person_scores=self.person_scores[keep],
            boxes=self.boxes[keep],
            left_out=self.left_out + int((~keep).sum()),
        )

    def plot(self) -> Image.Image:
        """The picture with the joints that were found; guesses are not drawn."""
        sure = np.where(self.found, self.scores, 0.0)
        return Image.fromarray(draw.skeletons(self.picture, self.xy, sure, self.skeleton))

    def _repr_png_(self) -> bytes:
        return png(self.plot())

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the overlay (.png, .jpg) or the COCO results (.json). UserError for another
        ending, a missing folder, or a file that can't be written."""
        file = Path(path)
        ending = file.suffix.lower()
        if ending not in (*OVERLAYS, ".json"):
            hint = f"use {', '.join(OVERLAYS)} for the overlay, .json for the results"
            raise UserError("the ending says no format", file=file, hint=hint)
        if not file.absolute().parent.is_dir():
            raise UserError("the folder is missing", file=file, hint="make it first")
        if ending == ".json":
            files.write_text(file, json.dumps(self.coco()) + "\n")
            return
        write_picture(self.plot(), file)

    def coco(self, image_id: Any = 0) -> list[dict[str, Any]]:
        """COCO results, as detect.people gives them, with the box: bbox [x, y, width, height].
        ConfigError if the joints are those of a person's skeleton other than COCO's."""
        if self.skeleton.joints != reported(self.skeleton).joints:
            hint = "find them with COCO's 17 joints"
            raise ConfigError("COCO results have COCO's joints", place="skeleton", hint=hint)
        there = np.isfinite(self.xy).all(-1, keepdims=True)
        tables = np.where(there, np.concatenate([self.xy, self.scores[..., None]], -1), 0.0)
        return [
            {
                "image_id": image_id,
                "category_id": 1,
                "keypoints": [round(float(value), 4) for value in table.ravel()],
                "score": float(score),
                "bbox": bbox(box),
                "found": flags.tolist(),
                "overflow": self.overflow,
            }
            for table, score, box, flags in zip(
                tables, self.person_scores, self.boxes, self.found, strict=True
            )
        ]


def write_picture(picture: Image.Image, file: Path) -> None:
    """Writes a picture in the format of its ending, completely or not at all. DataError if that
    can't be done."""
    try:
        with files.whole(file) as temporary:
            picture.save(temporary, quality=95)
    except (OSError, ValueError) as error:  # ValueError: too large for the format
        what = getattr(error, "strerror", None) or error
        raise DataError(f"can't be written ({what})", file=file) from None


def boxes(xy: np.ndarray, found: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """x0, y0, x1, y1 (P, 4) of people xy (P, J, 2), NaN where absent, in a picture of (height,
    width) `size`: around the joints that were `found` (P, J), or around the guesses of a person
    without found joints; enlarged by GROWN of the longer side, at least a pixel, and cut to the
    picture. Zeros if there is no joint."""
    height, width = size
    out = np.zeros((len(xy), 4))
    for row, (points, flags) in enumerate(zip(xy, found, strict=True)):
        there = np.isfinite(points).all(-1)
        use = there & flags if (there & flags).any() else there
        if use.any():
            low, high = points[use].min(0), points[use].max(0)
            more = max(GROWN * float((high - low).max()), 1.0)
            out[row] = np.concatenate([low - more, high + more]).clip(0, [width, height] * 2)
    return out


def bbox(box: np.ndarray) -> list[float]:
    """x0, y0, x1, y1 as COCO's [x, y, width, height]."""
    x0, y0, x1, y1 = (float(value) for value in box)
    return [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]


def checked_score(score: float, place: str = "score") -> float:
    """The score; ConfigError if it is not a number in [0, 1]."""
    if not (isinstance(score, Real) and 0 <= score <= 1):  # nan is not
        told = f"{score:g}" if isinstance(score, Real) else repr(score)
        raise ConfigError(f"{told} is no score", place=place, hint="give a number from 0 to 1")
    return score
