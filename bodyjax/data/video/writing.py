"""Frames to a video file, through the ffmpeg that imageio-ffmpeg ships."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, NamedTuple

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from bodyjax import files
from bodyjax.data.video.opening import FORMATS, opened
from bodyjax.data.video.video import Video
from bodyjax.errors import VideoError

WRITTEN = (".mp4", ".mkv", ".mov", ".avi")

_TICK = Fraction(1, 90000)
_SOUND_TAKEN = {  # as it is; other sound is encoded anew
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le"},
    ".mkv": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "vorbis", "flac", "pcm_s16le"},
    ".avi": {"mp3", "ac3", "pcm_s16le"},
}

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

    The file appears under its name once it is complete; an error leaves nothing behind. Raises
    VideoError for no frames, frames that differ in size or type, or a failing encoder.
    """
    _write(path, frames, fps, None, None)


def write_overlay(
    path: str | os.PathLike[str], frames: Iterable[NDArray[np.uint8]], original: Video
) -> None:
    """Write frames drawn over those of a video, with its timing and its sound.

    As `write_video`, with the times of `original.times` where its rate varies (.avi knows none but
    a constant rate: there it is the mean), and its first sound track, beginning as far before or
    after the pictures as there. Sound that the container does not support is re-encoded.
    """
    suffix = Path(path).suffix.lower()
    fps, times = original.fps or 1.0, original.times
    sound = sound_of(original, suffix)
    steady = np.abs(times - np.arange(len(times)) / fps).max() <= 0.25 / fps
    late = sound is not None and sound.delay > 0
    _write(path, frames, fps, times if (late or not steady) and suffix != ".avi" else None, sound)


def _write(
    path: str | os.PathLike[str],
    frames: Iterable[NDArray[np.uint8]],
    fps: float,
    times: NDArray[np.float64] | None,
    sound: Sound | None,
) -> None:
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
    even = _even_frames(first, iterator, target)
    try:
        with files.whole(target) as part:
            command = _encode_command(part, first.shape, fps, times is not None, sound)
            _encode(command, even, times, target)
    except OSError as error:
        raise VideoError(f"can't be written ({error.strerror})", file=target) from None


def _encode(
    command: list[str], even: Iterator[Frames], times: NDArray[np.float64] | None, target: Path
) -> None:
    """Sends the frames to an encoder; errors name `target`."""
    with tempfile.TemporaryFile() as log:
        encoder = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log)
        assert encoder.stdin is not None
        try:
            try:
                if times is None:
                    for frame in even:
                        encoder.stdin.write(frame.tobytes())
                else:
                    _send_timed(encoder.stdin, even, times)
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
            with suppress(BrokenPipeError):
                encoder.stdin.close()


def _even_frames(
    first: Frames, others: Iterator[NDArray[np.uint8]], target: Path
) -> Iterator[Frames]:
    """All frames, checked, of even sizes."""
    yield _even(first)
    for number, frame in enumerate(others, start=1):
        _check_frame(np.asarray(frame), first.shape, number, target)
        yield _even(np.asarray(frame))


def _send_timed(pipe: IO[bytes], frames: Iterator[Frames], times: NDArray[np.float64]) -> None:
    """Frames with their times, as raw pictures in a NUT stream, which ffmpeg reads from a pipe.
    Frames with equal times stay one tick apart, because encoders require increasing times."""
    import av

    stream: Any = None
    tick = -1
    with av.open(pipe, "w", format="nut") as out:
        for frame, time in zip(frames, times, strict=True):
            if stream is None:
                stream = out.add_stream("rawvideo", rate=25)
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "rgb24"
                stream.codec_context.time_base = _TICK
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
            tick = max(round(float(time) / _TICK), tick + 1)
            picture.pts, picture.time_base = tick, _TICK
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


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


class Sound(NamedTuple):
    """A sound track to write beside frames: its file, how its codec is written, and how many
    seconds after the beginning of that file the first picture is shown."""

    file: Path
    codec: tuple[str, ...]
    delay: float


def sound_of(video: Video, suffix: str) -> Sound | None:
    """The first sound track of a video, for a file of this ending; None if there is none that can
    be read."""
    import av

    if not video.path.is_file():  # a folder of frames
        return None
    with opened(video.path) as (container, *_):
        tracks = container.streams.audio
        if not tracks or tracks[0].codec_context is None:
            return None
        if tracks[0].codec_context.codec.canonical_name in _SOUND_TAKEN.get(suffix, ()):
            codec: tuple[str, ...] = ("-c:a", "copy")
        else:
            codec = ("-c:a", "libmp3lame" if suffix == ".avi" else "aac")
        began = (container.start_time or 0) / av.time_base
        delay = video.start - began
    return Sound(video.path, codec, delay if delay > 1e-3 else 0.0)


def _encode_command(
    path: Path, shape: tuple[int, ...], fps: float, timed: bool, sound: Sound | None
) -> list[str]:
    """FFmpeg's command line. The thread count is fixed: x264's output depends on it."""
    height, width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
    rate = Fraction(fps).limit_denominator(1001)
    suffix = path.suffix.lower()
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate))
    timing: tuple[str, ...] = ()
    if timed:
        timing = ("-fps_mode", "passthrough", "-enc_time_base", f"1:{_TICK.denominator}")
        if suffix in (".mp4", ".mov"):
            timing = (*timing, "-video_track_timescale", str(_TICK.denominator))
    delay: tuple[str, ...] = ()
    tracks: tuple[str, ...] = ("-an",)
    if sound is not None:
        skipped: tuple[str, ...] = ()
        if sound.delay and timed:
            delay = ("-itsoffset", f"{sound.delay:.6f}")
        elif sound.delay:  # AVI knows no late beginning
            skipped = ("-ss", f"{sound.delay:.6f}")
        tracks = (
            *("-protocol_whitelist", "file", "-format_whitelist", FORMATS, "-vn", *skipped),
            *("-i", f"file:{sound.file}", "-map", "0:v:0", "-map", "1:a:0", *sound.codec),
            *("-max_error_rate", "1"),
        )
    return [
        imageio_ffmpeg.get_ffmpeg_exe(),
        *("-v", "error", "-nostdin", "-y"),
        *(*delay, *(("-f", "nut") if timed else raw)),
        *("-i", "pipe:0", *tracks, *timing),
        *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20"),
        *("-g", "12", "-threads", "2", "-flags:v", "+bitexact", "-fflags", "+bitexact"),
        *(("-movflags", "+faststart") if suffix in (".mp4", ".mov") else ()),
        f"file:{path}",
    ]
