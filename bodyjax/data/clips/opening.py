"""Which clips can be used: each is opened once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bodyjax.data import video
from bodyjax.data.opened_once import Learnt, Notes, open_once
from bodyjax.data.pictures.labelled import Manifest
from bodyjax.errors import VideoError

SKIP = 'data.on_bad="skip" (--on-bad skip) leaves it out'


class Clip(NamedTuple):
    """What a row needs of a clip: its number of frames, and their (width, height)."""

    frames: int
    size: tuple[int, int]


def open_clips(
    files: Sequence[Path], manifest: Manifest, on_bad: str, notes: Notes | None = None
) -> dict[int, Clip]:
    """The clips that can be read, by their row among the files, which lie below the manifest's
    folder. With on_bad="skip" they are decoded as well, and the others are named and counted in the
    manifest; with "raise" the first that can't be opened is a VideoError. notes: as in
    data.opened_once."""

    def look(name: str) -> Learnt | str:
        try:
            opened = video.open_video(places[name])
            if on_bad == "skip":
                opened.check()  # damage in the middle would end the run when it is met
        except VideoError as error:
            if on_bad == "raise":
                raise error.also(SKIP) from None
            return error.message
        return opened.frames, *opened.size

    names = [file.relative_to(manifest.file).as_posix() for file in files]
    places = dict(zip(names, files, strict=True))
    found = open_once(places, look, notes, "clip")
    readable = {}
    for row, name in enumerate(names):
        learnt = found[name]
        if isinstance(learnt, str):
            manifest.bad(str(places[name]), learnt)
        else:
            frames, width, height = learnt
            readable[row] = Clip(frames, (width, height))
    return readable
