"""The movements in all videos of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bodyjax.data.read_ahead import taken_ahead
from bodyjax.errors import VideoError
from bodyjax.recognize.recognizer import (
    Clip,
    FilePath,
    Recognizer,
    of_clip,
    read_clip,
    recognize_long,
    video_files,
)


def recognize_folder(
    recognizer: Recognizer, folder: FilePath, window: float | None = None, on_bad: str = "raise"
) -> Iterator[dict[str, Any]]:
    """One result per video in a folder and its subfolders, in the order of their names.

    A file that can't be used gives {"video", "error"}, and the next one follows. With `window`
    seconds, each result is that of `recognize_long`. DataError if no file has a video's ending.
    """
    if window is None:
        yield from _short_videos(recognizer, video_files(folder), on_bad)
        return
    for file in video_files(folder):
        try:
            yield recognize_long(recognizer, file, window, on_bad=on_bad)
        except VideoError as error:
            yield {"video": str(file), "error": error.message}


def _short_videos(
    recognizer: Recognizer, files: list[Path], on_bad: str
) -> Iterator[dict[str, Any]]:
    """Decodes the next file while the device works on this one."""

    def read() -> Iterator[tuple[Path, Clip | VideoError]]:
        for file in files:
            try:
                yield file, read_clip(recognizer, file, on_bad)
            except VideoError as error:
                yield file, error

    for file, clip in taken_ahead(read()):
        if isinstance(clip, VideoError):
            yield {"video": str(file), "error": clip.message}
        else:
            yield of_clip(recognizer, clip)
