"""A time limit around every decode: a file on which a decoder stands still ends in one line.

Decoders are C code that nothing can interrupt, so they work in a thread of their own, and whoever
waits for it gives up after LIMIT seconds without progress.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from bodyjax.data.read_ahead import Crew
from bodyjax.errors import VideoError

LIMIT = 60.0
"""Seconds without any progress after which a decoder is taken to stand still."""

Item = TypeVar("Item")


class Beat:
    """When something was last read or decoded; whoever works calls it."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self) -> None:
        self.last = time.monotonic()


def finished(path: Path, work: Callable[[Beat], Item]) -> Item:
    """work(beat), in a thread. VideoError where it does not call `beat` for LIMIT seconds."""
    beat, crew, answer = Beat(), Crew(), queue.SimpleQueue[tuple[Any, BaseException | None]]()

    def run() -> None:
        try:
            answer.put((work(beat), None))
        except BaseException as error:
            answer.put((None, error))

    crew.start(run)
    while True:
        try:
            value, error = answer.get(timeout=max(beat.last + LIMIT - time.monotonic(), 0.05))
        except queue.Empty:
            if time.monotonic() - beat.last >= LIMIT:
                raise _standing(path) from None
            continue
        if error is not None:
            raise error
        found: Item = value
        return found


def in_time(path: Path, items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made by a thread when it is asked for. VideoError where one takes longer
    than LIMIT seconds."""
    crew, asked = Crew(), threading.Semaphore(0)
    answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        while asked.acquire() and not crew.stopping.is_set():
            try:
                answer.put((next(items), None))
            except BaseException as error:
                answer.put((None, error))
                return
        close = getattr(items, "close", None)
        if close is not None:
            close()

    crew.start(run)
    stands = False
    try:
        while True:
            asked.release()
            try:
                value, error = answer.get(timeout=LIMIT)
            except queue.Empty:
                stands = True
                raise _standing(path) from None
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield value
    finally:
        crew.stopping.set()
        asked.release()
        if not stands:
            crew.stop()


def _standing(path: Path) -> VideoError:
    return VideoError(
        f"reading stands still for {LIMIT:g} s", file=path, hint="the file or its disk is damaged"
    )
