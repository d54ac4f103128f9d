"""What is done to each clip of an archive: read one by one, then computed in batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bodyjax.errors import DataError

Beat = Callable[[], None]
"""Called while something goes forward: a worker that does not call it for long counts as hung."""


class Answer(NamedTuple):
    """What was found in a clip.

    label: its class in a word, None if there is none; sure: how sure that is, in [0, 1], None if
    nothing can be said; result: everything, ready for JSON. Nothing in it depends on where the
    archive lies.
    """

    label: str | None
    sure: float | None
    result: dict[str, Any]


class Work(NamedTuple):
    """A checkpoint at work on clips. A task makes it (tasks/NAME.py, `archive`).

    read(file, beat): a clip as `run` takes it; DataError if it can't be used. A thread calls it
    ahead of `run`. run(clips, beat): the answer for each of 1 to `batch` clips, or the DataError
    that makes it a dead letter; it pads to `batch`, so that one compiled program serves all and a
    clip's answer does not depend on how many others there are. endings: the files that are taken
    from a folder. variables: a tree of all arrays that take part; the archive's fingerprint.
    """

    read: Callable[[Path, Beat], Any]
    run: Callable[[list[Any], Beat], list[Answer | DataError]]
    batch: int
    endings: tuple[str, ...]
    variables: Any
