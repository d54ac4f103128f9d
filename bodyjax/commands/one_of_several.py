"""One process of a training on several hosts, watched by a parent on its own host.

When another host fails, jax ends this process by a signal from C++ code, with pages of its own
messages and no way to say anything. The parent lives on and says it in one line.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import FrameType

WATCHED = "BODYJAX_WATCHED"
"""Variable of the environment in which the child knows that it has a parent."""
LOST = (
    "error: another process of this training has failed, or the way to it; "
    "start all of them again with the same commands: they go on from the last checkpoint"
)


def is_watched() -> bool:
    """Whether this process is the child."""
    return WATCHED in os.environ


def watch(arguments: Sequence[str]) -> int:
    """Runs `bodyjax train` with the same arguments in a child process; its exit code, or 2 after a
    line if a signal ended it. SIGTERM and Ctrl-C are passed on."""
    # A group of its own: Ctrl-C on the terminal reaches it once, through this process.
    child = subprocess.Popen(
        [sys.executable, "-m", "bodyjax", "train", *arguments],
        env={**os.environ, WATCHED: "1"}, stdin=subprocess.PIPE, process_group=0,
    )  # fmt: skip

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    code = child.wait()
    if code >= 0:
        return code
    print(LOST, file=sys.stderr)
    return 2


def end_with_parent() -> None:
    """In the child: ends this process as soon as the parent is gone, killed or not."""

    def wait() -> None:
        os.read(0, 1)  # nothing is ever written: this is the end of the pipe
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def give_up() -> None:
    """In the child, when an exchange with another process has failed: says so and ends at once. The
    ordinary end would wait for the others."""
    print(LOST, file=sys.stderr, flush=True)
    os._exit(2)
