"""The people of a video: found frame by frame, followed, and given identities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple

import jax
import numpy as np

from bodyjax import skeleton
from bodyjax.data.pictures.images import any_picture
from bodyjax.data.read_ahead import taken_ahead
from bodyjax.data.video.files import Video, open_video
from bodyjax.detect import track
from bodyjax.detect.detector import TAKEN, Detector, Image, detect, in_picture, on_canvas
from bodyjax.detect.found import bbox, boxes, checked_score
from bodyjax.detect.results import PicturePeople, as_skeleton, coco_result
from bodyjax.skeleton import Skeleton

Progress = Callable[[Iterable[Image], int], Iterable[Image]]

EVERY = 5
"""With a second look, the first network sees one in this many frames of a video."""
FAINT = 0.1
"""People with a lower score come and go: losing one does not trigger a new look."""


class FramePeople(NamedTuple):
    """The people of one frame, in the frame's pixels.

    identity (P,): the same number means the same person, from 0 on. xy (P, J, 2): smoothed, NaN
    where absent; score (P, J). seen_xy (P, J, 2), seen_score (P, J): as found in this frame, before
    smoothing. found (P, J) bool: joints that grouping attached. person_score (P,). bridged (P,)
    bool: not found in this frame, but before and after it; xy is interpolated, seen_xy is NaN,
    found is False and person_score is the mean of the joints' scores. overflow: as in
    PicturePeople.
    """

    identity: np.ndarray
    xy: np.ndarray
    score: np.ndarray
    seen_xy: np.ndarray
    seen_score: np.ndarray
    found: np.ndarray
    person_score: np.ndarray
    bridged: np.ndarray
    overflow: int

    @property
    def shown(self) -> np.ndarray:
        """(P, J) the scores of the joints that overlays show, 0 for guesses: found in this frame or
        put in between two."""
        return np.where(self.found | self.bridged[:, None], self.score, 0.0)


def followed(
    detector: Detector, frames: Iterable[Any], every: int | None = None
) -> Iterator[PicturePeople]:
    """The people of consecutive pictures, in the formats of `detect`; as lazy as `frames`.

    every: by default EVERY with a second look, otherwise 1. With a second look, the first network
    sees every `every`-th frame, and the frames in which somebody with a score of at least
    `settings.min_person` and FAINT is lost (canvas.follower). In between, the second one looks
    where people were in the previous frame, so newcomers are found up to every - 1 frames late.
    Without a second look, nobody is in the frames in between: `track` fills them.
    """
    every = every or (1 if detector.follow is None else EVERY)
    if detector.follow is None or every == 1:
        yield from _one_in(detector, frames, every)
        return
    least = max(detector.settings.min_person, FAINT)
    out: Any = None
    people, size, since = np.zeros(0), (0, 0), 0
    for frame in frames:
        picture = any_picture(frame, "frame")
        pixels, matrix = on_canvas(detector, picture)
        since, before = since + 1, out
        out = None
        if before is not None and since < every and picture.shape[:2] == size:
            out = jax.device_get(
                detector.follow(detector.variables, pixels, before.xy, before.score, people)
            )
            lost = (people > 0) & (out.person_score == 0)
            out = None if (lost & (people >= least)).any() else out
        if out is not None:
            people = out.person_score
        else:
            out = jax.device_get(detector.predict(detector.variables, pixels))
            # Whom the second look does not confirm it can't follow.
            people = np.where(out.evidence[:, TAKEN] > 0, out.person_score, 0)
            size, since = picture.shape[:2], 0
        yield in_picture(out, matrix)


def _one_in(detector: Detector, frames: Iterable[Any], every: int) -> Iterator[PicturePeople]:
    """The people of one in `every` frames and of the last one; nobody in those in between."""
    nobody: Any = None
    waiting = None  # is looked at only if it is the last one
    for number, frame in enumerate(frames):
        if waiting is not None:
            yield nobody
        waiting = frame if number % every else None
        if waiting is None:
            found = detect(detector, frame)
            nobody = found._replace(
                xy=found.xy[:0], score=found.score[:0], found=found.found[:0],
                person_score=found.person_score[:0], overflow=0, evidence=found.evidence[:0],
            )  # fmt: skip
            yield found
    if waiting is not None:
        yield detect(detector, waiting)


def tracked(
    detector: Detector,
    frames: Iterable[Any],
    times: Sequence[float] | np.ndarray,
    joints: Skeleton | None = None,
    *,
    tracking: track.Settings | None = None,
    every: int | None = None,
) -> list[FramePeople]:
    """The people of consecutive frames, by identity, in the joints of a skeleton, by default the
    one used in reports (skeleton.reported).

    times: seconds of the frames, rising. every: how often the first network looks (`followed`).
    tracking: track.Settings, how long identities last, by default at least one and a half times as
    long as that network does not look, and how joints are smoothed.
    """
    if tracking is None and every is not None and len(times) > 1:
        step = float(np.median(np.diff(times)))
        tracking = track.Settings(max_gap=max(track.Settings.max_gap, 1.5 * every * step))
    people = list(followed(detector, frames, every))
    joints = joints or skeleton.reported(detector.skeleton)
    each = [as_skeleton(found, detector.skeleton, joints) for found in people]
    places, scores = [xy for xy, _, _ in each], [score for _, score, _ in each]
    return [
        _frame(found, *arrays, one)
        for found, arrays, one in zip(
            people, each, track.follow(times, places, scores, tracking), strict=True
        )
    ]


def main_person(frames: Iterable[FramePeople]) -> int:
    """The identity whose person scores have the highest sum over the frames; -1 of nobody. Frames
    in which somebody was not found don't count for them."""
    total: dict[int, float] = {}
    for frame in frames:
        gained = np.where(frame.bridged, 0.0, frame.person_score)
        for identity, more in zip(frame.identity, gained, strict=True):
            total[int(identity)] = total.get(int(identity), 0.0) + float(more)
    return max(total, key=lambda identity: total[identity], default=-1)


def _frame(
    found: PicturePeople, xy: np.ndarray, score: np.ndarray, flags: np.ndarray, one: track.Tracked
) -> FramePeople:
    """What was found in a frame (P', J, ...), in the order of the people tracked in it."""
    count, joints = len(one.identity), score.shape[1]
    seen = one.source >= 0
    seen_xy, seen_score = np.full((count, joints, 2), np.nan), np.zeros((count, joints))
    attached = np.zeros((count, joints), bool)
    person = one.score.mean(-1) if count else np.zeros(0)
    rows = one.source[seen]
    seen_xy[seen], seen_score[seen], attached[seen] = xy[rows], score[rows], flags[rows]
    person[seen] = found.person_score[rows]
    return FramePeople(
        one.identity, one.xy, one.score, seen_xy, seen_score, attached, person, ~seen,
        found.overflow,
    )  # fmt: skip


def in_video(
    detector: Detector,
    clip: Video,
    *,
    tracking: track.Settings | None = None,
    every: int | None = None,
    progress: Progress = lambda frames, count: frames,
) -> list[FramePeople]:
    """The people of every frame of an open video, in the joints of reports (`tracked`). `progress`
    wraps the frames, with their number. VideoError if the file can't be read to its end."""
    images = progress(taken_ahead(clip.iter_frames()), clip.frames)
    return tracked(detector, images, clip.times, tracking=tracking, every=every)


def without_weak(frames: Sequence[FramePeople], least: float) -> tuple[list[FramePeople], int]:
    """The people of a video's frames without those whose score, the mean over the frames in which
    they were seen, is below `least`; and how many were removed. A person stays in all of their
    frames or leaves all of them: no flicker."""
    checked_score(least)
    seen: dict[int, list[float]] = {}
    for frame in frames:
        there = ~frame.bridged
        for identity, score in zip(frame.identity[there], frame.person_score[there], strict=True):
            seen.setdefault(int(identity), []).append(float(score))
    weak = [identity for identity, scores in seen.items() if np.mean(scores) < least]
    return [_rows(frame, ~np.isin(frame.identity, weak)) for frame in frames], len(weak)


def _rows(frame: FramePeople, rows: np.ndarray) -> FramePeople:
    chosen = {name: values[rows] for name, values in frame._asdict().items() if name != "overflow"}
    return frame._replace(**chosen)


def video(
    detector: Detector,
    path: str | PathLike[str],
    *,
    tracking: track.Settings | None = None,
    every: int | None = None,
    on_bad: str = "raise",
    progress: Progress = lambda frames, count: frames,
) -> list[list[dict[str, Any]]]:
    """The people of every frame of a video, as `people` gives them, image_id = frame number.

    Also: bbox, frame, time (seconds), identity (the same number is the same person, from 0 on) and
    bridged (True: not found in this frame, but before and after it; the joints are interpolated).
    Joints are smoothed by `track`. every: how often the first network looks (`followed`). Raises
    VideoError if the file can't be read to its end; on_bad="skip" salvages the undamaged part of a
    damaged one (open_video). `progress` wraps the frames, with their number.
    """
    clip = open_video(path, on_bad)
    frames = in_video(detector, clip, tracking=tracking, every=every, progress=progress)
    return [
        coco_frame(people, number, float(time), clip.size)
        for number, (time, people) in enumerate(zip(clip.times, frames, strict=True))
    ]


def coco_list(frames: Sequence[FramePeople], clip: Video) -> list[dict[str, Any]]:
    """The people of all frames of a video in one list."""
    return [
        person
        for number, (time, people) in enumerate(zip(clip.times, frames, strict=True))
        for person in coco_frame(people, number, float(time), clip.size)
    ]


def coco_frame(
    people: FramePeople, number: int, time: float, size: tuple[int, int]
) -> list[dict[str, Any]]:
    """The people of frame `number` of a video of (width, height) `size`, as `video` gives them."""
    there = np.where(people.score[..., None] > 0, people.xy, np.nan)
    around = boxes(there, people.found, size[::-1])
    return [
        coco_result(xy, score, found, float(person), people.overflow, number)
        | {"bbox": bbox(box), "frame": number, "time": round(time, 4)}
        | {"identity": int(identity), "bridged": bool(bridged)}
        for identity, xy, score, found, person, bridged, box in zip(
            people.identity, people.xy, people.score, people.found, people.person_score,
            people.bridged, around, strict=True,
        )
    ]  # fmt: skip
