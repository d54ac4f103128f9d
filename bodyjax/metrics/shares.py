"""Helpers of the folds: rows that are not padding, and shares."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from bodyjax.contract import Batch


def present(batch: Batch, size: int) -> Array:
    """(size,) bool, the rows of a batch that count: batch["mask"], or all if it has none."""
    return jnp.asarray(batch["mask"], bool) if "mask" in batch else jnp.ones(size, bool)


def ratio(part: Any, whole: Any) -> float:
    """part / whole in float64 on the host, NaN where whole is 0."""
    return float(np.float64(part) / np.float64(whole)) if whole else float("nan")
