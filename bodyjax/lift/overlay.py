"""A video with its people drawn on it, a turning view of them in space beside it, and prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from bodyjax import draw
from bodyjax.data.video.files import Video
from bodyjax.data.video.writing import write_overlay
from bodyjax.lift import turning_view
from bodyjax.lift.motions import Lifted, Motion, roots
from bodyjax.lift.rules import Event
from bodyjax.skeleton import COCO17

READABLE = 1.5
"""Seconds for which a prompt is shown at least."""


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
    several = len(motions) > 1
    shown = [here(motions, number) for number in range(len(times))]
    spaces = [turning_view.together(one.xyz, one.root, one.xy) for one in shown]
    reach = turning_view.extent(spaces)
    for frame, time, one, people in zip(frames, times, shown, spaces, strict=True):
        numbers = [int(i) + 1 for i in one.identity] if several else None
        image = draw.skeletons(frame, one.xy, one.score, COCO17, numbers=numbers)
        image = draw.caption(image, captions(prompts, float(time), several))
        height, width = image.shape[:2]
        size = (round(min(height, 0.75 * max(width, height))), height)
        angle = turning_view.TURN * float(time)
        yield np.concatenate([image, turning_view.panel(people, size, angle, reach)], axis=1)


def picture(image: np.ndarray, people: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """A picture (H, W, 3) uint8 with its people, as lift.people gives them, and beside it the view
    of them in space from 45 degrees to the right."""
    table = np.array([person["keypoints"] for person in people]).reshape(-1, 17, 3)
    sure = np.array([person["found"] for person in people], bool).reshape(-1, 17)
    xyz = np.array([person["xyz"] for person in people]).reshape(-1, 17, 3)
    xy, score = table[..., :2], np.where(sure, table[..., 2], 0.0)
    root = np.zeros((0, 3))
    if people:
        root = roots(xyz, xy, score, np.array(people[0]["camera"]))
    motions = [
        Motion(i, np.zeros(1, int), np.zeros(1), xy[[i]], score[[i]], xyz[[i]], root[[i]])
        for i in range(len(people))
    ]
    return next(drawn([image], np.array([45.0 / turning_view.TURN]), motions, []))


class Shown(NamedTuple):
    """The people of a frame: identity (P,), xy (P, 17, 2), score (P, 17), xyz (P, 17, 3), root (P,
    3)."""

    identity: np.ndarray
    xy: np.ndarray
    score: np.ndarray
    xyz: np.ndarray
    root: np.ndarray


def here(motions: Sequence[Motion], number: int) -> Shown:
    """Who is seen in a frame."""
    rows = [(motion, number - int(motion.frames[0])) for motion in motions]
    kept = [(motion, row) for motion, row in rows if 0 <= row < len(motion.frames)]
    return Shown(
        np.array([motion.identity for motion, _ in kept], int),
        np.array([motion.xy[row] for motion, row in kept]).reshape(-1, 17, 2),
        np.array([motion.score[row] for motion, row in kept]).reshape(-1, 17),
        np.array([motion.xyz[row] for motion, row in kept]).reshape(-1, 17, 3),
        np.array([motion.root[row] for motion, row in kept]).reshape(-1, 3),
    )


def captions(prompts: Sequence[Event], time: float, several: bool) -> list[str]:
    """The texts to show at a time, each once, with the person's number if there are several: from
    when the rule had held long enough to its end, at least for READABLE seconds."""
    now = [e for e in prompts if e.shown <= time <= max(e.stop, e.shown + READABLE)]
    words = [f"{e.person}: {e.rule.text}" if several else e.rule.text for e in now]
    return list(dict.fromkeys(words))
