"""A digest of variables in 64 letters."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jax
import numpy as np


def digest(tree: Any) -> str:
    """SHA-256 over names and values of a tree of arrays."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        total.update(json.dumps(jax.tree_util.keystr(path)).encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()
