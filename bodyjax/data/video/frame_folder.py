"""Videos as folders of numbered pictures, as cutting tools and data sets write them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodyjax import files
from bodyjax.data.pictures.images import read_image
from bodyjax.data.video.index import Index
from bodyjax.data.video.video import Frames, Video
from bodyjax.errors import DataError, VideoError

FRAME_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
RATE = 25
"""Frame rate of a folder, which states none: FFmpeg's default."""


@dataclass(frozen=True)
class FrameFolder(Video):
    """A folder of numbered pictures as a video. Made by `open_folder`."""

    files: tuple[Path, ...]

    def _read(
        self, numbers: NDArray[np.int64], rows: NDArray[np.int64], count: int, threads: int | None
    ) -> Frames:
        out = np.empty((count, self.size[1], self.size[0], 3), np.uint8)
        for number, row in zip(numbers.tolist(), rows.tolist(), strict=True):
            out[row] = self._picture(number)
        return out

    def _in_order(self, start: int, stop: int) -> Iterator[Frames]:
        return (self._picture(number) for number in range(start, stop))

    def check(self) -> None:
        """Read every picture once. VideoError if one is damaged or of another size."""
        for number in range(self.frames):
            self._picture(number)

    def _picture(self, number: int) -> Frames:
        image = _read_picture(self.files[number])
        if image.shape[1::-1] != self.size:
            raise VideoError(
                f"is {image.shape[1]}x{image.shape[0]}, the first {self.size[0]}x{self.size[1]}",
                file=self.files[number],
                hint="the picture size must not change inside a video",
            )
        return image

    def _check_unchanged(self) -> None:
        if _state(self.path, len(numbered_files(self.path))) != self._state:
            raise VideoError("the folder has changed since it was opened", file=self.path)


def open_folder(folder: Path) -> FrameFolder:
    """A folder of numbered pictures (`numbered_files`) as a video of RATE frames a second.

    The first picture is read. Raises VideoError if there is none, or a number is missing.
    """
    files = numbered_files(folder)
    if not files:
        raise VideoError("this is a folder", file=folder, hint="name a video or numbered pictures")
    height, width = _read_picture(files[0]).shape[:2]
    n = len(files)
    every = np.arange(n, dtype=np.int64)
    index = Index(
        pts=every,
        order=every,
        key_order=every,
        key_pts=every,
        time_base=Fraction(1, RATE),
        seekable=True,
        last=1,
        rate=Fraction(RATE),
        width=width,
        height=height,
        wide=width,
        turn=(False, False, False),
        kept=None,
        left_out=0,
    )
    size = (width, height)
    return FrameFolder(
        folder, n, float(RATE), size, n / RATE, 0, index, _state(folder, n), tuple(files)
    )


def is_one_video(folder: Path) -> bool:
    """Whether a folder holds the frames of one video: it contains pictures, and no video in it or
    below."""
    if any(files.is_video(file) for file in files.listed(folder, files.VIDEOS).files):
        return False
    seen = (file for file in folder.iterdir() if not file.name.startswith("."))
    return any(file.suffix.lower() in FRAME_ENDINGS for file in seen)


def numbered_files(folder: Path) -> list[Path]:
    """The pictures PREFIX + NUMBER + ENDING of a folder by their numbers, [] if there are none;
    other files and hidden ones are skipped.

    VideoError if pictures with several prefixes or endings are mixed, one has no number, a number
    occurs twice, or one between the first and the last is missing.
    """
    pictures = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in FRAME_ENDINGS and not file.name.startswith(".") and file.is_file()
    ]
    found: dict[int, Path] = {}
    kinds = set()
    matches = [re.fullmatch(r"(.*?)([0-9]+)", file.stem) for file in pictures]
    if not any(matches):
        return []
    for file, match in zip(pictures, matches, strict=True):
        if match is None:
            hint = "name the pictures by one word and their number: frame_0001.png, ..."
            raise VideoError("this picture of a folder has no number", file=file, hint=hint)
        kinds.add((match[1], file.suffix.lower()))
        number = int(match[2])
        if len(kinds) > 1 or number in found:
            hint = "keep the frames of one video in a folder"
            raise VideoError("this picture is of another series", file=file, hint=hint)
        found[number] = file
    numbers = sorted(found)
    for before, after in pairwise(numbers):
        if after != before + 1:
            raise VideoError(
                f"number {before + 1} is missing", file=folder, hint="number the frames anew"
            )
    return [found[number] for number in numbers]


def _read_picture(file: Path) -> Frames:
    try:
        return read_image(file)
    except DataError as error:
        raise VideoError(error.message, file=file) from None


def _state(folder: Path, count: int) -> tuple[int, int]:
    return count, os.stat(folder).st_mtime_ns
