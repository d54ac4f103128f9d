"""Affine maps of pictures: one 2x3 matrix moves both pixels and joints.

A matrix M maps a point of the source picture to the new one: new = M[:, :2] @ old + M[:, 2], both
in pixels with the centre of the first pixel at (0, 0).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

IDENTITY = np.array([[1, 0, 0], [0, 1, 0]], np.float64)
FILL = 128
"""Grey of the canvas outside the picture, in training, detection and recognition."""


def about(centre: np.ndarray, target: np.ndarray, scale: float, degrees: float = 0.0) -> np.ndarray:
    """The map that turns (clockwise on the screen) and scales about `centre` and puts it at
    `target`, (2, 3) float64."""
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.concatenate([turn, (np.asarray(target) - turn @ np.asarray(centre))[:, None]], 1)


def fit(size: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """The map that fits a picture of (height, width) `size` whole and centred into `target`."""
    scale = min(target[0] / size[0], target[1] / size[1])
    centre = (np.array(size[::-1]) - 1) / 2
    return about(centre, (np.array(target[::-1]) - 1) / 2, scale)


def mirrored(matrix: np.ndarray, width: int) -> np.ndarray:
    """The same map with the new picture, `width` pixels wide, mirrored left to right."""
    return compose(np.array([[-1.0, 0, width - 1], [0, 1, 0]]), matrix)


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The map that does `first`, then `second`."""
    turn = second[:, :2] @ first[:, :2]
    return np.concatenate([turn, (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]], 1)


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The map from the new picture back to the source."""
    (a, b), (c, d) = matrix[:, :2]
    turn = np.array([[d, -b], [-c, a]]) / (a * d - b * c)
    return np.concatenate([turn, -(turn @ matrix[:, 2])[:, None]], 1)


def move(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) of the source in the new picture, float32."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def scale_of(matrix: np.ndarray) -> float:
    """The factor by which lines are longer in the new picture."""
    (a, b), (c, d) = matrix[:, :2]
    return float(np.sqrt(abs(a * d - b * c)))


def warp(
    image: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    *,
    fill: int = FILL,
    filter: Image.Resampling = Image.Resampling.BILINEAR,
) -> np.ndarray:
    """A picture (H, W, 3) uint8 under the map, as (*size, 3) uint8; `fill` if there is none.

    If the map shrinks to half or less, the source is first averaged over whole blocks of pixels
    (`averaged`), so that no detail is skipped. A picture and its mirror image give mirror images.
    """
    factor = min(int(1 / scale_of(matrix)), min(image.shape[:2]))
    back = inverse(matrix)
    if factor >= 2:
        image, before = averaged(image, factor)
        first = before[:, None] - (factor - 1) / 2
        back = np.concatenate([back[:, :2], back[:, 2:] + first], 1) / factor
    picture = Image.fromarray(image)
    # Pillow counts from the corner of the first pixel, not its centre.
    shift = back[:, 2] + 0.5 - 0.5 * back[:, :2].sum(1)
    data = (*back[0, :2], shift[0], *back[1, :2], shift[1])
    moved = picture.transform(
        size[::-1], Image.Transform.AFFINE, data, filter, fillcolor=(fill, fill, fill)
    )
    out = np.array(moved)
    if back[0, 1] == 0:
        # Of pixels on the very edge Pillow draws those at the left alone: none is drawn.
        columns = back[0, 0] * np.arange(size[1]) + back[0, 2]
        beyond = np.abs(columns - (picture.width - 1) / 2) - picture.width / 2
        out[:, np.abs(beyond) < 1e-6] = fill
    return out


def averaged(image: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 averaged over blocks of factor x factor pixels, and how far the
    first block reaches beyond it at the left and at the top, (2,) pixels.

    Rows and columns at the edges are repeated to fill their blocks: a cut block would be drawn as
    large as the others, which moves its content. If an odd number of columns is missing, two
    blockings, with one more column at the left or at the right, are averaged: otherwise the
    mirrored picture would have other blocks, in which a detector finds other people.
    """
    more = [-side % factor for side in image.shape[:2]]
    top, ways = more[0] // 2, []
    for left in sorted({more[1] // 2, more[1] - more[1] // 2}):
        ends = (top, more[0] - top), (left, more[1] - left), (0, 0)
        padded = np.pad(image, ends, "edge") if any(more) else image
        ways.append(np.asarray(Image.fromarray(padded).reduce(factor)))
    before = np.array([more[1] / 2, top])
    if len(ways) == 1:
        return ways[0], before
    return ((ways[0].astype(np.uint16) + ways[1] + 1) // 2).astype(np.uint8), before
