"""The cache folder, and names under which files are written there before they are whole."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

LEFTOVER_SECONDS = 3600.0
"""A temporary file that was last written so long ago is left over."""


def default_cache() -> Path:
    """$BODYJAX_CACHE, else ~/.cache/bodyjax."""
    return Path(os.environ.get("BODYJAX_CACHE") or Path.home() / ".cache" / "bodyjax")


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path`, with its ending, that no other process or thread writes to."""
    writer = f"{os.getpid()}-{threading.get_native_id()}"
    return path.with_name(f".{path.stem}.{writer}.tmp{path.suffix}")


def remove_leftovers(root: Path) -> None:
    """Removes temporary files of runs that were killed. Nobody writes one for an hour: younger ones
    may be another process's, here or on a machine that shares the folder."""
    for leftover in root.rglob(".*.tmp*"):
        with suppress(FileNotFoundError):  # finished or removed by another one meanwhile
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                leftover.unlink()
