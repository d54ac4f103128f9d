"""Intervals: of a share by counting, of any figure by bootstrap over pictures, clips or people.

NumPy and the standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.8
"""The share of resampled values, or of repeated counts, between the bounds of an interval."""


class Interval(NamedTuple):
    """value of the whole set, and the bounds that hold `level` of the resampled values."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    n: int,
    *,
    level: float = LEVEL,
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


def wilson(right: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Bounds of the share right / n of n independent answers, in [0, 1]; NaN for n = 0.

    Unlike mean ± z standard errors it stays inside [0, 1] and has a width where all or none are
    right. Source: Wilson, "Probable inference, the law of succession, and statistical inference",
    1927; Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", 2001.
    """
    if n == 0:
        return float("nan"), float("nan")
    z, share = NormalDist().inv_cdf((1 + level) / 2), right / n
    middle = share + z * z / (2 * n)
    half = z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    # At 0 and n the bound is exact; rounding must not put the share outside its own interval.
    low = 0.0 if right == 0 else (middle - half) / (1 + z * z / n)
    high = 1.0 if right == n else (middle + half) / (1 + z * z / n)
    return low, high


def of_share(right: int, n: int, over: str = "rows") -> dict[str, Any]:
    """`wilson` as reports write it: low, high, level, over (what was counted)."""
    low, high = wilson(right, n)
    return {"low": low, "high": high, "level": LEVEL, "over": over}


def told(bounds: Mapping[str, Any]) -> str:
    """The bounds of a report in a line: [0.907, 0.938] (80 %)."""
    return f"[{bounds['low']:.3f}, {bounds['high']:.3f}] ({100 * bounds['level']:.0f} %)"


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
    level: float = LEVEL,
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
