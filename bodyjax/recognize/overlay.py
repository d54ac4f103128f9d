"""A video with what was recognised in it drawn on every frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from bodyjax import draw
from bodyjax.data import affine
from bodyjax.data.read_ahead import taken_ahead
from bodyjax.data.video.files import Video, open_video
from bodyjax.data.video.writing import write_overlay
from bodyjax.recognize.recognizer import FilePath, Recognizer, fitted, fitting
from bodyjax.skeleton import BODY18


def write(recognizer: Recognizer, path: FilePath, out: FilePath, result: Mapping[str, Any]) -> None:
    """Write the video with the joints of every frame, the movement and its probability drawn.

    `result` is what recognize_video or recognize_long gave of the same video: of several windows,
    a frame shows the one whose middle is nearest. The joints come from the recognizer's own
    detector, T frames at a time through its compiled program. Timing and sound are those of the
    video (write_overlay). VideoError where the video can't be read or the other one not written.
    """
    video = open_video(path)
    write_overlay(out, drawn(recognizer, video, result), video)


def drawn(recognizer: Recognizer, video: Video, result: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """The frames of `write`, (height, width, 3) uint8, one in memory after the other."""
    matrix = fitting(recognizer, video)
    back = affine.inverse(matrix)
    shown = result.get("windows") or [{**result, "start": 0.0, "stop": video.duration}]
    middles = np.array([(window["start"] + window["stop"]) / 2 for window in shown])

    def batches() -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        frames = video.iter_frames()
        while batch := list(islice(frames, recognizer.frames)):
            small = [fitted(recognizer, frame, matrix) for frame in batch]
            small += small[-1:] * (recognizer.frames - len(batch))
            yield batch, np.stack(small)

    times = iter(video.times)
    for frames, small in taken_ahead(batches()):
        found = recognizer.predict(recognizer.variables, small)
        xy, score = affine.move(np.asarray(found.xy), back), np.asarray(found.score)
        for i, frame in enumerate(frames):
            window = shown[int(np.abs(middles - next(times)).argmin())]
            image = draw.skeletons(frame, xy[i : i + 1], score[i : i + 1], BODY18)
            yield draw.label(image, lines(window))


def lines(window: Mapping[str, Any]) -> list[str]:
    """What is written on a frame: movement and probability, and the operation if there is one."""
    first = f"{window['movement']} {window['probability']:.2f}"
    return [first, str(window["operation"])] if window["operation"] else [first]
