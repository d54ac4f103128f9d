"""Files made once for each clip: their names, writing, and the loop that makes the missing ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bodyjax import files
from bodyjax.data.clips.feed import Clips
from bodyjax.data.clips.folder import ClipFolder

CLIPS_AT_ONCE = 2
"""One program leaves a CPU's second core half idle; two side by side do not."""


def clip_key(source: Clips, index: int) -> str:
    """Names a clip by its path, size and modification time; a prepared clip by those of its set."""
    words: tuple[Any, ...]
    if isinstance(source, ClipFolder):
        file = source.files[index]
        stat = file.stat()
        words = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
    else:
        words = (source.name(index), source.written)
    return hashlib.sha256(repr(words).encode()).hexdigest()[:24]


def whole(file: Path, shape: tuple[int, ...]) -> bool:
    """Whether a stored file exists and has the right shape."""
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False).shape == shape
    except (OSError, ValueError):
        return False


def save(file: Path, array: np.ndarray) -> None:
    """Writes a clip's file completely or not at all: other processes may be making the same one."""
    with files.whole(file) as temporary:
        np.save(temporary, array)


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
