"""The main person of a video, cut out of its frames, and random crops about them.

As the paper of system D extracts joints: the network sees the person and little else, and joints
are relative to the cut-out. One box serves the whole video, because a box of each frame would take
the person's movement away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bodyjax.detect import found, videos
from bodyjax.detect.videos import FramePeople

MOVED = 0.1
"""Random crops move each side of the box by up to this share of the box's width or height; the box
itself leaves 8 % around the joints (found.GROWN)."""
LEAST = 16
"""Pixels: a smaller cut-out shows nobody."""


class Box(NamedTuple):
    """Whole pixels of a picture, x1 and y1 excluded."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.x1 - self.x0, self.y1 - self.y0


def person_box(frames: Sequence[FramePeople], size: tuple[int, int]) -> Box | None:
    """The box of the main person's joints in all frames of a video of (width, height) `size`; None
    if there is nobody, or only somebody smaller than LEAST."""
    best = videos.main_person(frames)
    xy, flags = [], []
    for frame in frames:
        mine = (frame.identity == best) & ~frame.bridged
        xy.append(frame.seen_xy[mine])
        flags.append(frame.found[mine])
    joints = np.concatenate(xy).reshape(1, -1, 2)
    if not np.isfinite(joints).any():
        return None
    seen = np.concatenate(flags).reshape(1, -1)
    return _whole(found.boxes(joints, seen, (size[1], size[0]))[0], size)


def random_box(box: Box, size: tuple[int, int], rng: np.random.Generator) -> Box:
    """The box with each side moved at random (MOVED), inside the picture of (width, height) `size`;
    unchanged where it would become smaller than LEAST."""
    sides = np.array([*box.size, *box.size])
    return _whole(np.array(box) + rng.uniform(-MOVED, MOVED, 4) * sides, size) or box


def _whole(edges: np.ndarray, size: tuple[int, int]) -> Box | None:
    low = np.floor(edges[:2]).clip(0).astype(int)
    high = np.ceil(edges[2:]).clip(None, size).astype(int)
    if (high - low < LEAST).any():
        return None
    return Box(*low.tolist(), *high.tolist())


def cut(frames: Iterable[np.ndarray], box: Box) -> Iterator[np.ndarray]:
    """The part of each frame (H, W, 3) in the box: pixels as they are, so that a joint at (x, y) of
    the cut-out is at (x + x0, y + y0) of the frame."""
    for frame in frames:
        yield frame[box.y0 : box.y1, box.x0 : box.x1]
