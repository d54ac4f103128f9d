"""What is done to each clip of an archive: read one by one, then computed in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bodyjax import files
from bodyjax.data.pictures.images import read_image
from bodyjax.data.video.files import open_video
from bodyjax.errors import DataError

Beat = Callable[[], None]
"""Called while something goes forward: a worker that does not call it for long counts as hung."""

Item = TypeVar("Item")


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


# ---- what tasks share ----


def picture_or_video(file: Path, on_bad: str) -> np.ndarray | Path:
    """The pixels of a picture, (H, W, 3) uint8, or the name of a video that can be opened: its
    index is remembered, its frames are decoded while people are found. DataError for others."""
    if not (files.is_video(file) or file.is_dir()):
        return read_image(file)
    open_video(file, on_bad)
    return file


def beating(beat: Beat, items: Iterable[Item]) -> Iterator[Item]:
    """The same items, with a sign of life before each."""
    for item in items:
        beat()
        yield item


MANY = 5
"""From so many people on, the class is "5 or more people"."""


def people_seen(most: int, scores: Sequence[float], told: dict[str, Any]) -> Answer:
    """The answer of what finds people: how many (at once, in a video) is the class, the mean of
    their scores says how sure that is; nobody gives no `sure`."""
    label = "nobody" if not most else "1 person" if most == 1 else f"{most} people"
    if most >= MANY:
        label = f"{MANY} or more people"
    return Answer(label, float(np.mean(scores)) if scores else None, told)


def without_path(result: dict[str, Any]) -> dict[str, Any]:
    """A video's result without the place where it lies."""
    return {name: value for name, value in result.items() if name != "video"}
