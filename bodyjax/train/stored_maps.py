"""Heat maps of clips made once and stored: a frozen detector gives the same maps in every epoch.

The classifier is trained on heat maps of the trained detector (US 2020/0042776 A1, [0094]); with
stored maps, an epoch costs only the classifier's time. One folder of the cache holds the maps of
one detector, eight bits per value, one file per clip: splits of a set share them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bodyjax.contract import Variables
from bodyjax.data import affine
from bodyjax.data.clips import feed, stored, worn
from bodyjax.data.clips import folder as clips
from bodyjax.data.clips.body_region import body_region
from bodyjax.data.clips.feed import Clips, StoredMaps
from bodyjax.engine.digest import digest
from bodyjax.files import default_cache, remove_leftovers
from bodyjax.systems.movement import JOINTS, Movement

FRAMES_AT_ONCE = 16


def folder() -> Path:
    """The folder of the maps: $BODYJAX_CACHE, or else ~/.cache/bodyjax."""
    return default_cache() / "maps"


def with_worn(
    source: Clips, system: Movement, detector: Variables, count: int, copies: int
) -> StoredMaps:
    """The maps of the clips (`ensure`), followed by those of `copies` worn copies of each."""
    made = [ensure(source, system, detector, count, copy) for copy in range(copies + 1)]
    if not copies:
        return made[0]
    rows = np.tile(np.arange(len(source)), len(made))
    name = hashlib.sha256(repr([one.fingerprint for one in made]).encode()).hexdigest()
    return StoredMaps(source.take(rows), np.concatenate([one.maps for one in made]), name)


def ensure(
    source: Clips, system: Movement, detector: Variables, count: int, copy: int = 0
) -> StoredMaps:
    """The maps of `count` evenly spread frames of each clip, from the cache or made now; of its
    worn copy number `copy` (data.clips.worn) if that is above 0.

    Each clip has its own file, written under a temporary name and renamed: a stopped run resumes
    where it was. Shows progress.
    """
    words: tuple[Any, ...] = (digest(detector), system.settings.size, count)
    if copy:
        words = (*words, "worn", worn.VERSION, copy)
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
    """The box (N, 4) of the body in each clip (`body_region`), in its pixels, by the highest points
    of the heat maps of `count` frames above the system's threshold; NaN if there are none."""
    maps = ensure(source, system, detector, count).maps
    joints = jax.jit(lambda maps: system.joints(maps.astype("float32") / 255))
    boxes = np.full((len(source), 4), np.nan)
    for i in range(len(source)):
        xy, score = map(np.asarray, joints(maps[i][None]))
        width, height = map(int, source[i]["size"])
        back = affine.inverse(affine.fit((height, width), system.settings.size))
        box = body_region(affine.move(xy, back), score > system.settings.threshold, (height, width))
        if box is not None:
            boxes[i] = box
    return boxes


def make(
    source: Clips, system: Movement, detector: Variables, shape: tuple[int, ...],
    files: list[Path], missing: list[int], copy: int = 0,
) -> None:  # fmt: skip
    """Writes the maps of the clips numbered `missing`, or of their worn copies."""
    one = jax.jit(lambda v, frames: (system.heatmaps(v, frames[None])[0] * 255 + 0.5).astype("u1"))

    def read(index: int) -> np.ndarray:
        example = source[index]
        numbers = feed.spread(int(example["length"]), shape[0], 1)[0]
        distinct, inverse = np.unique(numbers, return_inverse=True)
        frames = clips.read_frames(example, distinct)
        size = system.settings.size
        # What is done to more pixels than the model sees would hardly be seen, and takes long.
        last = frames.shape[1] * frames.shape[2] > size[0] * size[1]
        if copy and not last:
            frames = worn.worn(frames, generator(index))
        matrix = affine.fit(frames.shape[1:3], size)
        frames = np.stack([affine.warp(frame, matrix, size) for frame in frames])
        if copy and last:
            frames = worn.worn(frames, generator(index))
        return frames[inverse]

    def generator(index: int) -> np.random.Generator:
        return np.random.default_rng([copy, *source.names[index].encode()])

    def write(index: int) -> None:
        frames, parts = read(index), []
        for first in range(0, shape[0], FRAMES_AT_ONCE):
            part = frames[first : first + FRAMES_AT_ONCE]
            padded = np.zeros((FRAMES_AT_ONCE, *part.shape[1:]), np.uint8)
            padded[: len(part)] = part
            parts.append(np.asarray(one(detector, padded))[: len(part)])
        stored.save(files[index], np.concatenate(parts))

    stored.make_all(write, missing, "heat maps")
