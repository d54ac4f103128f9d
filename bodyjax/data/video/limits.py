"""A time limit around every decode, of videos and of pictures: a file on which a decoder stalls
gives a one-line error.

Decoders are C code that nothing can interrupt, so they run in their own thread, and the waiting
caller gives up after LIMIT seconds without progress.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from bodyjax.data.read_ahead import Crew
from bodyjax.errors import DataError, VideoError

LIMIT = 60.0
"""Seconds without any progress after which a decoder counts as stalled."""

Item = TypeVar("Item")


class Beat:
    """When something was last read or decoded; the working thread calls it."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self) -> None:
        self.last = time.monotonic()


def finished(path: Path, work: Callable[[Beat], Item], kind: type[DataError] = VideoError) -> Item:
    """work(beat), in a thread. An error of this kind if it does not call `beat` for LIMIT
    seconds."""
    beat, crew, answers = Beat(), Crew(), _Answers()

    def run() -> None:
        try:
            answers.put((work(beat), None))
        except BaseException as error:
            answers.put((None, error))

    crew.start(run)
    value: Item = _awaited(path, answers, beat, kind)
    return value


def in_time(path: Path, make: Callable[[Beat], Iterator[Item]]) -> Iterator[Item]:
    """The items of make(beat), each made by a thread on request. VideoError if `beat` is not called
    for LIMIT seconds meanwhile."""
    beat, crew, answers = Beat(), Crew(), _Answers()
    items, asked = make(beat), threading.Semaphore(0)

    def run() -> None:
        while asked.acquire() and not crew.stopping.is_set():
            try:
                answers.put((next(items), None))
            except StopIteration:
                answers.put((_END, None))
                return
            except BaseException as error:
                answers.put((None, error))
                return
        close = getattr(items, "close", None)
        if close is not None:
            close()

    crew.start(run)
    stands = True
    try:
        while True:
            beat()  # whoever takes the items may have been long
            asked.release()
            value = _awaited(path, answers, beat)
            if value is _END:
                return
            stands = False
            yield value
            stands = True
    finally:
        crew.stopping.set()
        asked.release()
        if not stands:
            crew.stop()


_Answers = queue.SimpleQueue[tuple[Any, BaseException | None]]
_END = object()


def _awaited(path: Path, answers: _Answers, beat: Beat, kind: type[DataError] = VideoError) -> Any:
    """The thread's result, or the exception that it raises."""
    while True:
        try:
            value, error = answers.get(timeout=max(beat.last + LIMIT - time.monotonic(), 0.05))
        except queue.Empty:
            if time.monotonic() - beat.last < LIMIT:
                continue
            what = f"reading stands still for {LIMIT:g} s"
            raise kind(what, file=path, hint="the file or its disk is damaged") from None
        if error is not None:
            raise error
        return value
