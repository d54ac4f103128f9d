"""A video with its people drawn on it, a turning view of them in space beside it, and prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np

from bodyjax import draw
from bodyjax.data.video.files import Video
from bodyjax.data.video.writing import write_overlay
from bodyjax.lift import turning_view
from bodyjax.lift.motions import Lifted, Motion
from bodyjax.lift.rules import Event
from bodyjax.skeleton import COCO17

READABLE = 1.5
"""Seconds for which a prompt is shown at least."""
RADIUS = 1100.0
"""mm about one person that the view in space shows."""


def write(
    clip: Video,
    out: str | PathLike[str],
    lifted: Lifted,
    prompts: Sequence[Event] = (),
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda frames, count: frames,
) -> None:
    """Writes the overlay with the timing and sound of the video. Raises VideoError if it can't be
    written."""
    frames = progress(clip.iter_frames(), clip.frames)
    write_overlay(out, drawn(frames, clip.times, lifted.motions, prompts), clip)


def drawn(
    frames: Iterable[np.ndarray],
    times: np.ndarray,
    motions: Sequence[Motion],
    prompts: Sequence[Event],
) -> Iterator[np.ndarray]:
    """The frames of `write`, (height, width + width of the view, 3) uint8, one at a time."""
    radius = view_radius(motions)
    for number, (frame, time) in enumerate(zip(frames, times, strict=True)):
        here = [
            (motion, int(row))
            for motion in motions
            for row in np.flatnonzero(motion.frames == number)
        ]
        several = len(motions) > 1
        image, people = frame, np.zeros((0, 17, 3))
        if here:
            xy = np.stack([motion.xy[row] for motion, row in here])
            score = np.stack([motion.score[row] for motion, row in here])
            numbers = [motion.identity + 1 for motion, _ in here] if several else None
            image = draw.skeletons(frame, xy, score, COCO17, numbers=numbers)
            xyz = np.stack([motion.xyz[row] for motion, row in here])
            root = np.stack([motion.root[row] for motion, row in here])
            people = turning_view.together(xyz, root, xy)
        image = draw.caption(image, captions(prompts, float(time), several))
        height, width = image.shape[:2]
        size = (round(min(height, 0.75 * max(width, height))), height)
        angle = turning_view.TURN * float(time)
        yield np.concatenate([image, turning_view.panel(people, size, angle, radius)], axis=1)


def view_radius(motions: Sequence[Motion]) -> float:
    """mm that the view must show about the middle of everyone, the same over the whole video."""
    frames = sorted({int(frame) for motion in motions for frame in motion.frames})
    reach = RADIUS
    for number in frames:
        at = [(motion, np.flatnonzero(motion.frames == number)) for motion in motions]
        here = [(motion, rows[0]) for motion, rows in at if len(rows)]
        if len(here) > 1:
            people = turning_view.together(
                *(np.stack([getattr(m, name)[row] for m, row in here])
                  for name in ("xyz", "root", "xy"))
            )  # fmt: skip
            low, high = np.nanmin(people, axis=(0, 1)), np.nanmax(people, axis=(0, 1))
            reach = max(reach, float(np.linalg.norm((high - low)[[0, 2]])) / 2)
    return reach


def captions(prompts: Sequence[Event], time: float, several: bool) -> list[str]:
    """The texts to show at a time, each once, with the person's number if there are several: from
    when the rule had held long enough to its end, at least for READABLE seconds."""
    now = [e for e in prompts if e.shown <= time <= max(e.stop, e.shown + READABLE)]
    words = [f"{e.person}: {e.rule.text}" if several else e.rule.text for e in now]
    return list(dict.fromkeys(words))
