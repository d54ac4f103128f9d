"""Small pictures of clips, made in a process of their own: a clip that crashes its decoder must not
end the command whose work is done."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
from PIL import Image

from bodyjax import files
from bodyjax.archive import child
from bodyjax.data.pictures.images import read_image
from bodyjax.data.video.files import open_video
from bodyjax.errors import DataError

TILE = (240, 160)
"""Width and height of a picture at most."""
_GOOD, _BAD = b"+", b"-"


def thumbnail(file: Path) -> bytes:
    """A picture, or the middle frame of a video, as a JPEG. DataError if it can't be read."""
    picture = Image.fromarray(_middle(file))
    picture.thumbnail(TILE)
    stream = io.BytesIO()
    picture.save(stream, "jpeg", quality=80)
    return stream.getvalue()


def _middle(file: Path) -> np.ndarray:
    if not (files.is_video(file) or file.is_dir()):
        return read_image(file)
    video = open_video(file)
    return video.read([video.frames // 2], threads=1)[0]


def thumbnails(
    clips: Sequence[Path], make: Callable[[Path], bytes] = thumbnail
) -> Iterator[bytes | str]:
    """make(clip) of each, or in words why there is none. `make`: a function of a module."""
    process: SpawnProcess | None = None
    pipe: Connection | None = None
    try:
        for clip in clips:
            if process is None or pipe is None:
                process, pipe = child.start(_serve, make)
            try:
                pipe.send_bytes(os.fsencode(clip))
                said = pipe.recv_bytes()
            except (EOFError, OSError):
                process.join()
                process = pipe = None
                yield "its decoder crashed"
                continue
            yield said[1:] if said[:1] == _GOOD else said[1:].decode("utf-8", "replace")
    finally:
        if process is not None:
            process.kill()
            process.join()


def _serve(pipe: Connection, make: Callable[[Path], bytes]) -> None:
    """Answers each path that the pipe names, until it is closed."""
    child.settle()
    try:
        while True:
            clip = Path(os.fsdecode(pipe.recv_bytes()))
            try:
                pipe.send_bytes(_GOOD + make(clip))
            except DataError as error:
                pipe.send_bytes(_BAD + error.message.encode("utf-8", "backslashreplace"))
    except EOFError:
        return
