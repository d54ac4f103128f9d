"""Who is who from frame to frame: identities, bridged gaps and smooth joints. Host code, NumPy.

A person takes over the identity whose last pose, extrapolated with its velocity, is most similar
(keypoint similarity and overlap of boxes, best total by the Hungarian method). Short gaps are
filled by straight lines; the 1 euro filter removes jitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SIGMA = 0.1
"""One constant for all joints of the keypoint similarity: about the value of COCO's limb joints."""


@dataclass(frozen=True)
class Settings:
    """min_similarity: least similarity, in [0, 1], of a person to the identity it takes over.
    max_gap: seconds that an identity survives after it was last seen, at least one and a half
    frames of a slow video. min_cutoff (Hz) and beta: parameters of the 1 euro filter, with speeds
    in person sizes per second; min_cutoff = 0: no smoothing."""

    min_similarity: float = 0.2
    max_gap: float = 0.7
    min_cutoff: float = 2.0
    beta: float = 2.0


class Tracked(NamedTuple):
    """The people of one frame: identity (P,) from 0 on; source (P,): row of the detection, -1 for a
    person interpolated over a gap; xy (P, J, 2) smoothed, NaN where absent; score (P, J)."""

    identity: np.ndarray
    source: np.ndarray
    xy: np.ndarray
    score: np.ndarray


def follow(
    times: Sequence[float] | np.ndarray,
    xy: Sequence[np.ndarray],
    score: Sequence[np.ndarray],
    settings: Settings | None = None,
) -> list[Tracked]:
    """Identities over a video. times (F,) seconds, never decreasing (`spread` spaces equal ones
    evenly up to the next); xy[f] (P_f, J, 2) pixels, NaN where a joint is absent; score[f] (P_f,
    J). Every person of every frame gets an identity."""
    settings = settings or Settings()
    times = spread(times)
    least = _least_step(times)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    max_gap = max(settings.max_gap, 1.5 * step)
    follower = Follower(settings.min_similarity, max_gap, least)
    all_identities: list[_Identity] = []
    for frame, (time, points) in enumerate(zip(times, xy, strict=True)):
        for one in follower.take(time, frame, points):
            if len(one.rows) == 1:
                all_identities.append(one)
    return _frames(times, xy, score, all_identities, settings)


class Follower:
    """Who is who, frame after frame, without knowing what comes. max_gap: seconds that an identity
    survives; shorter steps than `least` seconds say nothing about speeds."""

    def __init__(self, min_similarity: float, max_gap: float, least: float) -> None:
        self.min_similarity, self.max_gap, self.least = min_similarity, max_gap, least
        self.alive: list[_Identity] = []
        self.count = 0

    def take(self, time: float, frame: int, points: np.ndarray) -> list[_Identity]:
        """The identities of the people (P, J, 2) of a frame, in their order."""
        # Half a second that a picture need not wait.
        from scipy.optimize import linear_sum_assignment

        self.alive = [one for one in self.alive if time - one.time <= self.max_gap]
        likeness = np.array(
            [[_similarity(one.at(time), pose) for pose in points] for one in self.alive]
        ).reshape(len(self.alive), len(points))
        found: dict[int, _Identity] = {}
        for i, row in zip(*linear_sum_assignment(likeness, maximize=True), strict=True):
            if likeness[i, row] >= self.min_similarity:
                found[int(row)] = self.alive[i]
        for row in range(len(points)):
            if row not in found:
                found[row] = _Identity(self.count)
                self.alive.append(found[row])
                self.count += 1
            found[row].see(time, frame, row, points[row], self.least)
        return [found[row] for row in range(len(points))]


def spread(times: Sequence[float] | np.ndarray) -> np.ndarray:
    """(F,) strictly increasing seconds: frames with equal times are spaced evenly up to the next
    time.

    Files store times in ticks, Matroska in milliseconds: at a high rate, or if a recorder writes
    several frames at once, neighbours share a time. At the end of a video, frames with equal times
    are as far apart as frames are elsewhere, or a 25th of a second if there is no other time.
    """
    given = np.asarray(times, float)
    if len(given) < 2 or (np.diff(given) > 0).all():
        return given
    # A time that falls behind counts as equal to the latest before it.
    own, first = np.unique(np.maximum.accumulate(given), return_index=True)
    share = (own[-1] - own[0]) / first[-1] if first[-1] else 1 / 25
    end = own[-1] + share * (len(given) - first[-1])
    return np.interp(np.arange(len(given)), [*first, len(given)], [*own, end])


def _least_step(times: np.ndarray) -> float:
    """Steps shorter than this many seconds say nothing about speeds: half of a usual step.

    If a recorder writes two frames at once, a thousandth of a second apart, a jitter of one pixel
    would be a thousand pixels a second. The usual step is measured over two frames, so that pairs
    of frames do not hide it.
    """
    if len(times) < 3:
        return float(np.diff(times).sum()) or 1.0
    return float(np.median(times[2:] - times[:-2])) / 4


class _Identity:
    """One person over time: where they were seen, and how they move."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.rows: list[tuple[int, int]] = []  # (frame, row of the detection)
        self.pose, self.velocity, self.time = np.zeros((0, 2)), np.zeros(2), 0.0

    def see(self, time: float, frame: int, row: int, pose: np.ndarray, least: float) -> None:
        """Sets the current pose; a step shorter than `least` seconds counts as `least`."""
        if self.rows:
            moved = (pose - self.pose)[np.isfinite(pose - self.pose).all(1)]
            step = np.median(moved, axis=0) if len(moved) else np.zeros(2)
            self.velocity = 0.5 * self.velocity + 0.5 * step / max(time - self.time, least)
        self.rows.append((frame, row))
        self.pose, self.time = pose, time

    def at(self, time: float) -> np.ndarray:
        """The last pose, extrapolated."""
        return self.pose + self.velocity * (time - self.time)


def _box(pose: np.ndarray) -> np.ndarray:
    """Lowest and highest coordinates of the joints that are there, x0, y0, x1, y1 in a picture;
    NaN without any.

    The shorter side is at least half the longer one: the joints of someone who lies down, or with
    only an arm visible, are in a line, and with a box of no area each of their moves would look
    like a jump.
    """
    there = pose[np.isfinite(pose).all(1)]
    if not len(there):
        return np.full(2 * pose.shape[1], np.nan)
    low, high = there.min(0), there.max(0)
    missing = np.maximum((high - low).max() / 2 - (high - low), 0) / 2
    return np.concatenate([low - missing, high + missing])


def _similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Mean of the keypoint similarity over shared joints and the overlap of the boxes."""
    boxes = np.stack([_box(first), _box(second)])
    if np.isnan(boxes).any():
        return 0.0
    size = boxes[:, 2:] - boxes[:, :2] + 1
    area = size.prod(1)
    common = (
        np.minimum(boxes[0, 2:], boxes[1, 2:]) - np.maximum(boxes[0, :2], boxes[1, :2]) + 1
    ).clip(0)
    overlap = common.prod() / (area.sum() - common.prod())
    squared = ((first - second) ** 2).sum(1)
    both = np.isfinite(squared)
    if not both.any():
        return float(overlap)
    near = np.exp(-squared[both] / (2 * (2 * SIGMA) ** 2 * area.max())).mean()
    return float(0.5 * (near + overlap))


def _frames(
    times: np.ndarray,
    xy: Sequence[np.ndarray],
    score: Sequence[np.ndarray],
    identities: list[_Identity],
    settings: Settings,
) -> list[Tracked]:
    """The people of each frame, with gaps filled, joints smoothed, by identity."""
    joints = max((points.shape[1] for points in xy), default=0)
    people: list[list[tuple[int, int, np.ndarray, np.ndarray]]] = [[] for _ in times]
    for one in identities:
        first, last = one.rows[0][0], one.rows[-1][0]
        pose = np.full((last - first + 1, joints, 2), np.nan)
        value = np.zeros((last - first + 1, joints))
        source = np.full(last - first + 1, -1)
        for frame, row in one.rows:
            pose[frame - first], value[frame - first] = xy[frame][row], score[frame][row]
            source[frame - first] = row
        span = times[first : last + 1]
        for gap in np.flatnonzero(source < 0):
            pose[gap], value[gap] = _between(int(gap), span, pose, value, source)
        if settings.min_cutoff > 0:
            pose = one_euro(span, pose, settings.min_cutoff, settings.beta)
        for i, frame in enumerate(range(first, last + 1)):
            people[frame].append((one.number, int(source[i]), pose[i], value[i]))
    return [
        Tracked(
            np.array([p[0] for p in frame], int),
            np.array([p[1] for p in frame], int),
            np.array([p[2] for p in frame]).reshape(len(frame), joints, 2),
            np.array([p[3] for p in frame]).reshape(len(frame), joints),
        )
        for frame in people
    ]


def _between(
    frame: int, times: np.ndarray, pose: np.ndarray, value: np.ndarray, source: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pose and scores on the straight line between the two sights around an unseen frame."""
    seen = np.flatnonzero(source >= 0)
    before, after = seen[seen < frame][-1], seen[seen > frame][0]
    part = (times[frame] - times[before]) / (times[after] - times[before])
    return (
        (1 - part) * pose[before] + part * pose[after],
        (1 - part) * value[before] + part * value[after],
    )


def one_euro(times: np.ndarray, pose: np.ndarray, min_cutoff: float, beta: float) -> np.ndarray:
    """The 1 euro filter of Casiez et al. (CHI 2012) over poses (F, J, 2 or 3), NaN where absent: a
    low-pass whose cutoff rises with the joint's speed, so that joints at rest are still and moving
    joints do not lag. Speeds are divided by the person's size, so that near and far people are
    treated alike. A joint that reappears starts anew. times (F,) seconds, never decreasing
    (`spread`)."""
    out = pose.copy()
    times = spread(times)
    least = _least_step(times)
    size = max(
        1.0, float(np.nanmedian([np.ptp(_box(one).reshape(2, -1), axis=0).max() for one in pose]))
    )
    speed = np.zeros_like(pose[0])

    def weight(cutoff: np.ndarray | float, step: float) -> np.ndarray | float:
        return 1 / (1 + 1 / (2 * np.pi * cutoff * step))

    for frame in range(1, len(pose)):
        step = max(float(times[frame] - times[frame - 1]), least)
        last = out[frame - 1]
        speed = speed + weight(1.0, step) * (np.nan_to_num((pose[frame] - last) / step) - speed)
        fast = np.linalg.norm(speed, axis=1, keepdims=True) / size
        moved = last + weight(min_cutoff + beta * fast, step) * (pose[frame] - last)
        out[frame] = np.where(np.isfinite(last), moved, pose[frame])
    return out
