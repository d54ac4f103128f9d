"""Video files: exact frames by number, frames in order, and writing.

A sampled read decodes as little as it can and is still exact:

1. the packets are listed once without decoding (remembered by path, size and time of change);
   frame i is the i-th of the packets sorted by presentation time, which also holds for variable
   frame rates, edit lists and B-frames, where `time x rate` does not;
2. each wanted frame is reached from the nearest keyframe before it, with one seek per group of
   pictures that is needed; one run through the file where seeking would save little;
3. on the way, frames that no other frame refers to are not decoded, and only wanted frames are
   turned into RGB;
4. the landing of every seek and the arrival of every frame are checked; where one fails, the file
   is decoded from its start and the frames are counted.

Files are opened as untrusted: only regular local files, only the formats of `FORMATS`, and no
format that names other files or addresses.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import ArrayLike, NDArray

from bodyjax.errors import VideoError

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
WRITTEN = (".mp4", ".mkv", ".mov", ".avi")
_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
# One packet is one frame in these. Elsewhere (VP8 has packets that show nothing, old AVIs pack two
# frames in one) the frames are counted by decoding once.
_ONE_FRAME_A_PACKET = {"h264", "hevc", "mjpeg", "vp9", "av1"}

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class _Index:
    """What one pass over the packets tells. Times are in ticks of `time_base`."""

    pts: NDArray[np.int64]  # (n,) presentation time of frame i, ascending
    order: NDArray[np.int64]  # (n,) position of frame i in the file, in decoding order
    key_order: NDArray[np.int64]  # (keys,) positions of the keyframes, ascending
    key_pts: NDArray[np.int64]  # (keys,) their presentation times
    time_base: Fraction
    seekable: bool  # False: frames are found by counting from the start
    last: int  # ticks that the last frame is shown
    rate: Fraction | None  # the rate that the file states
    width: int  # of the stored picture, before turning
    height: int
    turn: tuple[bool, bool, bool]  # transpose, then flip left-right, then flip top-bottom


@dataclass(frozen=True)
class _Run:
    """Decode from the keyframe at `key_pts` until the packets of all `wanted` have gone in."""

    key_pts: int
    wanted: dict[int, int]  # presentation time -> row of the answer
    cost: int  # packets


@dataclass(frozen=True)
class Video:
    """A video file whose frames can be read by number. Made by `open_video`; holds no open file.

    frames: number of frames shown (edit lists applied); fps: mean frames per second;
    size: (width, height) in pixels after turning as the file asks; duration: seconds from the
    first frame to the end of the last.
    """

    path: Path
    frames: int
    fps: float
    size: tuple[int, int]
    duration: float
    _index: _Index
    _state: tuple[int, int]  # size and time of change of the file when it was indexed

    @property
    def times(self) -> NDArray[np.float64]:
        """(frames,) seconds at which each frame is shown, counted from the first frame."""
        ticks = self._index.pts - self._index.pts[0]
        return ticks * float(self._index.time_base)

    def read(self, frame_numbers: ArrayLike) -> Frames:
        """Exactly these frames, in the order asked for: (k, height, width, 3) uint8 RGB.

        `frame_numbers`: (k,) integers in [0, frames), in any order, repeats allowed.
        Raises VideoError where a number is out of range, the file has changed since it was opened,
        or decoding fails.
        """
        numbers = np.asarray(frame_numbers, np.int64).reshape(-1)
        out = np.empty((len(numbers), self.size[1], self.size[0], 3), np.uint8)
        if not len(numbers):
            return out
        if numbers.min() < 0 or numbers.max() >= self.frames:
            raise VideoError(
                f"frames {numbers.min()}..{numbers.max()} were asked for, it has {self.frames}",
                file=self.path,
            )
        self._check_unchanged()
        rows, inverse = np.unique(numbers, return_inverse=True)
        if len(rows) == len(numbers):
            self._read_into(rows, out, np.argsort(inverse))
            return out
        unique = np.empty((len(rows), *out.shape[1:]), np.uint8)
        self._read_into(rows, unique, np.arange(len(rows)))
        return unique[inverse]

    def iter_frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frames]:
        """Frames start, start + 1, ... before `stop` (default: all), each (height, width, 3) uint8.

        One frame is in memory at a time. Raises VideoError where the file ends early or breaks.
        """
        stop = self.frames if stop is None else stop
        if not 0 <= start <= stop <= self.frames:
            raise VideoError(
                f"frames {start}..{stop} were asked for, it has {self.frames}", file=self.path
            )
        if start == stop:
            return
        self._check_unchanged()
        with _opened(self.path) as (container, stream):
            stream.thread_type = "AUTO"
            number = 0
            if self._index.seekable and start > 0:
                [run] = _plan(self._index, np.array([start]), np.array([0]))
                container.seek(run.key_pts, stream=stream, backward=True)
                first = self._index.pts[start]
                number = start
            else:
                first = None
            painter = _Painter(self.path, self._index)
            for frame in container.decode(stream):
                if first is not None:
                    if frame.pts < first:
                        continue
                    if frame.pts != first:
                        raise VideoError("seeking failed", file=self.path, place=f"frame {start}")
                    first = None
                if number >= start:
                    yield np.ascontiguousarray(painter.rgb(frame))
                number += 1
                if number == stop:
                    return
        raise VideoError(
            f"decoding ends after {number} of {self.frames} frames",
            file=self.path,
            hint="the file is damaged",
        )

    def _check_unchanged(self) -> None:
        if _file_state(self.path) != self._state:
            raise VideoError("the file has changed since it was opened", file=self.path)

    def _read_into(self, numbers: NDArray[np.int64], out: Frames, rows: NDArray[np.int64]) -> None:
        """Frames `numbers` (ascending, no repeats) into `out[rows]`."""
        if self._index.seekable:
            with _opened(self.path) as (container, stream):
                painter = _Painter(self.path, self._index)
                runs = _plan(self._index, numbers, rows)
                if all(_decode_run(container, stream, run, painter, out) for run in runs):
                    return
        wanted = dict(zip(numbers.tolist(), rows.tolist(), strict=True))
        for number, frame in enumerate(self.iter_frames(0, int(numbers[-1]) + 1)):
            if number in wanted:
                out[wanted[number]] = frame


def open_video(path: str | os.PathLike[str]) -> Video:
    """Open a video file (mp4, mov, mkv, webm or avi) and count its frames.

    The first call reads through the file without decoding it (only the first frame is decoded);
    the result is remembered while size and time of change stay the same.

    Raises VideoError (one line) for a file that is missing, empty, not a regular file, not a video
    of these formats, without a picture track, without frames, or shorter than it says.
    """
    full = Path(os.path.abspath(path))
    state = _file_state(full)
    index = _indexed(str(full), *state)
    width, height = index.width, index.height
    span = int(index.pts[-1] - index.pts[0])
    n = len(index.pts)
    duration = float((span + index.last) * index.time_base)
    mean = float((n - 1) / (span * index.time_base)) if span else float(index.rate or 0)
    stated = float(index.rate or 0)
    fps = stated if stated and abs(stated - mean) <= 0.01 * mean else mean
    size = (height, width) if index.turn[0] else (width, height)
    return Video(full, n, fps, size, duration, index, state)


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
    part = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    with tempfile.TemporaryFile() as log:
        encoder = subprocess.Popen(
            _encode_command(part, first.shape, fps), stdin=subprocess.PIPE, stderr=log
        )
        assert encoder.stdin is not None
        try:
            try:
                encoder.stdin.write(_even(first).tobytes())
                for number, frame in enumerate(iterator, start=1):
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
            os.replace(part, target)
        finally:
            if encoder.poll() is None:
                encoder.kill()
                encoder.wait()
            encoder.stdin.close()
            part.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------- opening


def _file_state(path: Path) -> tuple[int, int]:
    """Size and time of change. A FIFO would block on opening, so only regular files pass."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise VideoError(f"can't open the video: {reason}", file=path) from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise VideoError(f"this is {kind}", file=path, hint="name a video file")
    if status.st_size == 0:
        raise VideoError("the file is empty", file=path)
    return status.st_size, status.st_mtime_ns


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its picture stream; FFmpeg's errors become one VideoError."""
    try:
        # "file:" keeps a colon in the name from being read as a protocol.
        with av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace") as container:
            # A cover picture of a sound file is no video.
            streams = [s for s in container.streams.video if not _is_cover(s)]
            if not streams:
                raise VideoError("it has no picture track", file=path, hint="name a video file")
            yield container, streams[0]
    except (av.error.FFmpegError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(
            f"can't be decoded: {reason}",
            file=path,
            hint="the file is damaged, cut off, or not an mp4, mov, mkv, webm or avi video",
        ) from None


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


# --------------------------------------------------------------------------------------- indexing


@lru_cache(maxsize=1024)
def _indexed(name: str, size: int, changed: int) -> _Index:
    path = Path(name)
    with _opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise VideoError("no frame can be decoded", file=path)
        codec, rate, time_base = stream.codec_context.name, stream.average_rate, stream.time_base
    pts, keys, shown, last = _list_packets(path)
    seekable = None not in pts and len(set(pts)) == len(pts)
    trusted = codec in _ONE_FRAME_A_PACKET and not first.interlaced_frame
    if not (seekable and trusted):
        counted = _count_frames(path)
        listed = sorted(p for p, s in zip(pts, shown, strict=True) if s) if seekable else None
        if counted != listed:
            n = len(counted)
            if None in counted or counted != sorted(set(counted)):
                step = round(1 / (rate * time_base)) if rate else 1
                counted = [i * step for i in range(n)]
            pts, keys, shown, seekable = counted, [True] * n, [True] * n, False
    every = np.array(pts, np.int64)
    position = np.flatnonzero(shown)
    position = position[np.argsort(every[position], kind="stable")]
    key_order = np.flatnonzero(keys)
    if not len(position):
        raise VideoError("it has no frames", file=path)
    gap = np.diff(every[position])
    return _Index(
        pts=every[position],
        order=position,
        key_order=key_order,
        key_pts=every[key_order],
        time_base=time_base,
        seekable=seekable and len(key_order) > 0,
        last=last or (int(np.median(gap)) if len(gap) else 0),
        rate=rate,
        width=first.width,
        height=first.height,
        turn=_turn(first),
    )


def _list_packets(path: Path) -> tuple[list[Any], list[bool], list[bool], int]:
    """Presentation time, keyframe?, shown? of each picture packet in file order, and the ticks that
    the last one lasts. A file that ends before the time it states, or inside a packet, is refused.
    """
    pts: list[Any] = []
    keys: list[bool] = []
    shown: list[bool] = []
    last, last_pts, end, broken = 0, None, 0.0, False
    with _opened(path) as (container, stream):
        for packet in container.demux():
            if not packet.size:
                continue
            start = packet.pts if packet.pts is not None else packet.dts
            if start is not None:
                end = max(end, float((start + (packet.duration or 0)) * packet.time_base))
            broken = broken or packet.is_corrupt
            if packet.stream is stream:
                pts.append(packet.pts)
                keys.append(packet.is_keyframe)
                shown.append(not packet.is_discard)
                if start is not None and (last_pts is None or start > last_pts):
                    last_pts, last = start, packet.duration or 0
        stated = container.duration / 1e6 if container.duration else None
        frame = float(1 / stream.average_rate) if stream.average_rate else 0.0
    if broken or (stated is not None and end < stated - max(0.1, 3 * frame)):
        raise VideoError(
            f"it ends at {end:.2f} s" + (f" of {stated:.2f} s" if stated else ""),
            file=path,
            hint="the file is cut off; copy it again",
        )
    return pts, keys, shown, last


def _count_frames(path: Path) -> list[int | None]:
    """Presentation times of all frames, in the order in which the decoder gives them."""
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        return [frame.pts for frame in container.decode(stream)]


def _turn(frame: Any) -> tuple[bool, bool, bool]:
    """How the file's display matrix wants the picture turned: (transpose, left-right, top-bottom).

    Right angles and mirrors; another angle is taken as the nearest right one.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):  # x' = a x, y' = d y
        return False, a < 0, d < 0
    return True, c < 0, b < 0  # x' = c y, y' = b x


# --------------------------------------------------------------------------------------- decoding


def _plan(index: _Index, numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> list[_Run]:
    """Runs that reach all frames `numbers` (ascending): one per keyframe needed, or one in all."""
    groups: dict[int, list[int]] = {}
    for i, number in enumerate(numbers):
        key = int(np.searchsorted(index.key_order, index.order[number], side="right")) - 1
        # A frame shown before the keyframe that precedes it in the file belongs to the one before.
        while key > 0 and index.key_pts[key] > index.pts[number]:
            key -= 1
        groups.setdefault(max(key, 0), []).append(i)

    def run(key: int, members: Sequence[int]) -> _Run:
        chosen = numbers[list(members)]
        wanted = {int(index.pts[n]): int(rows[i]) for n, i in zip(chosen, members, strict=True)}
        cost = int(index.order[chosen].max() - index.key_order[key]) + 1
        return _Run(int(index.key_pts[key]), wanted, cost)

    runs = [run(key, members) for key, members in sorted(groups.items())]
    whole = run(min(groups), range(len(numbers)))
    return [whole] if sum(r.cost for r in runs) > 0.8 * whole.cost else runs


def _decode_run(container: Any, stream: Any, run: _Run, painter: _Painter, out: Frames) -> bool:
    """Decode one run into its rows of `out`; False where a frame did not come."""
    decoder = stream.codec_context
    container.seek(run.key_pts, stream=stream, backward=True)
    missing, waiting, landed = dict(run.wanted), set(run.wanted), False

    def keep(frames: Iterable[Any]) -> None:
        for frame in frames:
            row = missing.pop(frame.pts, None)
            if row is not None:
                out[row] = painter.rgb(frame)

    for packet in container.demux(stream):
        if not packet.size:
            break
        if not landed:
            if packet.pts is None or packet.pts > run.key_pts or not packet.is_keyframe:
                return False
            landed = True
        decoder.skip_frame = "DEFAULT" if packet.pts in run.wanted else "NONREF"
        keep(decoder.decode(packet))
        waiting.discard(packet.pts)
        if not waiting:
            break
    keep(decoder.decode(None))  # what the decoder still holds back; no further packet is needed
    return not missing


class _Painter:
    """Turns decoded frames into RGB arrays, the right way up."""

    def __init__(self, path: Path, index: _Index) -> None:
        self._path, self._index = path, index
        self._reformatter = VideoReformatter()

    def rgb(self, frame: Any) -> Frames:
        """(height, width, 3) uint8."""
        index = self._index
        if (frame.width, frame.height) != (index.width, index.height):
            raise VideoError(
                f"a frame is {frame.width}x{frame.height}, "
                f"the first is {index.width}x{index.height}",
                file=self._path,
                hint="the picture size must not change inside a video",
            )
        plane = self._reformatter.reformat(frame, format="rgb24", threads=1).planes[0]
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
        image = lines[:, : frame.width * 3].reshape(frame.height, frame.width, 3)
        transpose, left_right, top_bottom = index.turn
        if transpose:
            image = image.swapaxes(0, 1)
        return image[:: -1 if top_bottom else 1, :: -1 if left_right else 1]


# ---------------------------------------------------------------------------------------- writing


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
