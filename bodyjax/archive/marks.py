"""What workers leave in the archive's folder while they work: signs of life, and crashes.

    work/00000.hand       the clips that a worker has in hand; its time is the heartbeat
    work/00000.crashes    for each clip how its readers died

A decoder that crashes takes the process with it, so only what was noted before can tell which clip
it was.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from bodyjax import files

TRIES = 2
"""A clip that has ended so many workers is not read again: a dead letter."""
NOBODY = ""
"""Stands for the clip where a worker died and no clip can be blamed."""
BEAT = 0.5
"""Seconds between two heartbeats at least."""


class Hand:
    """What a worker has in hand of a shard. The decoding thread uses it too."""

    def __init__(self, out: Path, key: str) -> None:
        self.file = out / "work" / f"{key}.hand"
        self._clips: list[str] = []
        self._lock, self._last = threading.Lock(), 0.0
        self._write()

    def take(self, clip: str) -> None:
        """Before something is done with a clip that may end the process."""
        with self._lock:
            self._clips.append(clip)
            self._write()

    def drop(self, clip: str) -> None:
        """After that."""
        with self._lock:
            self._clips.remove(clip)
            self._write()

    def beat(self) -> None:
        """Something goes forward."""
        if time.monotonic() - self._last > BEAT:
            self._last = time.monotonic()
            with suppress(OSError):
                os.utime(self.file)

    def _write(self) -> None:
        with files.whole(self.file) as temporary:
            temporary.write_text(json.dumps(self._clips), "utf-8")
        self._last = time.monotonic()


def heartbeat(out: Path, key: str) -> int:
    """A number that changes with every sign of life from the shard's worker."""
    try:
        return os.stat(out / "work" / f"{key}.hand").st_mtime_ns
    except OSError:
        return 0


def crashes(out: Path, key: str) -> dict[str, list[str]]:
    """How workers died on a shard, by the clip that they had in hand."""
    try:
        found = json.loads((out / "work" / f"{key}.crashes").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    known = isinstance(found, dict) and all(isinstance(how, list) for how in found.values())
    return {clip: [str(one) for one in how] for clip, how in found.items()} if known else {}


def left(out: Path, key: str) -> list[str] | None:
    """The clips that a worker had in hand when it died; None if none was at work."""
    try:
        found = json.loads((out / "work" / f"{key}.hand").read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return []
    return [str(clip) for clip in found] if isinstance(found, list) else []


def blame(out: Path, key: str, how: str) -> dict[str, list[str]]:
    """Notes that the shard's worker has died, against every clip that it had in hand; returns
    `crashes`. Several may have been in hand; a shard with crashes is read without reading ahead, so
    the next crash has one clip to blame."""
    found = crashes(out, key)
    for clip in left(out, key) or [NOBODY]:
        found.setdefault(clip, []).append(how)
    files.write_text(out / "work" / f"{key}.crashes", json.dumps(found))
    forget_hand(out, key)
    return found


def forget_hand(out: Path, key: str) -> None:
    """Nobody has the shard in hand."""
    (out / "work" / f"{key}.hand").unlink(missing_ok=True)


def forget(out: Path, key: str) -> None:
    """The shard is finished."""
    forget_hand(out, key)
    (out / "work" / f"{key}.crashes").unlink(missing_ok=True)
