"""Decoding the wanted frames of a file, and as little else as possible.

Each wanted frame is reached from the nearest keyframe before it, with one seek per needed group of
pictures, or by one run through the file if seeking would save little. On the way, frames that no
other frame refers to are not decoded, and only wanted frames are turned into RGB. The landing of
every seek and the arrival of every frame are checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodyjax.data.video.index import Index, decoded, marked
from bodyjax.data.video.limits import Beat
from bodyjax.data.video.opening import SALVAGE, opened
from bodyjax.errors import VideoError

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class _Run:
    """Decode from the keyframe at `key_pts` until the packets of all `wanted` have gone in."""

    key_pts: int
    wanted: dict[int, int]  # presentation time -> row of the answer
    cost: int  # packets


def seek_into(
    path: Path,
    index: Index,
    numbers: NDArray[np.int64],
    out: Frames,
    rows: NDArray[np.int64],
    threads: int | None,
    beat: Beat,
) -> bool:
    """Frames `numbers` (ascending, no repeats) into `out[rows]`; False where one is missed."""
    threads = threads or min(_cores(), 4)
    shares, thread_type = _share(_plan(index, numbers, rows), index, threads)

    def work(share: list[_Run]) -> bool:
        with opened(path) as (container, stream, decoder):
            decoder.thread_type = thread_type
            decoder.thread_count = threads
            return all(
                _decode_run(container, stream, decoder, run, index, path, out, beat)
                for run in share
            )

    if len(shares) == 1:
        return work(shares[0])
    with ThreadPoolExecutor(len(shares)) as pool:
        return all(list(pool.map(work, shares)))


def count_into(path: Path, index: Index, wanted: dict[int, int], out: Frames, beat: Beat) -> None:
    """Frames into rows of `out`, {number: row}, by decoding the file from its start."""
    for number, frame, sound in numbered(path, index, 0, max(wanted) + 1, beat):
        if number in wanted:
            check(path, index, number, sound)
            out[wanted[number]] = rgb(frame, index, path)


def in_order(path: Path, index: Index, start: int, stop: int, beat: Beat) -> Iterator[Frames]:
    """Frames start, start + 1, ... before `stop`, each (height, width, 3) uint8."""
    found = _after_seek(path, index, start, stop, beat) if index.seekable and start else None
    if found is None:
        found = numbered(path, index, 0, stop, beat)
    for number, frame, sound in found:
        if number >= start:
            check(path, index, number, sound)
            yield np.ascontiguousarray(rgb(frame, index, path))


def check_all(path: Path, index: Index, beat: Beat) -> None:
    """VideoError if a frame is damaged or missing; decodes the file once."""
    for number, _, sound in numbered(path, index, 0, len(index.pts), beat):
        check(path, index, number, sound)


def check(path: Path, index: Index, number: int, sound: bool) -> None:
    """VideoError if a frame is not whole."""
    if not sound:
        raise VideoError("is damaged", file=path, place=f"frame {number}", hint=SALVAGE)


def numbered(
    path: Path, index: Index, start: int, stop: int, beat: Beat, key_pts: int | None = None
) -> Iterator[tuple[int, Any, bool]]:
    """(number, decoded frame, whether it is whole) of all frames from `start` on and before `stop`,
    from the start of the file or a seek to `key_pts`. VideoError if one is missing."""
    salvage = index.kept is not None
    with opened(path, strict=salvage) as (container, stream, decoder):
        decoder.thread_type = "NONE" if salvage else "AUTO"
        if key_pts is not None:
            container.seek(key_pts, stream=stream, backward=True)
        from_key = salvage or len(index.key_order) > 0
        frames = marked(decoded(container, stream, decoder, salvage, from_key))
        for count, (frame, sound) in enumerate(frames):
            beat()
            number = _number(index, count, frame)
            if number is None or number < start:
                continue
            if number != start:
                break
            yield number, frame, sound
            start += 1
            if start >= stop:
                return
    raise VideoError(
        "can't be decoded",
        file=path,
        place=f"frame {start} of {len(index.pts)}",
        hint=f"the file is damaged; {SALVAGE}",
    )


def _number(index: Index, count: int, frame: Any) -> int | None:
    """The number of a frame, by its time or as the `count`-th of the decoder; None: not shown."""
    if index.kept is not None:
        place = int(np.searchsorted(index.kept, count))
        return place if place < len(index.kept) and index.kept[place] == count else None
    if not index.seekable:
        return count
    if frame.pts is None:
        return None
    place = int(np.searchsorted(index.pts, frame.pts))
    return place if place < len(index.pts) and index.pts[place] == frame.pts else None


def _after_seek(
    path: Path, index: Index, start: int, stop: int, beat: Beat
) -> Iterator[tuple[int, Any, bool]] | None:
    """`numbered` from `start` on, reached by a seek; None if it lands elsewhere."""
    [run] = _plan(index, np.array([start]), np.array([0]))
    frames = numbered(path, index, start, stop, beat, run.key_pts)
    try:
        first = next(frames)
    except VideoError:
        return None
    return _with_first(first, frames) if first[2] else None


def _with_first(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from others


# ---------------------------------------------------------------------------------------- seeking


def _plan(index: Index, numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> list[_Run]:
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


def _share(runs: list[_Run], index: Index, threads: int) -> tuple[list[list[_Run]], str]:
    """Runs for each decoder, and how a decoder uses threads.

    Seeks make a decoder's frame threads expensive, so many short runs go to several decoders, each
    without threads; one long run goes to one decoder with frame threads. Small jobs are not split.
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
    container: Any,
    stream: Any,
    decoder: Any,
    run: _Run,
    index: Index,
    path: Path,
    out: Frames,
    beat: Beat,
) -> bool:
    """Decode one run into its rows of `out`; False if the seek or a frame went astray, or the
    decoder marks a frame as damaged."""
    container.seek(run.key_pts, stream=stream, backward=True)
    if decoder.is_open:  # the end of the run before was its end
        decoder.flush_buffers()
    missing, waiting, landed, sound = dict(run.wanted), set(run.wanted), False, True

    def keep(frames: Iterable[Any]) -> None:
        nonlocal sound
        for frame in frames:
            # What is shown before the keyframe may build on what was not read, and is not wanted.
            sound = sound and not (
                frame.is_corrupt and (frame.pts is None or frame.pts >= run.key_pts)
            )
            row = missing.pop(frame.pts, None)
            if row is not None:
                out[row] = rgb(frame, index, path)

    for packet in container.demux(stream):
        beat()
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
    return sound and not missing


def rgb(frame: Any, index: Index, path: Path) -> Frames:
    """A decoded frame as (height, width, 3) uint8 RGB, the right way up, with square pixels."""
    if (frame.width, frame.height) != (index.width, index.height):
        raise VideoError(
            f"a frame is {frame.width}x{frame.height}, the first {index.width}x{index.height}",
            file=path,
            hint="the picture size must not change inside a video",
        )
    plane = frame.reformat(width=index.wide, format="rgb24", threads=1).planes[0]
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
    image = lines[:, : index.wide * 3].reshape(frame.height, index.wide, 3)
    transpose, left_right, top_bottom = index.turn
    if transpose:
        image = image.swapaxes(0, 1)
    return image[:: -1 if top_bottom else 1, :: -1 if left_right else 1]
