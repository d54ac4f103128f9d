"""Heat maps of clips made once and stored: a frozen detector gives the same maps in every epoch.

The classifier is trained on heat maps of the trained detector (US 2020/0042776 A1, [0094]); with
stored maps, an epoch costs only the classifier's time. One folder of the cache holds the maps of
one detector, eight bits per value, one file per clip: splits of a set share them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bodyjax.contract import Variables
from bodyjax.data import affine
from bodyjax.data.clips import body_region, feed, stored, worn
from bodyjax.data.clips import folder as clips
from bodyjax.data.clips.feed import Clips, StoredMaps
from bodyjax.engine.digest import digest
from bodyjax.files import default_cache, remove_leftovers
from bodyjax.systems.movement import JOINTS, Movement

FRAMES_AT_ONCE = 16


def folder() -> Path:
    """The folder of the maps: $BODYJAX_CACHE, or else ~/.cache/bodyjax."""
    return default_cache() / "maps"


class Copy(NamedTuple):
    """What the detector sees in place of each clip: `words` name it in the cache; fitted(frames,
    index) gives the frames (T, H, W, 3) of clip number `index` in the size that the model sees."""

    words: tuple[Any, ...]
    fitted: Callable[[np.ndarray, int], np.ndarray]


def copies(
    source: Clips, system: Movement, detector: Variables, count: int, *,
    worn: int = 0, simulated: bool = False,
) -> list[StoredMaps]:  # fmt: skip
    """The maps (`ensure`) of `worn` worn copies of the clips (data.clips.worn) and, if asked for,
    of one simulated copy (data.clips.body_region); each copy apart."""
    size = system.settings.size
    changed = [worn_copy(source, size, number) for number in range(1, worn + 1)]
    if simulated:
        boxes = regions(source, system, detector, count)
        changed.append(simulated_copy(source, system, boxes))
    return [ensure(source, system, detector, count, copy) for copy in changed]


def joined(made: Sequence[StoredMaps]) -> StoredMaps:
    """The maps of several copies of the same clips as one source, one copy after the other."""
    if len(made) == 1:
        return made[0]
    rows = np.tile(np.arange(len(made[0])), len(made))
    name = hashlib.sha256(repr([one.fingerprint for one in made]).encode()).hexdigest()
    return StoredMaps(made[0].clips.take(rows), np.concatenate([one.maps for one in made]), name)


def original(size: tuple[int, int]) -> Copy:
    """The clips as they are."""
    return Copy((), lambda frames, index: warped(frames, affine.fit(frames.shape[1:3], size), size))


def worn_copy(source: Clips, size: tuple[int, int], number: int) -> Copy:
    """Worn copy number 1, 2, ... of each clip."""

    def fitted(frames: np.ndarray, index: int) -> np.ndarray:
        rng = generator(source, index, number)
        # What is done to more pixels than the model sees would hardly be seen, and takes long.
        last = frames.shape[1] * frames.shape[2] > size[0] * size[1]
        if not last:
            frames = worn.worn(frames, rng)
        frames = warped(frames, affine.fit(frames.shape[1:3], size), size)
        return worn.worn(frames, rng) if last else frames

    return Copy(("worn", worn.VERSION, number), fitted)


def simulated_copy(source: Clips, system: Movement, boxes: np.ndarray) -> Copy:
    """The simulated copy of each clip, zoomed or moved by its body's box, boxes (N, 4) of
    `regions`."""
    size = system.settings.size

    def fitted(frames: np.ndarray, index: int) -> np.ndarray:
        rng, (height, width) = generator(source, index, 0), frames.shape[1:3]
        box = boxes[index] if np.isfinite(boxes[index]).all() else None
        change = body_region.simulated_map(box, (height, width), rng)
        fill = int(rng.choice(body_region.FILLS))
        return warped(frames, affine.compose(affine.fit((height, width), size), change), size, fill)

    # The boxes follow from the detector, the size and the threshold.
    return Copy(("simulated", body_region.VERSION, system.settings.threshold), fitted)


def warped(
    frames: np.ndarray, matrix: np.ndarray, size: tuple[int, int], fill: int = affine.FILL
) -> np.ndarray:
    """Frames (T, H, W, 3) under one map, (T, *size, 3)."""
    return np.stack([affine.warp(frame, matrix, size, fill=fill) for frame in frames])


def generator(source: Clips, index: int, copy: int) -> np.random.Generator:
    """The random numbers of one copy of a clip, by the clip's name."""
    return np.random.default_rng([copy, *source.names[index].encode()])


def ensure(
    source: Clips, system: Movement, detector: Variables, count: int, copy: Copy | None = None
) -> StoredMaps:
    """The maps of `count` evenly spread frames of each clip, or of its `copy`, from the cache or
    made now.

    Each clip has its own file, written under a temporary name and renamed: a stopped run resumes
    where it was. Shows progress.
    """
    copy = copy or original(system.settings.size)
    words = (digest(detector), system.settings.size, count, *copy.words)
    place = folder() / hashlib.sha256(repr(words).encode()).hexdigest()[:24]
    place.mkdir(parents=True, exist_ok=True)
    stride = system.looker.model.stride
    shape = (count, system.settings.size[0] // stride, system.settings.size[1] // stride, JOINTS)
    files = [place / f"{stored.clip_key(source, i)}.npy" for i in range(len(source))]
    missing = [i for i, file in enumerate(files) if not stored.whole(file, shape)]
    if missing:
        remove_leftovers(place)
        make(source, system, detector, shape, files, missing, copy)
    maps = np.stack([np.load(file, allow_pickle=False) for file in files])
    name = hashlib.sha256(repr((words, source.fingerprint)).encode()).hexdigest()
    return StoredMaps(source, maps, name)


def regions(source: Clips, system: Movement, detector: Variables, count: int) -> np.ndarray:
    """The box (N, 4) of the body in each clip (body_region.body_region), in its pixels, by the
    highest points of the heat maps of `count` frames above the system's threshold; NaN if there are
    none."""
    maps = ensure(source, system, detector, count).maps
    joints = jax.jit(lambda maps: system.joints(maps.astype("float32") / 255))
    boxes = np.full((len(source), 4), np.nan)
    for i in range(len(source)):
        xy, score = map(np.asarray, joints(maps[i][None]))
        width, height = map(int, source[i]["size"])
        back = affine.inverse(affine.fit((height, width), system.settings.size))
        sure = score > system.settings.threshold
        box = body_region.body_region(affine.move(xy, back), sure, (height, width))
        if box is not None:
            boxes[i] = box
    return boxes


def make(
    source: Clips, system: Movement, detector: Variables, shape: tuple[int, ...],
    files: list[Path], missing: list[int], copy: Copy,
) -> None:  # fmt: skip
    """Writes the maps of a copy of the clips numbered `missing`."""
    one = jax.jit(lambda v, frames: (system.heatmaps(v, frames[None])[0] * 255 + 0.5).astype("u1"))

    def read(index: int) -> np.ndarray:
        example = source[index]
        numbers = feed.spread(int(example["length"]), shape[0], 1)[0]
        distinct, inverse = np.unique(numbers, return_inverse=True)
        return copy.fitted(clips.read_frames(example, distinct), index)[inverse]

    def write(index: int) -> None:
        frames, parts = read(index), []
        for first in range(0, shape[0], FRAMES_AT_ONCE):
            part = frames[first : first + FRAMES_AT_ONCE]
            padded = np.zeros((FRAMES_AT_ONCE, *part.shape[1:]), np.uint8)
            padded[: len(part)] = part
            parts.append(np.asarray(one(detector, padded))[: len(part)])
        stored.save(files[index], np.concatenate(parts))

    stored.make_all(write, missing, "heat maps")
