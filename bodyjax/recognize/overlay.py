"""A video with its people and the recognised movement drawn on every frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from bodyjax import detect, draw
from bodyjax.data.read_ahead import taken_ahead
from bodyjax.data.video.files import Video, open_video
from bodyjax.data.video.writing import write_overlay
from bodyjax.detect.detector import Detector
from bodyjax.detect.videos import FramePeople, without_weak
from bodyjax.recognize.recognizer import FilePath
from bodyjax.skeleton import COCO17


def write(
    path: FilePath,
    out: FilePath,
    result: Mapping[str, Any],
    detector: Detector | None = None,
    on_bad: str = "raise",
) -> None:
    """Write the video with the joints, the movement and its probability drawn on every frame.

    `result` is the result of recognize_video or recognize_long for the same video; with several
    windows, a frame shows the one whose middle is nearest. The joints are those that launch.detect
    draws: everyone's, followed from frame to frame, smoothed, without guesses; found by `detector`,
    or by the shipped one from which the shipped classifiers start. Timing and sound are those of
    the video (write_overlay). on_bad: as for the result. VideoError if the video can't be read or
    the new one can't be written.
    """
    video = open_video(path, on_bad)
    detector = detector or shipped_detector()
    people = detect.tracked(detector, taken_ahead(video.iter_frames()), video.times)
    kept, _ = without_weak(people, detector.settings.min_person)
    write_overlay(out, drawn(video, kept, result), video)


@lru_cache(maxsize=1)
def shipped_detector() -> Detector:
    """The detector "small", restored once for all videos of a folder."""
    return detect.load("small")


def drawn(
    video: Video, people: Sequence[FramePeople], result: Mapping[str, Any]
) -> Iterator[np.ndarray]:
    """The frames of `write`, (height, width, 3) uint8, one in memory at a time; people: those of
    each frame, in COCO's joints."""
    shown = result.get("windows") or [{**result, "start": 0.0, "stop": video.duration}]
    middles = np.array([(window["start"] + window["stop"]) / 2 for window in shown])
    for frame, found, time in zip(video.iter_frames(), people, video.times, strict=True):
        window = shown[int(np.abs(middles - time).argmin())]
        yield draw.label(draw.skeletons(frame, found.xy, found.shown, COCO17), lines(window))


def lines(window: Mapping[str, Any]) -> list[str]:
    """The text on a frame: movement and probability, and the operation if there is one."""
    first = f"{window['movement']} {window['probability']:.2f}"
    if window["movement"] is None:
        first = f"nothing recognised: {window['reason']}"
    return [first, str(window["operation"])] if window["operation"] else [first]
