"""Digests in 64 letters: of variables, and of this package's code."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

import bodyjax


def digest(tree: Any) -> str:
    """SHA-256 over names and values of a tree of arrays."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        total.update(json.dumps(jax.tree_util.keystr(path)).encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()


@functools.cache
def code() -> str:
    """SHA-256 of this package's code: it takes 3 ms, and nobody has to list what depends on
    what."""
    root, total = Path(bodyjax.__file__).parent, hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        text = file.read_bytes()
        total.update(f"{file.relative_to(root).as_posix()} {len(text)}\n".encode())
        total.update(text)
    return total.hexdigest()
