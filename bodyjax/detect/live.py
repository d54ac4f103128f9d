"""The people of a camera or stream, picture by picture, as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from bodyjax import skeleton
from bodyjax.detect import track
from bodyjax.detect.detector import Detector, Image
from bodyjax.detect.results import as_skeleton
from bodyjax.detect.videos import FramePeople, followed

LEAST_STEP = 1 / 60
"""Seconds: shorter steps between pictures say nothing about speeds."""


class LiveFrame(NamedTuple):
    """A picture (H, W, 3) uint8 with its people, in the joints of reports, not smoothed; the time
    of its arrival in seconds since the first one; how many seconds later its people were known."""

    number: int
    time: float
    image: Image
    people: FramePeople
    latency: float


def watched(
    detector: Detector,
    frames: Iterable[tuple[float, Image]],
    *,
    every: int | None = None,
    min_score: float | None = None,
) -> Iterator[LiveFrame]:
    """The people of pictures with the times of their arrival on the clock of time.monotonic, as
    soon as they are known. every: as in videos.followed, with a second look. min_score: people
    below it are left out, by default those below the detector's `min_person`."""
    least = detector.settings.min_person if min_score is None else min_score
    limits = track.Settings()
    follower = track.Follower(limits.min_similarity, limits.max_gap, LEAST_STEP)
    joints = skeleton.reported(detector.skeleton)
    taken: list[tuple[float, Image]] = []

    def images() -> Iterator[Image]:
        for arrived, image in frames:
            taken[:] = [(arrived, image)]
            yield image

    first = None
    for number, found in enumerate(followed(detector, images(), every)):
        [(arrived, image)] = taken
        first = arrived if first is None else first
        xy, score, flags = as_skeleton(found, detector.skeleton, joints)
        strong = found.person_score >= least
        identities = follower.take(arrived, number, xy[strong])
        for one in identities:
            del one.rows[:-1]  # of no use without an end
        people = FramePeople(
            np.array([one.number for one in identities], int), xy[strong], score[strong],
            xy[strong], score[strong], flags[strong], found.person_score[strong],
            np.zeros(len(identities), bool), found.overflow,
        )  # fmt: skip
        yield LiveFrame(number, arrived - first, image, people, time.monotonic() - arrived)
