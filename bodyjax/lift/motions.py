"""The people of a video in space: followed over time, lifted, and placed before the camera."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from bodyjax import camera as cameras
from bodyjax import detect, geometry, skeleton
from bodyjax.data.read_ahead import taken_ahead
from bodyjax.data.rows import padded
from bodyjax.data.video.files import open_video
from bodyjax.detect.track import spread
from bodyjax.detect.videos import FramePeople
from bodyjax.errors import DataError
from bodyjax.lift import crops
from bodyjax.lift.lifter import MEAN_HEIGHT, Lifter, checked_camera, checked_height, poses
from bodyjax.skeleton import COCO17, H36M17

SHORTEST = 0.5
"""A person must be seen for this many seconds of a video."""


class Motion(NamedTuple):
    """One person over F consecutive frames of a video.

    identity: from 0 on; frames (F,) numbers; times (F,) seconds, rising; xy (F, 17, 2) pixels
    of COCO's joints, smoothed, NaN where absent; score (F, 17); xyz (F, 17, 3) mm of h36m17's
    joints from the pelvis, axes of the camera; root (F, 3) mm, the pelvis from the camera, NaN
    where unknown.
    """

    identity: int
    frames: np.ndarray
    times: np.ndarray
    xy: np.ndarray
    score: np.ndarray
    xyz: np.ndarray
    root: np.ndarray


class Lifted(NamedTuple):
    """The people of a video: motions, longest first; how many were seen for less than SHORTEST;
    camera (4,) pixels; height in mm."""

    motions: list[Motion]
    left_out: int
    camera: np.ndarray
    height: float


def video(
    lifter: Lifter,
    path: str | PathLike[str],
    *,
    camera: ArrayLike | None = None,
    height: float = MEAN_HEIGHT,
    on_bad: str = "raise",
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda frames, count: frames,
) -> Lifted:
    """Everyone in a video, with the tracking and smoothing of detect.tracked. A lifter from
    pictures looks at the video twice, first for the people.

    camera (4,): None: assumed (camera.assumed). height: mm, of all people. People whose score stays
    below the detector's least are left out like those seen for less than SHORTEST seconds. Raises
    VideoError if the file can't be read to its end (on_bad="skip" salvages what is whole),
    DataError for an impossible camera or height. `progress` wraps the frames, with their number.
    """
    clip = open_video(path, on_bad)
    lens = cameras.assumed(clip.size[::-1]) if camera is None else checked_camera(camera)
    images = progress(taken_ahead(clip.iter_frames()), clip.frames)
    frames = detect.tracked(lifter.detector, images, clip.times, COCO17)
    everyone = by_person(frames, clip.times, lifter.detector.settings.min_person)
    kept = [one for one in everyone if long_enough(one)]
    if lifter.crops is None:
        lifted = [in_space(lifter, one, lens, height) for one in kept]
    else:
        tall = float(checked_height(height))
        again = progress(taken_ahead(clip.iter_frames()), clip.frames) if kept else []
        places = crops.over_frames(lifter.crops, lifter.variables, again, kept, lens, tall)
        lifted = [placed(one, xyz, lens) for one, xyz in zip(kept, places, strict=True)]
    lifted.sort(key=lambda one: (-len(one.times), one.identity))
    return Lifted(lifted, len(everyone) - len(kept), lens, float(height))


def by_person(frames: Sequence[FramePeople], times: np.ndarray, least: float = 0.0) -> list[Motion]:
    """The people of frames as motions in the picture: xyz and root are NaN. A person whose mean
    score, over the frames in which they were found, is below `least` is left out. times (F,)
    seconds, as the file has them: equal ones are spread (detect.track.spread)."""
    times, found = spread(times), []
    for identity in np.unique(np.concatenate([frame.identity for frame in frames])):
        at = [
            (number, int(row))
            for number, frame in enumerate(frames)
            for row in np.flatnonzero(frame.identity == identity)
        ]
        scores = [frames[n].person_score[row] for n, row in at if not frames[n].bridged[row]]
        if np.mean(scores) < least:
            continue
        numbers = np.array([number for number, _ in at])
        sure = np.stack([frames[n].found[row] | frames[n].bridged[row] for n, row in at])
        xy = np.stack([frames[n].xy[row] for n, row in at])
        score = np.stack([frames[n].score[row] for n, row in at])
        nowhere = np.full((len(at), len(H36M17.joints), 3), np.nan)
        found.append(
            Motion(
                int(identity), numbers, times[numbers], xy, np.where(sure, score, 0.0),
                nowhere, nowhere[:, 0],
            )
        )  # fmt: skip
    return found


def long_enough(motion: Motion) -> bool:
    """Whether a person is seen for SHORTEST seconds, and in more than one frame."""
    return len(motion.times) > 1 and float(motion.times[-1] - motion.times[0]) >= SHORTEST


def in_space(lifter: Lifter, motion: Motion, camera: np.ndarray, height: float) -> Motion:
    """A motion in the picture with xyz and root, by a lifter from joints."""
    return placed(
        motion, poses(lifter, motion.xy, motion.score, camera=camera, height=height), camera
    )


def placed(motion: Motion, xyz: np.ndarray, camera: np.ndarray) -> Motion:
    """A motion in the picture with xyz (F, 17, 3), and the place of the pelvis."""
    return motion._replace(xyz=xyz, root=roots(xyz, motion.xy, motion.score, camera))


def roots(xyz: np.ndarray, xy: np.ndarray, score: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Where the pelvis of P people is, (P, 3) mm from the camera (4,), by full perspective.

    xyz (P, 17, 3) mm of h36m17, xy (P, 17, 2) pixels of COCO's joints, score (P, 17). NaN where
    fewer than two joints are seen, or all in one place.
    """
    seen, visible = skeleton.convert(xy, (score > 0).astype(np.uint8), COCO17, H36M17)
    return np.asarray(_root(*padded(xyz, seen, visible), camera))[: len(xyz)]


@jax.jit
def _root(xyz: jax.Array, xy: jax.Array, visible: jax.Array, camera: jax.Array) -> jax.Array:
    return geometry.perspective_root(xyz, cameras.plane(xy, camera), visible)


def unknown(motion: Motion) -> np.ndarray:
    """(F,) bool: frames in which a joint or the place of the pelvis is not known. Where that place
    is known in no frame, it is not missed: joints are told from the pelvis then."""
    lost = ~np.isfinite(motion.xyz).all((1, 2))
    here = np.isfinite(motion.root).all(1)
    return lost | ~here if here.any() else lost


def filled(motion: Motion) -> Motion:
    """The motion without gaps, for files that know none: joints and places are interpolated over
    time and held at the ends; a pelvis whose place is known in no frame stays at 0."""
    xyz = _over_time(motion.times, motion.xyz)
    return motion._replace(xyz=xyz, root=_over_time(motion.times, motion.root))


def _over_time(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(F, ...) with NaN filled along the first axis; 0 where all are NaN."""
    flat = values.reshape(len(values), -1).copy()
    for column in flat.T:
        known = np.isfinite(column)
        column[~known] = np.interp(times[~known], times[known], column[known]) if known.any() else 0
    return flat.reshape(values.shape)


def steady(motion: Motion, *, gaps: bool = False) -> tuple[Motion, float]:
    """A motion at a constant rate from its first to its last frame, and that rate, the mean of its
    own: files of motion capture know no other. Filled; with `gaps`, xyz is NaN where the nearest
    frame is `unknown`. xy and score are of the nearest frame. DataError without frames, or if the
    times do not rise."""
    _check_times(motion.times)
    whole, lost = filled(motion), unknown(motion) & gaps
    if len(motion.times) < 2:
        return _without(whole, lost), 1.0
    even = np.linspace(motion.times[0], motion.times[-1], len(motion.times))
    near = np.rint(np.interp(even, motion.times, np.arange(len(even)))).astype(int)

    def resampled(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1)
        each = [np.interp(even, motion.times, column) for column in flat.T]
        return np.stack(each, 1).reshape(values.shape)

    rate = (len(even) - 1) / float(even[-1] - even[0])
    whole = whole._replace(
        times=even, xy=motion.xy[near], score=motion.score[near],
        xyz=resampled(whole.xyz), root=resampled(whole.root),
    )  # fmt: skip
    return _without(whole, lost[near]), rate


def _check_times(times: np.ndarray) -> None:
    if not len(times):
        raise DataError("has no frames", place="motion", hint="a file needs at least one")
    rising = np.isfinite(times) & (np.diff(times, prepend=-np.inf) > 0)
    if not rising.all():
        frame = int(rising.argmin())
        hint = "times rise from frame to frame; detect.track.spread spaces equal ones"
        raise DataError(
            f"{times[frame]} s does not rise", place=f"motion.times[{frame}]", hint=hint
        )


def _without(motion: Motion, lost: np.ndarray) -> Motion:
    return motion._replace(xyz=np.where(lost[:, None, None], np.nan, motion.xyz))
