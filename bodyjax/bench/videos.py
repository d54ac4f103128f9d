"""Videos to movements, end to end: sampled frames, detector, classifier, in one program."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import recognize, systems
from bodyjax.bench import timing, training
from bodyjax.bench.reading import make_clip
from bodyjax.bench.rows import Row
from bodyjax.errors import CheckpointError
from bodyjax.recognize.recognizer import Recognizer

CLIPS = 24
PART = "videos"


def recognizer_for(config: Mapping[str, Any], weights: str = "commands") -> tuple[Recognizer, str]:
    """The shipped classifier and its name, or that of a config with random weights."""
    try:
        return recognize.load(weights), f"weights {weights}"
    except CheckpointError:
        system = systems.build(config)
        variables = training.variables_of(system)
        return recognize.from_system(system, variables, config), "random weights"


def videos(config: Mapping[str, Any], platform: str) -> Iterator[Row]:
    """A folder of clips of 300 frames, recognised one after the other, a thread reading ahead."""
    timing.use_platform(platform)
    recognizer, note = recognizer_for(config)
    count, (height, width) = recognizer.frames * recognizer.samples, recognizer.size
    frames = np.zeros((count, height, width, 3), np.uint8)
    timed = timing.measure(recognizer.predict, recognizer.variables, frames)
    name = f"frames to class, {count} of {width} x {height}"
    yield Row(PART, name, timed.seconds * 1e3, "ms", timed.compile_seconds, note)
    for label, size in {"240p": "320x240", "720p": "1280x720"}.items():
        with tempfile.TemporaryDirectory() as folder:
            clip = make_clip(Path(folder) / "0.mp4", size, 300, 12)
            recognize.recognize_video(recognizer, clip)  # compiles
            for number in range(1, CLIPS):
                (Path(folder) / f"{number}.mp4").write_bytes(clip.read_bytes())
            begin = time.perf_counter()
            results = list(recognize.recognize_folder(recognizer, folder))
            rate = len(results) / (time.perf_counter() - begin)
        yield Row(PART, f"end to end, {label} of 300 frames", rate, "videos/s", note=note)
