"""Keeps Orbax' reports of a failure out of sight where an exception of ours says the same.

When a disk fills, Orbax raises in the calling thread, which gives the user one line. Beside that,
each of its threads logs the same with a traceback, and its store reports "Event loop is closed" for
every array it had in work, some of them only when the process ends: hundreds of lines. These two
kinds are dropped, and nothing else.
"""

from __future__ import annotations

import functools
import logging
import sys


@functools.cache
def hide() -> None:
    """From now on, for the whole process: Orbax' threads go on after a failure, and report late."""
    logging.getLogger("absl").addFilter(_is_other)
    before = sys.unraisablehook

    def hook(told: sys.UnraisableHookArgs) -> None:
        if not _is_late(told):
            before(told)

    sys.unraisablehook = hook


def _is_other(record: logging.LogRecord) -> bool:
    """Whether a log record is none of a thread of Orbax that failed."""
    return "_SignalingThread.run() raised" not in str(record.msg)


def _is_late(told: sys.UnraisableHookArgs) -> bool:
    """Whether Orbax' store, C++ code, tells the end of a write to a save that is over."""
    trace = told.exc_traceback
    outermost = trace.tb_frame.f_code.co_name if trace is not None else ""
    return outermost == "call_soon_threadsafe" and str(told.exc_value) == "Event loop is closed"
