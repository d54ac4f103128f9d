"""Heat maps of clips made once and stored: a frozen detector gives the same maps in every epoch.

The classifier is trained on heat maps of the trained detector (US 2020/0042776 A1, [0094]); with
the maps stored, an epoch costs what the classifier costs. One folder of the cache holds the maps of
one detector, eight bits a value, a file a clip: splits of a set share them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from bodyjax.cache import default_cache, remove_leftovers, temporary_name
from bodyjax.contract import Variables
from bodyjax.data import affine, clip_feed, clips
from bodyjax.data.clip_feed import Clips, StoredMaps
from bodyjax.data.clips import ClipFolder
from bodyjax.systems.movement import JOINTS, Movement

FRAMES_AT_ONCE = 16
CLIPS_AT_ONCE = 2
"""One program keeps a CPU's second core half idle; two beside each other do not."""


def folder() -> Path:
    """Where maps are kept: $BODYJAX_CACHE, else ~/.cache/bodyjax."""
    return default_cache() / "maps"


def ensure(source: Clips, system: Movement, detector: Variables, count: int) -> StoredMaps:
    """The maps of `count` evenly spread frames of each clip, from the cache or made now.

    Each clip is a file of its own, written under a temporary name and renamed: a stopped run goes
    on where it was. Shows progress.
    """
    words = (digest(detector), system.size, count)
    place = folder() / hashlib.sha256(repr(words).encode()).hexdigest()[:24]
    place.mkdir(parents=True, exist_ok=True)
    stride = system.detector.model.stride
    shape = (count, system.size[0] // stride, system.size[1] // stride, JOINTS)
    files = [place / f"{clip_key(source, i)}.npy" for i in range(len(source))]
    missing = [i for i, file in enumerate(files) if not whole(file, shape)]
    if missing:
        remove_leftovers(place)
        make(source, system, detector, shape, files, missing)
    maps = np.stack([np.load(file, allow_pickle=False) for file in files])
    name = hashlib.sha256(repr((words, source.fingerprint)).encode()).hexdigest()
    return StoredMaps(source, maps, name)


def make(
    source: Clips, system: Movement, detector: Variables, shape: tuple[int, ...],
    files: list[Path], missing: list[int],
) -> None:  # fmt: skip
    """Writes the maps of the clips numbered `missing`."""
    one = jax.jit(lambda v, frames: (system.heatmaps(v, frames[None])[0] * 255 + 0.5).astype("u1"))

    def read(index: int) -> np.ndarray:
        example = source[index]
        numbers = clip_feed.spread(int(example["length"]), shape[0], 1)[0]
        distinct, inverse = np.unique(numbers, return_inverse=True)
        frames = clips.read_frames(example, distinct)
        matrix = affine.fit(frames.shape[1:3], system.size)
        return np.stack([affine.warp(f, matrix, system.size) for f in frames])[inverse]

    def write(index: int) -> None:
        frames, parts = read(index), []
        for first in range(0, shape[0], FRAMES_AT_ONCE):
            part = frames[first : first + FRAMES_AT_ONCE]
            padded = np.zeros((FRAMES_AT_ONCE, *part.shape[1:]), np.uint8)
            padded[: len(part)] = part
            parts.append(np.asarray(one(detector, padded))[: len(part)])
        save(files[index], np.concatenate(parts))

    make_all(write, missing, "heat maps")


def save(file: Path, array: np.ndarray) -> None:
    """Writes a clip's file whole or not at all: other processes may make the same one now."""
    temporary = temporary_name(file)
    np.save(temporary, array)
    temporary.replace(file)


def make_all(write: Callable[[int], None], missing: list[int], what: str) -> None:
    """Calls `write` with the number of each clip whose file is missing, with a progress bar."""
    write(missing[0])  # compiles, once for all threads
    bar = tqdm(total=len(missing), initial=1, desc=what, unit="clip", disable=None)
    pool = ThreadPoolExecutor(CLIPS_AT_ONCE)
    try:
        for _ in pool.map(write, missing[1:]):
            bar.update()
    finally:
        pool.shutdown(cancel_futures=True)  # stopped: the clips that wait are not begun
        bar.close()


def clip_key(source: Clips, index: int) -> str:
    """Names a clip by its place, size and time of change; a prepared one by its set's."""
    words: tuple[Any, ...]
    if isinstance(source, ClipFolder):
        file = source.files[index]
        stat = file.stat()
        words = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
    else:
        words = (source.name(index), source.written)
    return hashlib.sha256(repr(words).encode()).hexdigest()[:24]


def whole(file: Path, shape: tuple[int, ...]) -> bool:
    """Whether a stored file is there and of the right shape."""
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False).shape == shape
    except (OSError, ValueError):
        return False


def digest(tree: Any) -> str:
    """SHA-256 over names and values of a tree of arrays."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        total.update(json.dumps(jax.tree_util.keystr(path)).encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()
