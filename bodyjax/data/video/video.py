"""A video: frames by number and in order, however it is stored.

A sampled read decodes as little as it can and is still exact: the packets are listed once without
decoding (bodyjax.data.video.index, remembered by path, size and modification time); frame i is the
i-th of the packets sorted by presentation time, which also holds for variable frame rates, edit
lists and B-frames, for which `time x rate` fails; wanted frames are reached by seeks whose landing
is checked (bodyjax.data.video.reading), and if one fails, the file is decoded from its start.

Files are opened as untrusted (bodyjax.data.video.opening), and a stalled decoder gives an error
(bodyjax.data.video.limits).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bodyjax.data.video import limits, reading
from bodyjax.data.video.index import Index
from bodyjax.data.video.opening import file_state
from bodyjax.errors import VideoError

Frames = NDArray[np.uint8]
MOST_BYTES = 2**31
"""The most bytes of frames that one `Video.read` gives."""
PIECE_BYTES = 2**28
"""The most bytes of frames in a piece of `Video.pieces`, unless one frame is larger."""


@dataclass(frozen=True)
class Video:
    """A video file whose frames can be read by number. Made by `open_video`; holds no open file.

    frames: number of frames shown (edit lists applied); fps: mean frames per second; size: (width,
    height) in pixels after the file's rotation, with square pixels; duration: seconds from the
    first frame to the end of the last; left_out: pictures that can't be decoded: before the first
    keyframe, and with on_bad="skip" those that are damaged.
    """

    path: Path
    frames: int
    fps: float
    size: tuple[int, int]
    duration: float
    left_out: int
    _index: Index = field(repr=False)
    _state: tuple[int, int] = field(
        repr=False
    )  # size and time of change of the file when it was indexed

    @property
    def times(self) -> NDArray[np.float64]:
        """(frames,) seconds at which each frame is shown, counted from the first frame."""
        ticks = self._index.pts - self._index.pts[0]
        return ticks * float(self._index.time_base)

    @property
    def gaps(self) -> int:
        """How many frames seem to be lost: in a video of a steady rate (nine steps of ten), those
        that fit into longer steps. Nothing else marks a frame that was dropped while recording or
        from the file, so whether there was one can't be known."""
        steps = np.diff(self._index.pts)
        if len(steps) < 10:
            return 0
        usual = float(np.median(steps))
        steady = np.abs(steps - usual) <= max(1.0, 0.05 * usual)
        if steady.mean() < 0.9:
            return 0
        return int((np.round(steps[~steady] / usual) - 1).clip(0).sum())

    @property
    def start(self) -> float:
        """Seconds at which the first frame is shown, on the clock of the file and its sound."""
        return float(self._index.pts[0] * self._index.time_base)

    def read(self, frame_numbers: ArrayLike, threads: int | None = None) -> Frames:
        """Exactly these frames, in the requested order: (k, height, width, 3) uint8 RGB.

        `frame_numbers`: (k,) integers in [0, frames), in any order, repeats allowed. `threads`:
        decoders at work; by default one per core (at most 4) if that pays. Use 1 if several clips
        are read at once: it costs the least processor time.

        Raises VideoError if a number is out of range, the file has changed since it was opened, a
        frame is damaged, decoding fails or stalls, or the frames take more than MOST_BYTES
        together.
        """
        numbers = np.asarray(frame_numbers).reshape(-1)
        if numbers.size and numbers.dtype.kind not in "iu":
            raise TypeError(f"frame numbers are {numbers.dtype}; give integers")
        numbers = numbers.astype(np.int64)
        if not len(numbers):
            return np.empty((0, self.size[1], self.size[0], 3), np.uint8)
        if numbers.min() < 0 or numbers.max() >= self.frames:
            raise VideoError(
                f"frames {numbers.min()} to {numbers.max()} were asked for, it has {self.frames}",
                file=self.path,
            )
        size = len(numbers) * self.frame_bytes
        if size > MOST_BYTES:
            raise VideoError(
                f"{len(numbers)} frames of {self.size[0]}x{self.size[1]} take {size / 1e9:.1f} GB "
                "at once",
                file=self.path,
                hint="read fewer, or make the video smaller",
            )
        self._check_unchanged()
        unique, row, back = np.unique(numbers, return_index=True, return_inverse=True)
        out = self._read(unique, row, len(numbers), threads)
        return out[row[back]] if len(unique) < len(numbers) else out

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame as `read` gives it."""
        return 3 * self.size[0] * self.size[1]

    def pieces(self, frame_numbers: ArrayLike, threads: int | None = None) -> Iterator[Frames]:
        """What `read` gives, a piece at a time: as many frames as fit into PIECE_BYTES, at least
        one."""
        numbers = np.asarray(frame_numbers).reshape(-1)
        count = max(1, PIECE_BYTES // self.frame_bytes)
        for first in range(0, len(numbers), count):
            yield self.read(numbers[first : first + count], threads)

    def _read(
        self, numbers: NDArray[np.int64], rows: NDArray[np.int64], count: int, threads: int | None
    ) -> Frames:
        """Frames `numbers` (ascending, no repeats) in `rows` of an array of `count`."""
        out = np.empty((count, self.size[1], self.size[0], 3), np.uint8)
        path, index = self.path, self._index

        def work(beat: limits.Beat) -> None:
            if index.seekable and reading.seek_into(path, index, numbers, out, rows, threads, beat):
                return
            wanted = dict(zip(numbers.tolist(), rows.tolist(), strict=True))
            reading.count_into(path, index, wanted, out, beat)

        limits.finished(path, work)
        return out

    def iter_frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frames]:
        """Frames start, start + 1, ... before `stop` (default: all), each (height, width, 3) uint8.

        One frame is in memory at a time. Raises VideoError if the file breaks or ends early, or a
        frame is damaged.
        """
        stop = self.frames if stop is None else stop
        if not 0 <= start <= stop <= self.frames:
            raise VideoError(
                f"frames {start} to {stop} were asked for, it has {self.frames}", file=self.path
            )
        self._check_unchanged()
        if start < stop:
            yield from self._in_order(start, stop)

    def _in_order(self, start: int, stop: int) -> Iterator[Frames]:
        return limits.in_time(
            self.path,
            lambda beat: reading.in_order(self.path, self._index, start, stop, beat),
        )

    def check(self) -> None:
        """Decode every frame once. VideoError if one is damaged or missing."""
        self._check_unchanged()
        limits.finished(self.path, lambda beat: reading.check_all(self.path, self._index, beat))

    def _check_unchanged(self) -> None:
        if file_state(self.path) != self._state:
            raise VideoError("the file has changed since it was opened", file=self.path)
