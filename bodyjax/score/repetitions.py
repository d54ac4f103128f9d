"""Counting repetitions from the phase of a movement. NumPy and SciPy, no model.

The joints of a clip, in torso lengths about the person's median position, move mostly along one
line: their first principal component. A repetition is one hill of that curve: away from the resting
pose and back. The period comes from the autocorrelation, so that jitter within a repetition is not
a hill.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import signal

from bodyjax.features import torso
from bodyjax.skeleton import Skeleton

LEAST_MOVE = 0.12
"""Least height of the movement in torso lengths, as a mean over joints (root mean square)."""
LEAST_HILL = 0.25
"""Least prominence of a hill, as a share of the movement's height. On ten push-up videos 0.2 and
0.25 count as the eye does; from 0.3 on, a last repetition that the video cuts on the way up is
lost."""
SHORTEST = 0.4
"""Least duration of a repetition in seconds."""
SMOOTHING = 0.25
"""Length of the smoothing polynomial in seconds."""
EDGE = 0.9
"""A repetition starts and stops where the movement is this share of its height below the top."""


class Repetition(NamedTuple):
    """Seconds of a repetition: start, the top of its hill, stop."""

    start: float
    top: float
    stop: float


def phase(xy: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(F,) how far a person is along the main line of their movement, in torso lengths.

    xy (F, J, 2), NaN where absent. Joints absent in more than half of the frames are left out, and
    so is a steady drift (a person who walks by). Zeros if nothing is left. The sign is arbitrary.
    """
    seen = np.isfinite(xy).all(axis=-1)
    kept = np.flatnonzero(seen.mean(axis=0) >= 0.5)
    if len(xy) < 3 or not len(kept):
        return np.zeros(len(xy))
    frames = np.arange(len(xy))
    columns = []
    for j in kept:
        known = np.flatnonzero(seen[:, j])
        columns += [np.interp(frames, known, xy[known, j, d]) for d in range(xy.shape[-1])]
    moved = signal.detrend(np.stack(columns, axis=1) / torso_length(xy, skeleton), axis=0)
    line = np.linalg.svd(moved, full_matrices=False)[2][0]
    return moved @ line / np.sqrt(len(kept))


def torso_length(xy: np.ndarray, skeleton: Skeleton) -> float:
    """The median distance between the middles of hips and shoulders; if they are never seen
    together, half the median diagonal of the joints' box."""
    hips, shoulders = (xy[:, list(joints)] for joints in torso(skeleton))
    if hips.shape[1] and shoulders.shape[1]:
        lengths = np.linalg.norm(hips.mean(axis=1) - shoulders.mean(axis=1), axis=-1)
        if np.isfinite(lengths).any() and np.nanmedian(lengths) > 0:
            return float(np.nanmedian(lengths))
    boxes = [
        np.ptp(pose[np.isfinite(pose).all(-1)], axis=0) for pose in xy if np.isfinite(pose).any()
    ]
    return max(float(np.median(np.linalg.norm(boxes, axis=-1))) / 2, 1.0) if boxes else 1.0


def period(curve: np.ndarray, rate: float) -> float:
    """Seconds between repetitions: the highest peak of the autocorrelation; 0 if there is none.

    curve (F,) at `rate` values a second.
    """
    away = curve - curve.mean()
    power = float(away @ away)
    if power <= 0:
        return 0.0
    likeness = signal.correlate(away, away)[len(away) - 1 :] / power
    peaks, _ = signal.find_peaks(likeness)
    peaks = peaks[(peaks >= SHORTEST * rate) & (likeness[peaks] > 0.2)]
    return float(peaks[np.argmax(likeness[peaks])] / rate) if len(peaks) else 0.0


def repetitions(times: np.ndarray, xy: np.ndarray, skeleton: Skeleton) -> list[Repetition]:
    """The repetitions of a clip in order of time.

    times (F,) seconds, rising; xy (F, J, 2) pixels, NaN where absent. A movement smaller than
    LEAST_MOVE has none.
    """
    if len(times) < 5:
        return []
    rate = (len(times) - 1) / max(float(times[-1] - times[0]), 1e-6)
    even = np.linspace(times[0], times[-1], len(times))
    curve = np.interp(even, times, phase(xy, skeleton))
    window = max(5, 2 * round(SMOOTHING * rate / 2) + 1)
    if window < len(curve):
        curve = signal.savgol_filter(curve, window, 2)
    height = float(np.ptp(np.quantile(curve, [0.02, 0.98])))
    if height < LEAST_MOVE:
        return []
    apart = max(SHORTEST, 0.6 * period(curve, rate)) * rate

    def hills(line: np.ndarray) -> np.ndarray:
        return signal.find_peaks(line, prominence=LEAST_HILL * height, distance=max(apart, 1))[0]

    # The resting pose is at both ends, so the right way up has one hill more than the other.
    up, down = hills(curve), hills(-curve)
    level = curve[0] + curve[-1]
    upright = len(up) > len(down) or (len(up) == len(down) and level <= 2 * np.median(curve))
    line, tops = (curve, up) if upright else (-curve, down)
    rows = bounds(line, tops)
    return [Repetition(*map(float, row)) for row in np.interp(rows, np.arange(len(even)), even)]


def bounds(line: np.ndarray, tops: np.ndarray) -> np.ndarray:
    """(N, 3) places on line (F,) where each of N hills starts, is highest, and stops; tops (N,) are
    its rising places.

    On each side a hill reaches down to the lowest point before the next one (or the end of the
    line), and starts or stops where EDGE of that height is left below the top: neighbours may be
    of any height and never overlap.
    """
    if not len(tops):
        return np.zeros((0, 3))
    rows, last = [], len(line) - 1
    ends = [0, *(a + line[a : b + 1].argmin() for a, b in pairwise(tops)), last]
    for top, (left, right) in zip(tops, pairwise(ends), strict=True):
        up, down = line[left : top + 1][::-1], line[top : right + 1]
        rows.append((top - _edge(up), top, top + _edge(down)))
    return np.array(rows, float)


def _edge(side: np.ndarray) -> float:
    """Steps from the top of a hill, side[0], to where EDGE of the way down to its lowest point is
    done, between the two values around it."""
    level = side[0] - EDGE * (side[0] - side.min())
    after = int((side <= level).argmax())
    if after == 0:
        return 0.0
    before, there = side[after - 1], side[after]
    return after - 1 + float((before - level) / (before - there))
