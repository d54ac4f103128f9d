"""An archive on this machine: spawned processes that work on shards, and their supervisor.

The supervisor hands out shards, one at a time, through a pipe to each worker; it starts a worker
anew that has died or hangs, and notes which clip it had in hand (bodyjax.archive.marks). Nothing
listens on a port. Workers end with the supervisor, however that ends.
"""

from __future__ import annotations

import json
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from bodyjax.archive import child, marks, results
from bodyjax.archive import manifest as manifests
from bodyjax.archive.shard import Counts, do_shard
from bodyjax.archive.work import Work
from bodyjax.errors import UserError

PATIENCE = 300.0
"""Seconds without a sign of life after which a worker counts as hung: loading a checkpoint and
compiling its program give none, and take long on a busy machine."""
STARTS = 3
"""A worker that dies so often before its first shard, or on a shard without a clip to blame, ends
the job."""
LOOK = 0.5
"""Seconds between two looks at the heartbeats."""

Open = Callable[[], Work]
Say = Callable[[Counts], None]


@dataclass
class _Worker:
    """A process with the shard that it works on, "" if none, and its last sign of life."""

    process: SpawnProcess
    pipe: Connection
    key: str = ""
    ready: bool = False
    beat: int = 0
    alive: float = field(default_factory=time.monotonic)


def run(
    out: Path, root: Path, open_work: Open, workers: int, say: Say, patience: float = PATIENCE
) -> None:
    """Finishes all shards of the archive `out`, with `workers` processes that each call `open_work`
    (a function of a module, or a partial of one). `say` gets the counts of every shard when it is
    finished. Call it while the folder is locked (manifest.locked).

    Raises the UserError of a worker, and UserError if workers die without a clip to blame.
    """
    manifest = manifests.read(out)
    todo = deque(k for k in manifest.shard_keys() if not results.finished(out, k, manifest.kind))
    for key in todo:
        marks.forget_hand(out, key)  # of a job that was killed: nobody crashed
    crew: list[_Worker] = []
    failed = 0
    try:
        while todo or any(one.key for one in crew):
            for one in crew:
                if todo and one.ready and not one.key:
                    _hand_out(one, todo.popleft())
            busy = sum(bool(one.key) for one in crew)
            while len(crew) < min(workers, len(todo) + busy):
                crew.append(_start(out, root, open_work))
            wait([one.pipe for one in crew], LOOK)
            for one in list(crew):
                starting = not one.ready
                gone = _heard(one, out, say, patience)
                if gone is not None:
                    crew.remove(one)
                    failed = _mourned(one, out, gone, todo, failed)
                elif starting and one.ready:
                    failed = 0
    finally:
        for one in crew:  # those that are left have written what they had
            one.process.kill()
            one.process.join()


def _start(out: Path, root: Path, open_work: Open) -> _Worker:
    return _Worker(*child.start(_work, str(out), str(root), open_work))


def _hand_out(one: _Worker, key: str) -> None:
    one.key, one.beat, one.alive = key, 0, time.monotonic()
    with suppress(OSError):  # it has died, as will be heard
        one.pipe.send_bytes(key.encode())


def _heard(one: _Worker, out: Path, say: Say, patience: float) -> str | None:
    """Takes what a worker has to say; how it ended, None if it lives."""
    try:
        if one.pipe.poll():
            said = json.loads(one.pipe.recv_bytes())
            if "error" in said:
                raise UserError(said["error"])
            if one.key:
                say(Counts(**said))
            one.key, one.ready = "", True
            return None
    except (EOFError, OSError):
        one.process.join(5)
        one.process.kill()
        one.process.join()
        return _ended(one.process.exitcode)
    beat, now = marks.heartbeat(out, one.key), time.monotonic()
    if beat != one.beat:
        one.beat, one.alive = beat, now
    limit = patience if one.ready else max(patience, PATIENCE)  # a start under load takes long
    if now - one.alive <= limit or (one.ready and not one.key):
        return None
    one.process.kill()
    one.process.join()
    return f"no sign of life for {limit:g} s"


def _ended(code: int | None) -> str:
    known = {number.value: number.name for number in signal.Signals}
    return known.get(-(code or 0), f"exit code {code}")


def _mourned(one: _Worker, out: Path, how: str, todo: deque[str], failed: int) -> int:
    """Notes who is to blame for a dead worker, and puts its shard back. Returns how many workers in
    a row have died before their first shard. UserError if that, or a shard, can't go on."""
    if not one.ready:
        failed += 1
        if failed >= STARTS:
            raise UserError(f"workers can't start ({how})", hint="the lines above say why")
        return failed
    if not one.key:
        return failed
    known = marks.blame(out, one.key, how)
    if len(known.get(marks.NOBODY, ())) >= STARTS:
        what = f"workers die on it ({', '.join(known[marks.NOBODY])}), and no clip is to blame"
        marks.forget(out, one.key)  # the next job tries anew
        raise UserError(what, file=out, place=f"shard {one.key}", hint="fewer --workers need less")
    todo.appendleft(one.key)
    return failed


# ---- in the worker ----


def _work(pipe: Connection, out: str, root: str, open_work: Open) -> None:
    """Works on the shards that the pipe names, until it is closed."""
    child.settle()
    folder = Path(out)
    try:
        manifest, work = manifests.read(folder), open_work()
        pipe.send_bytes(json.dumps(Counts()._asdict()).encode())
        while True:
            key = pipe.recv_bytes().decode()
            counts = do_shard(folder, key, manifest, Path(root), work)
            pipe.send_bytes(json.dumps(counts._asdict()).encode())
    except UserError as error:
        pipe.send_bytes(json.dumps({"error": str(error)}).encode())
    except EOFError:  # the supervisor is gone
        return
