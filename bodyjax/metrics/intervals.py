"""Bootstrap intervals of any figure over pictures, clips or people. NumPy only."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """value of the whole set, and the bounds that hold `level` of the resampled values."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    n: int,
    *,
    level: float = 0.8,
    samples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of statistic(rows) over rows drawn with replacement from n.

    `statistic` takes (n,) row numbers. Resamples whose value is NaN are left out.
    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993.
    """
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(0, n, n)) for _ in range(samples)]
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(float(statistic(np.arange(n))), float(low), float(high))


class PairedInterval(NamedTuple):
    """first - second of the whole set, its bounds, and the share of resamples where it is > 0."""

    difference: float
    low: float
    high: float
    share_above: float


def paired_bootstrap(
    first: Callable[[np.ndarray], float],
    second: Callable[[np.ndarray], float],
    n: int,
    *,
    level: float = 0.8,
    samples: int = 1000,
    seed: int = 0,
) -> PairedInterval:
    """Interval of first(rows) - second(rows) over the same resamples of n rows for both."""
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, n, n) for _ in range(samples)]
    values = np.array([first(rows) - second(rows) for rows in draws])
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    rows = np.arange(n)
    above = float(np.mean(values[~np.isnan(values)] > 0))
    return PairedInterval(float(first(rows) - second(rows)), float(low), float(high), above)
