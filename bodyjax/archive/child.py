"""Processes that an archive starts: one pipe each, nothing of Ctrl-C, an end with their parent."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from bodyjax.data.read_ahead import end_with_parent


def start(work: Callable[..., None], *arguments: Any) -> tuple[SpawnProcess, Connection]:
    """Starts work(pipe, *arguments), a function of a module, in a process of its own; the process
    and our end of the pipe. `work` begins with `settle`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, *arguments), daemon=True)
    # Ctrl-C reaches the parent as well: a child that still imports would print a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return process, ours


def settle() -> None:
    """In the child: Ctrl-C is the parent's, SIGTERM ends it at once, and so does the parent's
    end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
