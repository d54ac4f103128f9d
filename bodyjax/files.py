"""Files that are there whole or not at all, whenever the program is stopped; the cache folder."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from os import PathLike
from pathlib import Path

from bodyjax.errors import DataError


def write_text(file: str | PathLike[str], text: str) -> None:
    """Writes UTF-8 under a temporary name and renames it. DataError where that can't be done."""
    file = Path(file)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, file)
    except OSError as error:
        with suppress(OSError):  # such as a name that is too long
            temporary.unlink(missing_ok=True)
        raise DataError(f"can't be written ({error.strerror})", file=file) from None


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
