"""Frames to a video file, through the ffmpeg that imageio-ffmpeg ships."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from bodyjax import files
from bodyjax.errors import VideoError

WRITTEN = (".mp4", ".mkv", ".mov", ".avi")

Frames = NDArray[np.uint8]


def write_video(
    path: str | os.PathLike[str], frames: Iterable[NDArray[np.uint8]] | Frames, fps: float
) -> None:
    """Write (height, width, 3) uint8 RGB frames as H.264, yuv420p, at a constant rate.

    `frames`: an array (n, height, width, 3) or any iterable of frames of one size; one frame is in
    memory at a time. The ending chooses the container: .mp4, .mkv, .mov or .avi. H.264 stores even
    sizes only: an odd width or height gets its last column or row twice, so pixel coordinates
    stay true and the file is one pixel larger. There is a keyframe every 12 frames, which makes
    sampled reading cheap. The same frames give the same file on every machine.

    The file appears under its name when it is complete; an error leaves nothing behind.
    Raises VideoError for no frames, frames that differ in size or type, or a failing encoder.
    """
    target = Path(os.path.abspath(path))
    if target.suffix.lower() not in WRITTEN:
        raise VideoError(
            "the ending does not name a video", file=target, hint=f"use {', '.join(WRITTEN)}"
        )
    if not fps > 0:
        raise VideoError(f"fps is {fps}", file=target, hint="give a rate above 0")
    if not target.parent.is_dir():
        raise VideoError("the folder is missing", file=target.parent)
    iterator = iter(frames)
    try:
        first = np.asarray(next(iterator))
    except StopIteration:
        raise VideoError("there are no frames to write", file=target) from None
    _check_frame(first, first.shape, 0, target)
    try:
        with files.whole(target) as part:
            _encode(part, target, first, iterator, fps)
    except OSError as error:
        raise VideoError(f"can't be written ({error.strerror})", file=target) from None


def _encode(
    part: Path,
    target: Path,
    first: NDArray[np.uint8],
    frames: Iterator[NDArray[np.uint8]],
    fps: float,
) -> None:
    """Writes the frames to `part`; errors name `target`."""
    with tempfile.TemporaryFile() as log:
        encoder = subprocess.Popen(
            _encode_command(part, first.shape, fps), stdin=subprocess.PIPE, stderr=log
        )
        assert encoder.stdin is not None
        try:
            try:
                encoder.stdin.write(_even(first).tobytes())
                for number, frame in enumerate(frames, start=1):
                    _check_frame(np.asarray(frame), first.shape, number, target)
                    encoder.stdin.write(_even(np.asarray(frame)).tobytes())
                encoder.stdin.close()
            except BrokenPipeError:
                pass  # the exit code and the log say why
            if encoder.wait() != 0:
                log.seek(0)
                lines = log.read().decode(errors="replace").strip().splitlines()
                raise VideoError(
                    f"writing failed: {lines[-1] if lines else 'the encoder stopped'}", file=target
                )
        finally:
            if encoder.poll() is None:
                encoder.kill()
                encoder.wait()
            encoder.stdin.close()


def _check_frame(frame: NDArray[Any], shape: tuple[int, ...], number: int, target: Path) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2:] != (3,) or frame.size == 0:
        raise VideoError(
            f"shape {frame.shape} of {frame.dtype} is no picture",
            file=target,
            place=f"frame {number}",
            hint="give (height, width, 3) uint8 RGB",
        )
    if frame.shape != shape:
        raise VideoError(
            f"shape {frame.shape}, the first frame has {shape}",
            file=target,
            place=f"frame {number}",
        )


def _even(frame: Frames) -> Frames:
    """The frame with its last row or column twice where its height or width is odd."""
    height, width, _ = frame.shape
    if height % 2 or width % 2:
        return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return frame


def _encode_command(path: Path, shape: tuple[int, ...], fps: float) -> list[str]:
    """FFmpeg's command line. The thread count is fixed: x264's output depends on it."""
    height, width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
    rate = Fraction(fps).limit_denominator(1001)
    return [
        imageio_ffmpeg.get_ffmpeg_exe(),
        *("-v", "error", "-nostdin", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate)),
        *("-i", "pipe:0", "-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20"),
        *("-g", "12", "-threads", "2", "-flags:v", "+bitexact", "-fflags", "+bitexact"),
        *(("-movflags", "+faststart") if path.suffix.lower() in (".mp4", ".mov") else ()),
        f"file:{path}",
    ]
