"""The pictures on which a detector does best and worst, drawn, because a mean does not show
them."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bodyjax import detect, draw, metrics, skeleton
from bodyjax.data import affine
from bodyjax.data.pictures.labelled import Pictures
from bodyjax.detect.found import write_picture
from bodyjax.errors import DataError
from bodyjax.skeleton import AREA_OF_BOX

if TYPE_CHECKING:
    from bodyjax.detect.detector import Detector
    from bodyjax.evaluate.found_people import Pass

TILE = 240
"""Side of a drawn picture in pixels."""


def similarity(detector: Detector, source: Pictures, found: Pass) -> np.ndarray:
    """For each picture of a pass the mean over its labelled people of the highest OKS that any
    found person has with them: (N,), NaN where nobody is labelled. Found people beyond the labelled
    ones cost nothing here, unlike in AP. Area = AREA_OF_BOX x box."""
    out = np.full(len(found.rows), np.nan)
    bones = skeleton.reported(detector.skeleton)
    sigmas = metrics.sigmas(bones)
    for i, (row, people) in enumerate(zip(found.rows, found.people, strict=True)):
        label = source.people[row]
        if not len(label.xy):
            continue
        xy, visible = skeleton.convert(label.xy, label.visible, source.skeleton, bones)
        ours, _, _ = detect.as_skeleton(people, detector.skeleton, bones)
        area = AREA_OF_BOX * np.prod(label.boxes[:, 2:] - label.boxes[:, :2], axis=-1)
        pairs = metrics.oks(ours[:, None], xy[None], visible[None], area[None], sigmas)
        out[i] = np.asarray(pairs).max(axis=0, initial=0.0).mean()
    return out


def write(
    detector: Detector,
    source: Pictures,
    found: Pass,
    folder: str | PathLike[str],
    *,
    count: int = 6,
) -> list[tuple[str, float]]:
    """FOLDER/best.jpg and FOLDER/worst.jpg: `count` pictures each with the people found, the best
    first; returns (name, similarity) of those drawn. DataError if nobody is labelled."""
    alike = similarity(detector, source, found)
    order = np.argsort(-alike, kind="stable")
    order = order[np.isfinite(alike[order])]
    if not len(order):
        raise DataError("nobody is labelled: no best and worst pictures", file=source.files.path)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, rows in (("best", order[:count]), ("worst", order[-count:])):
        tiles = [_tile(detector, source, found, i, float(alike[i])) for i in rows]
        write_picture(Image.fromarray(np.concatenate(tiles, axis=1)), place / f"{name}.jpg")
        drawn += [(source.names[found.rows[i]], float(alike[i])) for i in rows]
    return drawn


def _tile(detector: Detector, source: Pictures, found: Pass, i: int, alike: float) -> np.ndarray:
    """A picture in a square, its people drawn in it, the similarity in the corner."""
    image = source.image(found.rows[i])
    matrix = detect.canvas_map(image.shape[:2], TILE)
    small = affine.warp(image, matrix, (TILE, TILE), fill=affine.FILL)
    people = found.people[i]
    xy = affine.move(people.xy, matrix)
    # A guess is drawn where the map says something there; `found` joints always are.
    shown = draw.skeletons(small, xy, people.score, detector.skeleton, threshold=0.05)
    return draw.label(shown, [f"{alike:.2f}"])
