"""Pictures and clips of the held-out sides, drawn by a seed, for a look by eye (docs/verdicts.md):

    python -m bodyjax.bench.look --data DATA --seed 17 --out FOLDER

DATA holds multi, lspet and jhmdb. FOLDER gets, for every picture, NN_SET_NAME.jpg (without and with
its people, side by side), for every clip NN_SET_NAME.jpg (eight frames, evenly spread) and
NN_SET_NAME_all.jpg (all frames, small), and sheets of four pictures: sheet_NN.jpg. People are those
that launch.detect shows by default.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from bodyjax import detect, draw
from bodyjax.data import affine, sets
from bodyjax.data.video.files import open_video
from bodyjax.detect.detector import Detector
from bodyjax.detect.videos import without_weak
from bodyjax.errors import UserError
from bodyjax.skeleton import COCO17

LOTS = {"multi": 20, "lspet": 20, "jhmdb": 10}
"""How many of each set are drawn, in this order."""
PICTURE, FRAME, SMALL = 720, 384, 192
"""Longest side in pixels: of a picture, a clip's frame on its sheet, and among all frames."""
SPREAD = 8
"""Frames of a clip's sheet."""

Opens = Path | Callable[[], np.ndarray]
"""A clip's file, or what reads a picture."""


def candidates(data: str | PathLike[str]) -> dict[str, dict[str, Opens]]:
    """The candidates of each set, by name: complete test pictures of multi, held-out ones of lspet,
    test clips of JHMDB's split 1. DataError if a set is missing."""
    root = Path(data)
    multi, lspet = (sets.open_set(root / name, "test") for name in ("multi", "lspet"))
    clips = sets.open_set(root / "jhmdb", "1:test")
    complete = [people.complete for people in multi.people]
    names = [name for name, whole in zip(multi.names, complete, strict=True) if whole]
    return {
        "multi": {name: partial(multi.files.image, name) for name in names},
        "lspet": {name: partial(lspet.files.image, name) for name in lspet.names},
        "jhmdb": dict(zip(clips.names, clips.files, strict=True)),
    }


def lots(
    there: Mapping[str, Iterable[str]], counts: Mapping[str, int], seed: int
) -> list[tuple[str, str]]:
    """(set, name) of each draw: `counts` of each set in turn from its sorted names, without
    replacement, by one generator; all of a set that has no more than that."""
    rng = np.random.default_rng(seed)
    out = []
    for kind, count in counts.items():
        names = sorted(there[kind])
        rows = rng.choice(len(names), min(count, len(names)), replace=False)
        out += [(kind, names[row]) for row in rows]
    return out


def picture(detector: Detector, image: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 enlarged, without and with its people, side by side."""
    people = detect.find(detector, image)
    sure = np.where(people.found, people.scores, 0.0)
    drawn = shown(image, people.xy, sure, PICTURE)
    return np.concatenate([enlarged(image, PICTURE), drawn], axis=1)


def clip(detector: Detector, file: str | PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """The sheets of a clip: SPREAD frames evenly spread, and all frames, with people's numbers."""
    video = open_video(file)
    frames, _ = without_weak(detect.in_video(detector, video), detector.settings.min_person)
    images = list(video.iter_frames())
    rows = np.unique(np.round(np.linspace(0, len(images) - 1, SPREAD)).astype(int))

    def drawn(which: Sequence[int], side: int) -> list[np.ndarray]:
        shots = [
            shown(images[i], frames[i].xy, frames[i].shown, side, frames[i].identity.tolist())
            for i in which
        ]
        return [draw.label(shot, [str(i)]) for i, shot in zip(which, shots, strict=True)]

    return sheet(drawn(rows.tolist(), FRAME), 4), sheet(drawn(range(len(images)), SMALL), SPREAD)


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """The picture with a longest side of `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def shown(
    image: np.ndarray,
    xy: np.ndarray,
    score: np.ndarray,
    side: int,
    numbers: Sequence[int] | None = None,
) -> np.ndarray:
    """The picture enlarged, its people drawn as launch.detect does: xy (P, 17, 2) in its pixels,
    score (P, 17), 0 for joints that are not drawn, and in a video each one's number."""
    large = enlarged(image, side)
    scale = np.array(large.shape[1::-1]) / np.array(image.shape[1::-1])
    moved = (xy + 0.5) * scale - 0.5  # pixels' centres are whole numbers
    return draw.skeletons(large, moved, score, COCO17, numbers=numbers)


def sheet(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures (h, w, 3) in rows of `columns`, grey between and around those that are smaller."""
    height, width = (max(tile.shape[axis] for tile in tiles) + 4 for axis in (0, 1))
    rows = math.ceil(len(tiles) / columns)
    out = np.full((rows * height, columns * width, 3), affine.FILL, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height, i % columns * width
        out[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return out


def write(
    detector: Detector,
    there: Mapping[str, Mapping[str, Opens]],
    drawn: Sequence[tuple[str, str]],
    out: str | PathLike[str],
) -> None:
    """All files of the module's docstring, and a line on stdout for each drawn (set, name)."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    tiles = []
    for number, (kind, name) in enumerate(drawn, 1):
        stem = f"{number:02d}_{kind}_{Path(name).stem}"
        source = there[kind][name]
        if isinstance(source, Path):
            few, every = clip(detector, source)
            _save(few, folder / f"{stem}.jpg")
            _save(every, folder / f"{stem}_all.jpg")
        else:
            pair = picture(detector, source())
            _save(pair, folder / f"{stem}.jpg")
            small = enlarged(pair, 2 * FRAME)
            tiles.append(draw.label(small, [f"{number} {name}"]))
        print(f"{number:02d} {kind} {name}", flush=True)
    for first in range(0, len(tiles), 4):
        _save(sheet(tiles[first : first + 4], 2), folder / f"sheet_{first // 4 + 1:02d}.jpg")


def _save(image: np.ndarray, file: Path) -> None:
    Image.fromarray(image).save(file, quality=90)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bodyjax.bench.look", description=__doc__)
    parser.add_argument("--data", required=True, help="the folder of multi, lspet and jhmdb")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--out", required=True, help="a folder for the sheets")
    options = parser.parse_args(arguments)
    try:
        there = candidates(options.data)
        detector = detect.load("small", second="large")
        write(detector, there, lots(there, LOTS, options.seed), options.out)
    except UserError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
