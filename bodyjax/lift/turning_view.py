"""People in space as seen by a camera that walks around them: a panel beside the video."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from bodyjax.draw import SIDES, side
from bodyjax.skeleton import H36M17

TURN = 45.0
"""Degrees a second that the view turns."""
SLOPE = np.radians(12.0)
"""The view looks down by this angle."""
BACKGROUND, FLOOR = (24, 26, 30), (70, 74, 80)
APART = 1000.0
"""mm between people whose places are not known."""
LEAST = 1000.0
"""mm that the view shows at least."""
_FINE = 2  # drawn this much larger and shrunk: smooth edges


def together(xyz: np.ndarray, root: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """People of one frame (P, 17, 3) mm in one space: by root (P, 3) where all of it is known, else
    side by side in the order of their middles in the picture, xy (P, J, 2)."""
    if np.isfinite(root).all():
        return xyz + root[:, None]
    seen = np.isfinite(xy).all(-1)
    x = np.where(seen, xy[..., 0], 0).sum(1) / np.maximum(seen.sum(1), 1)
    order = x.argsort(kind="stable").argsort()
    return xyz + (order[:, None, None] - (len(x) - 1) / 2) * np.array([APART, 0, 0])


def extent(frames: Iterable[np.ndarray]) -> tuple[float, float]:
    """How tall and how wide, from any side, the people (P, 17, 3) mm of frames are at most."""
    tall = wide = LEAST
    for people in frames:
        there = people[np.isfinite(people).all(-1)]
        if len(there):
            size = np.ptp(there, axis=0)
            tall, wide = max(tall, float(size[1])), max(wide, float(np.hypot(size[0], size[2])))
    return tall, wide


def panel(
    people: np.ndarray, size: tuple[int, int], angle: float, reach: tuple[float, float]
) -> np.ndarray:
    """A picture (height, width, 3) uint8 of `size` (width, height) of people (P, 17, 3) mm of the
    camera's axes, NaN where unknown, from `angle` degrees to the right of the real camera's view.

    reach: `extent` of the video, all of which fits. The lowest joint stands on a floor that keeps
    its place. Near limbs are bright and cover far ones; colours are by the person's own side.
    """
    width, height = size
    canvas = Image.new("RGB", (width * _FINE, height * _FINE), BACKGROUND)
    there = np.isfinite(people).all(-1)
    if there.any():
        pen = ImageDraw.Draw(canvas)
        tall, wide = reach
        low, high = people[there].min(0), people[there].max(0)
        ground = (low + high) / 2
        ground[1] = high[1]
        deep = wide * np.sin(SLOPE)
        scale = _FINE * min(0.9 * width / wide, 0.9 * height / (tall + deep))
        middle = np.array([width / 2, height / 2]) * _FINE
        middle[1] += scale * tall * np.cos(SLOPE) / 2
        place = _Place(ground, np.radians(angle), scale, middle)
        _floor(pen, place, ground, max(tall, wide))
        _limbs(pen, place, people, there, wide, max(2.0, min(canvas.size) / 90))
    small = canvas.resize((width, height), Image.Resampling.BOX)
    return np.array(small)


class _Place:
    """From mm to the panel's pixels, without perspective: orders of depth stay readable."""

    def __init__(self, centre: np.ndarray, turn: float, scale: float, pixel: np.ndarray) -> None:
        c, s = np.cos(turn), np.sin(turn)
        around = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        c, s = np.cos(SLOPE), np.sin(SLOPE)
        down = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        self.turned, self.centre, self.scale, self.pixel = down @ around, centre, scale, pixel

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (..., 2) and depth (...) mm, larger is farther, of points (..., 3)."""
        seen = (points - self.centre) @ self.turned.T
        return seen[..., :2] * self.scale + self.pixel, seen[..., 2]


def _floor(pen: ImageDraw.ImageDraw, place: _Place, ground: np.ndarray, size: float) -> None:
    """A square of cells of half a metre around a point (3,)."""
    reach = np.ceil(size / 1000) * 500
    for offset in np.arange(-reach, reach + 1, 500):
        for ends in ([[offset, -reach], [offset, reach]], [[-reach, offset], [reach, offset]]):
            line = ground + np.insert(np.array(ends), 1, 0.0, axis=1)
            at, _ = place(line)
            pen.line([tuple(point) for point in at.tolist()], fill=FLOOR, width=_FINE)


def _limbs(
    pen: ImageDraw.ImageDraw, place: _Place, people: np.ndarray, there: np.ndarray,
    wide: float, line: float,
) -> None:  # fmt: skip
    at, depth = place(people)
    drawn = [
        (float(depth[p, a] + depth[p, b]) / 2, p, a, b)
        for p in range(len(people))
        for a, b in H36M17.limbs
        if there[p, a] and there[p, b]
    ]
    for far, p, a, b in sorted(drawn, reverse=True):
        light = float(np.clip(0.75 - 0.5 * far / wide, 0.35, 1.0))
        own = SIDES[side(H36M17.joints[a], H36M17.joints[b])]
        colour = (int(own[0] * light), int(own[1] * light), int(own[2] * light))
        ends = [tuple(point) for point in at[p, [a, b]].tolist()]
        pen.line(ends, fill=BACKGROUND, width=round(1.8 * line))  # an edge where limbs cross
        pen.line(ends, fill=colour, width=round(line))
        for x, y in ends:
            pen.circle((x, y), 0.8 * line, fill=colour)
