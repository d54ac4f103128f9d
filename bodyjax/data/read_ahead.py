"""Reading ahead of the training loop: threads, a queue, and a limit on how long one example takes.

Everything here keeps the order of its input.
"""

from __future__ import annotations

import atexit
import dataclasses
import fcntl
import functools
import multiprocessing
import os
import queue
import shutil
import stat
import struct
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from bodyjax.contract import Source
from bodyjax.errors import DataError

Example = dict[str, np.ndarray]
Item = TypeVar("Item")


class Crew:
    """Daemon threads that stop together, on request and before the interpreter ends (a thread in a
    library's C++ code at that moment would abort the process)."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        _CREWS.add(self)

    def start(self, work: Callable[..., None], *arguments: Any) -> None:
        """Run work(*arguments) in a thread of its own."""
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Ask all to stop and wait for them, but not longer than that: one may hang."""
        self.stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))


_CREWS: weakref.WeakSet[Crew] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for crew in list(_CREWS):
        crew.stop()


def end_with_parent() -> None:
    """Ends this process, which another one spawned, as soon as that one is gone. Without it a
    process that waits for work outlives a parent that was killed (kill -9) and holds its memory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: Any) -> None:
    parent.join()
    os._exit(1)


def from_threads(
    read: Callable[[int], Example], first: int, last: int, share: int, crew: Crew
) -> Iterator[Example]:
    """Batches whose examples several threads read ahead, by one batch at most."""
    count = min(os.cpu_count() or 1, share, 16)
    lanes = [queue.Queue[Any](max(1, share // count)) for _ in range(count)]

    def run(lane: int) -> None:
        for position in range(first + lane, last, count):
            if crew.stopping.is_set():
                return
            if not _put(lanes[lane], _outcome(read, position), crew.stopping):
                return

    for lane in range(count):
        crew.start(run, lane)
    examples = []
    for position in range(first, last):
        outcome = _get(lanes[(position - first) % count], crew.stopping)
        if crew.stopping.is_set():
            return
        examples.append(_value(outcome))
        if len(examples) == share:
            yield stack(examples)
            examples = []


def in_background(
    batches: Iterator[Example],
    crew: Crew,
    watch: Watch,
    source: Source,
    timeout_s: float,
) -> Iterator[Example]:
    """The same batches, taken by a thread ahead of the caller, with a limit on waiting."""
    ready: queue.Queue[Any] = queue.Queue(1)

    def run() -> None:
        while not crew.stopping.is_set():
            outcome = _outcome(next, batches)
            if not _put(ready, outcome, crew.stopping) or isinstance(outcome, _Failure):
                return

    crew.start(run)
    while True:
        waiting = time.monotonic()
        while True:
            try:
                outcome = ready.get(timeout=min(1.0, timeout_s / 4))
                break
            except queue.Empty:
                _check(watch, source, timeout_s, time.monotonic() - waiting)
        if isinstance(outcome, _Failure) and isinstance(outcome.error, StopIteration):
            return
        yield _value(outcome)


def taken_ahead(items: Iterator[Item], count: int = 2) -> Iterator[Item]:
    """The same items, made by a thread up to `count` ahead of the caller. An error arrives in its
    place in the order; the thread ends when the caller stops asking."""
    ready: queue.Queue[Any] = queue.Queue(count)
    crew = Crew()

    def run() -> None:
        outcome = None
        while not isinstance(outcome, _Failure):
            outcome = _outcome(next, items)
            if not _put(ready, outcome, crew.stopping):
                return

    crew.start(run)
    try:
        while True:
            outcome = ready.get()
            if isinstance(outcome, _Failure) and isinstance(outcome.error, StopIteration):
                return
            yield _value(outcome)
    finally:
        crew.stop()


def _check(watch: Watch, source: Source, timeout_s: float, waited: float) -> None:
    """Raise DataError if one example takes too long, or nothing is read at all."""
    longest = watch.longest()
    if longest and longest[1] > timeout_s:
        name = source.name(longest[0])
        raise DataError(f"{name} takes more than {timeout_s:g} s to read; its reader hangs")
    if longest is None and waited > timeout_s + 60:
        raise DataError(f"nothing was read for {waited:.0f} s; the readers hang")


@dataclasses.dataclass(frozen=True)
class _Failure:
    error: BaseException


def _outcome(call: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return call(argument)
    except BaseException as error:
        return _Failure(error)


def _value(outcome: Any) -> Any:
    if not isinstance(outcome, _Failure):
        return outcome
    if isinstance(outcome.error, RuntimeError) and "Worker process" in str(outcome.error):
        raise DataError(f"a reading process ended: {outcome.error}") from outcome.error
    raise outcome.error


def _put(lane: queue.Queue[Any], item: Any, stopping: threading.Event) -> bool:
    while not stopping.is_set():
        try:
            lane.put(item, timeout=0.2)
            return True
        except queue.Full:
            pass
    return False


def _get(lane: queue.Queue[Any], stopping: threading.Event) -> Any:
    while not stopping.is_set():
        try:
            return lane.get(timeout=0.2)
        except queue.Empty:
            pass
    return None


WATCHED, LOCK = "bodyjax-stream-", "lock"
"""The folder of a `Watch` begins so; the process that made it holds a lock on this file in it."""
ABANDONED_SECONDS = 600.0
"""A folder younger than this may not have its lock yet."""


def claimed(folder: str) -> IO[bytes]:
    """The file in the folder of a `Watch` that this process holds a lock on, until it is closed or
    the process has ended, killed or not."""
    held = open(Path(folder, LOCK), "wb")  # noqa: SIM115 (lives as long as the folder)
    with suppress(OSError):  # no locks on this disk: then nobody gets one, and nothing is removed
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return held


@functools.cache
def remove_abandoned() -> None:
    """Removes, once in a process, the folders of this user's streams whose process was killed: they
    have a lock that nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{WATCHED}*"):
        with suppress(OSError):  # held, without a lock, or removed by another process now
            about = folder.lstat()
            old = time.time() - about.st_mtime > ABANDONED_SECONDS
            if old and stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid():
                with (folder / LOCK).open("rb") as held:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)


class Watch:
    """What each reader is doing, in one small file per thread, so that other processes can see
    it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._mine = threading.local()

    def __getstate__(self) -> str:
        return self.folder

    def __setstate__(self, folder: str) -> None:
        self.folder = folder
        self._mine = threading.local()  # the files of another process's threads stay there

    def begin(self, index: int) -> None:
        """This thread starts to read an example."""
        if not hasattr(self._mine, "file"):
            path = Path(self.folder, f"{os.getpid()}-{threading.get_ident()}")
            self._mine.file = open(path, "wb", buffering=0)  # noqa: SIM115 (lives with the thread)
        self._write(index)

    def end(self) -> None:
        """This thread has read it."""
        self._write(-1)

    def _write(self, index: int) -> None:
        os.pwrite(self._mine.file.fileno(), struct.pack("<qd", index, time.monotonic()), 0)

    def longest(self) -> tuple[int, float] | None:
        """Index of the example that has been in reading for longest, and for how many seconds."""
        now, found = time.monotonic(), []
        for file in Path(self.folder).iterdir():
            data = file.read_bytes()
            if len(data) == 16:
                index, since = struct.unpack("<qd", data)
                if index >= 0:
                    found.append((now - since, index))
        return (max(found)[1], max(found)[0]) if found else None


def stack(examples: Sequence[Example]) -> Example:
    """Examples as one batch; DataError if their names or shapes differ."""
    first = examples[0]
    for example in examples:
        if example.keys() != first.keys():
            raise DataError(f"examples with {sorted(first)} and {sorted(example)} in one batch")
    try:
        return {name: np.stack([example[name] for example in examples]) for name in first}
    except ValueError:
        name = next(n for n in first if len({np.shape(e[n]) for e in examples}) > 1)
        shapes = sorted({np.shape(example[name]) for example in examples})
        raise DataError(f"{name} has shapes {shapes[0]} and {shapes[1]} in one batch") from None
