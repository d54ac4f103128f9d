"""Which frames represent a video: TSN segments, random frames, sliding windows.

Everything here is arithmetic on frame numbers (zero-based); nothing opens a file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MODES = ("middle", "start", "end", "random")


def segment_frames(
    n: int,
    k: int,
    mode: str = "middle",
    rng: np.random.Generator | None = None,
    *,
    keep_tail: bool = True,
) -> NDArray[np.int64]:
    """One frame from each of k equal segments of a video of n frames, in order of time.

    Segment i spans [i n/k, (i+1) n/k). `mode`:

    * "start": the frame at the segment's start, floor(i n / k);
    * "middle": the frame at its middle, floor((2i + 1) n / 2k);
    * "end": its last frame, ceil((i+1) n / k) - 1, so that the last number is n - 1;
    * "random": a uniform point of the segment (needs `rng`). With `keep_tail=False` segments are
      n // k whole frames long and the last n % k frames are never drawn, as TSN's own code does.

    With n < k frames repeat, order is kept and no number passes n - 1.

    Returns (k,) int64 in [0, n). Raises ValueError for n < 1, k < 1, an unknown mode, or "random"
    without a generator. Source: Wang et al., Temporal Segment Networks, 2016, section 3.1.
    """
    _check_counts(n, k)
    segment = np.arange(k, dtype=np.int64)
    start, end = segment * n // k, ((segment + 1) * n - 1) // k
    if mode == "start":
        return start
    if mode == "middle":
        return (2 * segment + 1) * n // (2 * k)
    if mode == "end":
        return end
    if mode != "random":
        raise ValueError(f"mode is {mode!r}; use one of {', '.join(MODES)}")
    if rng is None:
        raise ValueError("mode 'random' needs rng, a numpy.random.Generator")
    if keep_tail:
        points = (segment + rng.random(k)) * (n / k)
        return np.clip(points.astype(np.int64), start, end)  # rounding must not leave the segment
    if n >= k:
        length = n // k
        return segment * length + rng.integers(length, size=k)
    return np.minimum(np.around(segment * (n / k)).astype(np.int64), n - 1)


def random_frames(n: int, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """k frames of n, drawn uniformly, in order of time: (k,) int64 in [0, n).

    No frame comes twice if n >= k; with n < k every frame comes at least once and the rest are
    random repeats. Raises ValueError for n < 1 or k < 1.
    """
    _check_counts(n, k)
    if n >= k:
        drawn = rng.choice(n, size=k, replace=False)
    else:
        drawn = np.concatenate([np.arange(n), rng.integers(n, size=k - n)])
    return np.sort(drawn).astype(np.int64)


def window_frames(n: int, length: int, stride: int) -> NDArray[np.int64]:
    """Sliding windows over a long video of n frames: (windows, 2) int64, first frame and stop.

    Window w covers [w stride, w stride + length). If the last one would leave frames over, one more
    window ends at n, so that every frame is covered when stride <= length. A video shorter than
    `length` is one window [0, n). Raises ValueError for numbers below 1.
    """
    if min(n, length, stride) < 1:
        raise ValueError(f"n {n}, length {length} and stride {stride} must be at least 1")
    if n <= length:
        return np.array([[0, n]], np.int64)
    start = np.arange(0, n - length + 1, stride, dtype=np.int64)
    if start[-1] + length < n:
        start = np.append(start, n - length)
    return np.stack([start, start + length], axis=1)


def _check_counts(n: int, k: int) -> None:
    if n < 1 or k < 1:
        raise ValueError(f"n is {n} frames and k is {k}: both must be at least 1")
