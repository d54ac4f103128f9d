"""People in space as seen by a camera that walks around them: a panel beside the video."""

from __future__ import annotations

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


def panel(people: np.ndarray, size: tuple[int, int], angle: float, radius: float) -> np.ndarray:
    """A picture (height, width, 3) uint8 of `size` (width, height) of people (P, 17, 3) mm of the
    camera's axes, NaN where unknown, from `angle` degrees to the right of the real camera's view.

    The view looks at the people's middle and shows `radius` mm about it, over a floor at the lowest
    joint. Near limbs are bright and cover far ones; colours are by the person's own side.
    """
    width, height = size
    canvas = Image.new("RGB", (width * _FINE, height * _FINE), BACKGROUND)
    there = np.isfinite(people).all(-1)
    if there.any():
        pen = ImageDraw.Draw(canvas)
        low, high = people[there].min(0), people[there].max(0)
        middle, floor = (low + high) / 2, high[1] + 30
        scale = min(width, height) * _FINE / (2.2 * radius)
        place = _Place(middle, np.radians(angle), scale, np.array(canvas.size) / 2)
        _floor(pen, place, floor, radius)
        _limbs(pen, place, people, there, radius, max(2.0, min(canvas.size) / 90))
    small = canvas.resize((width, height), Image.Resampling.BOX)
    return np.array(small)


class _Place:
    """From mm to the panel's pixels, without perspective: orders of depth stay readable."""

    def __init__(self, middle: np.ndarray, turn: float, scale: float, centre: np.ndarray) -> None:
        c, s = np.cos(turn), np.sin(turn)
        around = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        c, s = np.cos(SLOPE), np.sin(SLOPE)
        down = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        self.turned, self.middle, self.scale, self.centre = down @ around, middle, scale, centre

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (..., 2) and depth (...) mm, larger is farther, of points (..., 3)."""
        seen = (points - self.middle) @ self.turned.T
        return seen[..., :2] * self.scale + self.centre, seen[..., 2]


def _floor(pen: ImageDraw.ImageDraw, place: _Place, height: float, radius: float) -> None:
    """A square grid of half metres."""
    reach = np.ceil(radius / 500) * 500
    steps = np.arange(-reach, reach + 1, 500)
    for offset in steps:
        for ends in ([[offset, -reach], [offset, reach]], [[-reach, offset], [reach, offset]]):
            flat = np.array(ends)
            line = np.stack([place.middle[0] + flat[:, 0], np.full(2, height)], 1)
            points = np.concatenate([line, place.middle[2] + flat[:, 1:]], axis=1)
            at, _ = place(points)
            pen.line([tuple(p) for p in at.tolist()], fill=FLOOR, width=_FINE)


def _limbs(
    pen: ImageDraw.ImageDraw, place: _Place, people: np.ndarray, there: np.ndarray,
    radius: float, line: float,
) -> None:  # fmt: skip
    at, depth = place(people)
    drawn = [
        (float(depth[p, a] + depth[p, b]) / 2, p, a, b)
        for p in range(len(people))
        for a, b in H36M17.limbs
        if there[p, a] and there[p, b]
    ]
    for far, p, a, b in sorted(drawn, reverse=True):
        light = float(np.clip(0.75 - 0.45 * far / radius, 0.35, 1.0))
        own = SIDES[side(H36M17.joints[a], H36M17.joints[b])]
        colour = (int(own[0] * light), int(own[1] * light), int(own[2] * light))
        ends = [tuple(point) for point in at[p, [a, b]].tolist()]
        pen.line(ends, fill=BACKGROUND, width=round(1.8 * line))  # an edge where limbs cross
        pen.line(ends, fill=colour, width=round(line))
        for x, y in ends:
            pen.circle((x, y), 0.8 * line, fill=colour)
