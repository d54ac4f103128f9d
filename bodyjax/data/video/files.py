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
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import ArrayLike, NDArray

from bodyjax.data.video.writing import write_video
from bodyjax.errors import VideoError

__all__ = ["Video", "open_video", "write_video"]

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
# Where one packet is known to be one frame, with its own time. Elsewhere (AVI stores no times, VP8
# has packets that show nothing, interlaced H.264 may split a frame) the frames are counted by
# decoding once.
_ONE_A_PACKET = {
    ("mov,mp4,m4a,3gp,3g2,mj2", "h264"),
    ("mov,mp4,m4a,3gp,3g2,mj2", "hevc"),
    ("mov,mp4,m4a,3gp,3g2,mj2", "av1"),
    ("matroska,webm", "h264"),
    ("matroska,webm", "hevc"),
    ("matroska,webm", "vp9"),
    ("matroska,webm", "av1"),
    ("avi", "mjpeg"),
}

Frames = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
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
    _index: _Index = field(repr=False)
    _state: tuple[int, int] = field(
        repr=False
    )  # size and time of change of the file when it was indexed

    @property
    def times(self) -> NDArray[np.float64]:
        """(frames,) seconds at which each frame is shown, counted from the first frame."""
        ticks = self._index.pts - self._index.pts[0]
        return ticks * float(self._index.time_base)

    def read(self, frame_numbers: ArrayLike, threads: int | None = None) -> Frames:
        """Exactly these frames, in the order asked for: (k, height, width, 3) uint8 RGB.

        `frame_numbers`: (k,) integers in [0, frames), in any order, repeats allowed.
        `threads`: decoders at work; by default one a core (at most 4) where that pays. Give 1 where
        several clips are read at once: it costs the least processor time.

        Raises VideoError where a number is out of range, the file has changed since it was opened,
        or decoding fails.
        """
        numbers = np.asarray(frame_numbers).reshape(-1)
        if numbers.size and numbers.dtype.kind not in "iu":
            raise TypeError(f"frame numbers are {numbers.dtype}; give integers")
        numbers = numbers.astype(np.int64)
        out = np.empty((len(numbers), self.size[1], self.size[0], 3), np.uint8)
        if not len(numbers):
            return out
        if numbers.min() < 0 or numbers.max() >= self.frames:
            raise VideoError(
                f"frames {numbers.min()} to {numbers.max()} were asked for, it has {self.frames}",
                file=self.path,
            )
        self._check_unchanged()
        unique, row = np.unique(numbers, return_index=True)
        if not (self._index.seekable and self._seek_into(unique, out, row, threads)):
            wanted = dict(zip(unique.tolist(), row.tolist(), strict=True))
            for number, frame in enumerate(self._count_to(int(unique[-1]) + 1)):
                if number in wanted:
                    out[wanted[number]] = _rgb(frame, self._index, self.path)
        if len(unique) < len(numbers):
            out = out[row[np.searchsorted(unique, numbers)]]
        return out

    def iter_frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frames]:
        """Frames start, start + 1, ... before `stop` (default: all), each (height, width, 3) uint8.

        One frame is in memory at a time. Raises VideoError where the file breaks or ends early.
        """
        stop = self.frames if stop is None else stop
        if not 0 <= start <= stop <= self.frames:
            raise VideoError(
                f"frames {start} to {stop} were asked for, it has {self.frames}", file=self.path
            )
        self._check_unchanged()
        frames = self._seek_to(start, stop) if self._index.seekable and start else None
        if frames is None:
            frames = islice(self._count_to(stop), start, None)
        for frame in frames:
            yield np.ascontiguousarray(_rgb(frame, self._index, self.path))

    def _check_unchanged(self) -> None:
        if _file_state(self.path) != self._state:
            raise VideoError("the file has changed since it was opened", file=self.path)

    def _seek_into(
        self, numbers: NDArray[np.int64], out: Frames, rows: NDArray[np.int64], threads: int | None
    ) -> bool:
        """Frames `numbers` (ascending, no repeats) into `out[rows]`; False where one is missed."""
        threads = threads or min(_cores(), 4)
        shares, thread_type = _share(_plan(self._index, numbers, rows), self._index, threads)

        def work(share: list[_Run]) -> bool:
            with _opened(self.path) as (container, stream):
                stream.thread_type = thread_type
                stream.codec_context.thread_count = threads
                return all(
                    _decode_run(container, stream, run, self._index, self.path, out)
                    for run in share
                )

        if len(shares) == 1:
            return work(shares[0])
        with ThreadPoolExecutor(len(shares)) as pool:
            return all(list(pool.map(work, shares)))

    def _seek_to(self, start: int, stop: int) -> Iterator[Any] | None:
        """Decoded frames from `start`, reached by a seek; None where it lands elsewhere."""
        [run] = _plan(self._index, np.array([start]), np.array([0]))
        first = self._index.pts[start]

        def after_seek() -> Iterator[Any]:
            with _opened(self.path) as (container, stream):
                stream.thread_type = "AUTO"
                container.seek(run.key_pts, stream=stream, backward=True)
                for frame in container.decode(stream):
                    if frame.pts is None or frame.pts >= first:
                        yield frame

        frames = after_seek()
        landed = next(frames, None)
        if landed is None or landed.pts != first:
            return None
        return self._counted(chain([landed], frames), start, stop)

    def _count_to(self, stop: int) -> Iterator[Any]:
        """Decoded frames 0, 1, ... before `stop`, counted from the start of the file."""
        with _opened(self.path) as (container, stream):
            stream.thread_type = "AUTO"
            yield from self._counted(container.decode(stream), 0, stop)

    def _counted(self, frames: Iterator[Any], start: int, stop: int) -> Iterator[Any]:
        number = start
        for frame in islice(frames, stop - start):
            number += 1
            yield frame
        if number < stop:
            raise VideoError(
                f"decoding ends after {number} of {self.frames} frames",
                file=self.path,
                hint="the file is damaged",
            )


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


def forget_indexes() -> None:
    """Forget what `open_video` remembers: its next call reads through a file anew."""
    _indexed.cache_clear()


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
            if streams[0].codec_context is None:
                raise VideoError("its pictures are in an unknown or damaged format", file=path)
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
    """The index of a file; `size` and `changed` are part of the key under which it is kept."""
    path = Path(name)
    listed = _list_packets(path)
    pts, keys, shown, seekable = listed.pts, listed.keys, listed.shown, listed.distinct
    if not (listed.one_frame_a_packet and seekable):
        counted = _count_frames(path)
        if not seekable or counted != sorted(p for p, s in zip(pts, shown, strict=True) if s):
            n, seekable = len(counted), False
            pts = [i * listed.step for i in range(n)] if None in counted else sorted(counted)
            keys = shown = [True] * n
    every = np.array(pts, np.int64)
    position = np.flatnonzero(shown)
    position = position[np.argsort(every[position], kind="stable")]
    key_order = np.flatnonzero(keys)
    if not len(position):
        raise VideoError("it has no frames", file=path)
    return _Index(
        pts=every[position],
        order=position,
        key_order=key_order,
        key_pts=every[key_order],
        time_base=listed.time_base,
        seekable=seekable and len(key_order) > 0,
        last=listed.last,
        rate=listed.rate,
        width=listed.first.width,
        height=listed.first.height,
        turn=_turn(listed.first),
    )


@dataclass
class _Packets:
    """The picture packets of a file, in file order, and its first frame."""

    time_base: Fraction
    rate: Fraction | None
    step: int  # ticks a frame, by the stated rate
    one_frame_a_packet: bool
    first: Any
    last: int  # ticks that the last packet lasts
    pts: list[Any]  # presentation time; None where the file has none
    keys: list[bool]  # keyframe?
    shown: list[bool]  # False: an edit list leaves it out

    @property
    def distinct(self) -> bool:
        return None not in self.pts and len(set(self.pts)) == len(self.pts)


def _list_packets(path: Path) -> _Packets:
    """One pass over the file. A file that ends inside a packet, or before the time it states, is
    refused: decoding alone often says nothing.
    """
    with _opened(path) as (container, stream):
        rate, decoder = stream.average_rate, stream.codec_context
        step = max(round(1 / (rate * stream.time_base)), 1) if rate else 1
        kind = (container.format.name, decoder.name)
        listed = _Packets(
            stream.time_base, rate, step, kind in _ONE_A_PACKET, None, step, [], [], []
        )
        end, latest, broken = 0.0, None, False
        for packet in container.demux():
            if packet.size:
                time = packet.pts if packet.pts is not None else packet.dts
                if time is not None:
                    end = max(end, float((time + (packet.duration or 0)) * packet.time_base))
                broken = broken or packet.is_corrupt
            if packet.stream is not stream:
                continue
            if listed.first is None:
                listed.first = next(iter(decoder.decode(packet if packet.size else None)), None)
            if packet.size:
                listed.pts.append(packet.pts)
                listed.keys.append(packet.is_keyframe)
                listed.shown.append(not packet.is_discard)
                if time is not None and (latest is None or time > latest):
                    latest, listed.last = time, packet.duration or step
        stated = container.duration / 1e6 if container.duration else 0.0
    times = sorted(time for time in listed.pts if time is not None)
    gap = float(np.median(np.diff(times)) * listed.time_base) if len(times) > 1 else 0.1
    if broken or end < stated - 2 * gap - 0.02:
        place = "inside a frame" if broken else f"at {end:.2f} s of {stated:.2f} s"
        raise VideoError(f"it ends {place}", file=path, hint="the file is cut off; copy it again")
    if listed.first is None:
        raise VideoError(
            "no frame can be decoded", file=path, hint="the file is damaged or cut off"
        )
    if listed.first.interlaced_frame:  # a frame may be split into two packets
        listed.one_frame_a_packet = False
    return listed


def _count_frames(path: Path) -> list[Any]:
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


def _share(runs: list[_Run], index: _Index, threads: int) -> tuple[list[list[_Run]], str]:
    """Runs for each decoder, and how a decoder uses threads.

    Seeks make the frame threads of a decoder dear, so many short runs go to several decoders, each
    without threads; one long run goes to one decoder with frame threads. Little work stays alone.
    """
    cost = sum(run.cost for run in runs)
    if threads == 1 or cost * index.width * index.height < 10e6:
        return [runs], "NONE"
    if max(run.cost for run in runs) > cost / 2:
        return [runs], "FRAME"
    shares: list[list[_Run]] = [[] for _ in range(min(threads, len(runs)))]
    for run in sorted(runs, key=lambda run: run.cost, reverse=True):
        min(shares, key=lambda share: sum(r.cost for r in share)).append(run)
    return [sorted(share, key=lambda run: run.key_pts) for share in shares], "NONE"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _decode_run(
    container: Any, stream: Any, run: _Run, index: _Index, path: Path, out: Frames
) -> bool:
    """Decode one run into its rows of `out`; False where the seek or a frame went astray."""
    decoder = stream.codec_context
    container.seek(run.key_pts, stream=stream, backward=True)
    missing, waiting, landed = dict(run.wanted), set(run.wanted), False

    def keep(frames: Iterable[Any]) -> None:
        for frame in frames:
            row = missing.pop(frame.pts, None)
            if row is not None:
                out[row] = _rgb(frame, index, path)

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
    # The decoder holds frames back until it has seen what follows; draining it saves feeding that.
    keep(decoder.decode(None))
    return not missing


def _rgb(frame: Any, index: _Index, path: Path) -> Frames:
    """A decoded frame as (height, width, 3) uint8 RGB, the right way up."""
    if (frame.width, frame.height) != (index.width, index.height):
        raise VideoError(
            f"a frame is {frame.width}x{frame.height}, the first {index.width}x{index.height}",
            file=path,
            hint="the picture size must not change inside a video",
        )
    plane = frame.reformat(format="rgb24", threads=1).planes[0]
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
    image = lines[:, : frame.width * 3].reshape(frame.height, frame.width, 3)
    transpose, left_right, top_bottom = index.turn
    if transpose:
        image = image.swapaxes(0, 1)
    return image[:: -1 if top_bottom else 1, :: -1 if left_right else 1]
