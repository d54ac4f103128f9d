"""Clips as poor cameras and encoders leave them: shrunk and enlarged, blurred, noisy, re-encoded.

Encoders treat one clip differently, and a detector finds other joints in each result. A classifier
that learns from worn copies too depends less on the encoding (bodyjax.bench.encodings).
"""

from __future__ import annotations

import io

import av
import numpy as np
from PIL import Image, ImageFilter

from bodyjax.errors import VideoError

VERSION = 1
"""Raised with every change of the pixels, so that what was made from them is made anew."""

WORN = 0.5
"""The chance that a clip is worn before it is encoded."""
CHANCE = 0.5
"""Of each of the changes that wear a clip."""
SHRUNK = (0.5, 1.0)
BLUR = (0.2, 1.2)
"""Standard deviation in pixels."""
NOISE = (1.0, 6.0)
"""Standard deviation in grey levels."""
FILTERS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)

TWICE = 0.3
"""The chance that a clip is encoded a second time."""
QUALITY = {"libx264": (20, 40), "libx265": (22, 39), "mpeg4": (3, 16)}
"""Encoders, and the range of their quality: crf, or MPEG-4's quantiser; lower is better."""
RATE = 8
"""Frame rate that the encoders assume; with a fixed quality they matter little."""


def worn(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 of a clip, all changed in the same way; noise differs from frame to
    frame. The same generator gives the same pixels. VideoError if PyAV lacks an encoder."""
    made = aged(frames, rng) if rng.random() < WORN else frames
    for _ in range(2 if rng.random() < TWICE else 1):
        codec = str(rng.choice(list(QUALITY)))
        low, high = QUALITY[codec]
        made = encoded(made, codec, int(rng.integers(low, high + 1)))
    return made


def aged(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 shrunk and enlarged again, blurred, noisy: each with CHANCE."""
    factor = rng.uniform(*SHRUNK) if rng.random() < CHANCE else 1.0
    there, back = (FILTERS[i] for i in rng.integers(len(FILTERS), size=2))
    blur = rng.uniform(*BLUR) if rng.random() < CHANCE else 0.0
    noise = rng.uniform(*NOISE) if rng.random() < CHANCE else 0.0
    made = []
    for frame in frames:
        picture = Image.fromarray(frame)
        if factor < 1:
            small = (max(round(factor * frame.shape[1]), 1), max(round(factor * frame.shape[0]), 1))
            picture = picture.resize(small, there).resize(picture.size, back)
        if blur:
            picture = picture.filter(ImageFilter.GaussianBlur(blur))
        pixels = np.asarray(picture)
        if noise:
            noisy = np.round(pixels + rng.normal(0, noise, frame.shape))
            pixels = np.clip(noisy, 0, 255).astype(np.uint8)
        made.append(pixels)
    return np.stack(made)


def encoded(frames: np.ndarray, codec: str, quality: int) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 after an encoder of QUALITY and the decoder, in memory; one thread,
    so that the same frames give the same pixels."""
    height, width = frames.shape[1:3]
    # Colours have half the resolution: an odd last row or column is there twice, and cut off again.
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    written = io.BytesIO()
    try:
        with av.open(written, "w", format="matroska") as container:
            stream = container.add_stream(codec, rate=RATE, options=options(codec, quality))
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = even.shape[1:3]
            stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
            if codec == "mpeg4":
                stream.codec_context.qmin = stream.codec_context.qmax = quality
            for frame in even:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        written.seek(0)
        with av.open(written, "r") as read:
            decoded = [frame.to_ndarray(format="rgb24") for frame in read.decode(video=0)]
    except (av.FFmpegError, ValueError) as error:
        hint = "install PyAV's own wheels, or take data.worn_copies = 0"
        raise VideoError(f"{codec} can't encode frames ({error})", hint=hint) from None
    return np.stack(decoded)[:, :height, :width]


def options(codec: str, quality: int) -> dict[str, str]:
    """Options of an encoder; MPEG-4 gets its quantiser elsewhere."""
    if codec == "mpeg4":
        return {}
    usual = {"crf": str(quality), "preset": "veryfast", "g": "12"}
    if codec == "libx265":
        return {**usual, "x265-params": "log-level=none:pools=none:frame-threads=1"}
    # x264's look ahead is not the same from run to run: one in twenty gave other pixels.
    return {**usual, "rc-lookahead": "0"}
