"""Videos to movements, end to end: sampled frames, detector, classifier, in one program."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from bodyjax.bench import timing, training
from bodyjax.bench.reading import make_clip
from bodyjax.bench.rows import Row
from bodyjax.data.sampling import segment_frames
from bodyjax.data.video import open_video

CLIPS, ROUNDS = 4, 6
PART = "videos"


def videos(config: Mapping[str, Any], platform: str) -> Iterator[Row]:
    """Clips of 300 frames at 240p and 720p per second: read, shrunk, recognised; one thread reads
    ahead of the device. Weights are random: the time does not depend on them."""
    from bodyjax.systems import movement

    timing.use_platform(platform)
    system = movement.build(config)
    variables = jax.device_put(training.variables_of(system))
    height, width = system.size
    frames = np.zeros((1, system.frames, height, width, 3), np.uint8)
    timed = timing.measure(system.predict, variables, {"frames": frames})
    name = f"frames to class, {system.frames} frames of {width} x {height}"
    yield Row(PART, name, timed.seconds * 1e3, "ms", timed.compile_seconds)
    predict = jax.jit(system.predict)
    jax.block_until_ready(predict(variables, {"frames": frames}))
    for label, size in {"240p": "320x240", "720p": "1280x720"}.items():
        with tempfile.TemporaryDirectory() as folder:
            clip = make_clip(Path(folder) / "clip.mp4", size, 300, 12)
            clips = [Path(folder) / f"{i}.mp4" for i in range(CLIPS)]
            for path in clips:
                path.write_bytes(clip.read_bytes())
            begin = time.perf_counter()
            with ThreadPoolExecutor(1) as reader:
                ready = reader.map(
                    lambda path: read(path, system.frames, system.size), clips * ROUNDS
                )
                for batch in ready:
                    jax.block_until_ready(predict(variables, {"frames": batch[None]}))
            rate = CLIPS * ROUNDS / (time.perf_counter() - begin)
        yield Row(PART, f"end to end, {label} of 300 frames", rate, "videos/s")


def read(path: Path, count: int, size: tuple[int, int]) -> np.ndarray:
    """The middle frames of `count` segments, shrunk to `size` (H, W): (count, H, W, 3) uint8."""
    video = open_video(path)
    shape = (size[1], size[0])
    frames = video.read(segment_frames(video.frames, count))
    pictures = [Image.fromarray(frame) for frame in frames]
    return np.stack([np.asarray(x.resize(shape, Image.Resampling.BILINEAR)) for x in pictures])
