"""A training that fails before its first step leaves nothing that was not there."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STEPS, LOG = ("newest", "best"), "metrics.jsonl"
BEFORE_STEPS = (*STEPS, "frozen", "events", LOG)
"""What a training makes in its folder before its first step."""


@contextmanager
def without_trace(run: Path) -> Iterator[None]:
    """Makes a training's folder. Removes what the training has made in it, and the folders made for
    it, if it ends by an exception before it has logged or saved a step. What was there before
    stays, and so does everything while another training works there."""
    made = [part for part in (run / name for name in BEFORE_STEPS) if not os.path.exists(part)]
    folders = [folder for folder in (run, *run.parents) if not os.path.exists(folder)]
    held = None
    try:
        with suppress(OSError):  # whoever writes there says why it can't be made
            run.mkdir(parents=True, exist_ok=True)
        held = _shared(run)
        yield
    except BaseException:
        if not _has_steps(run) and _is_alone(held):
            with suppress(OSError):
                for part in made:
                    if part.is_dir():
                        shutil.rmtree(part, ignore_errors=True)
                    else:
                        part.unlink(missing_ok=True)
                for folder in folders:
                    folder.rmdir()  # only if it is empty
        raise
    finally:
        if held is not None:
            os.close(held)


def _shared(folder: Path) -> int | None:
    """The open folder with a lock that all trainings in it share; None on disks without locks."""
    try:
        held = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return None
    return held


def _is_alone(held: int | None) -> bool:
    """Whether nobody else holds the lock of `_shared`; True where there are none."""
    try:
        if held is not None:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _has_steps(run: Path) -> bool:
    saved = any(folder.name.isdigit() for part in STEPS for folder in (run / part).glob("*"))
    return saved or ((run / LOG).exists() and (run / LOG).stat().st_size > 0)
