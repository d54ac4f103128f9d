"""Videos to joint tables (CSV) by the detector: the first half of system D, as in its paper.

Every 6th frame of a video, or a stated rate; all people found, with identities that stay over time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodyjax import files
from bodyjax.data import sets
from bodyjax.data.pictures.labelled import FilePath
from bodyjax.data.read_ahead import taken_ahead
from bodyjax.data.sequences.array_sets import VIDEOS
from bodyjax.data.sequences.joint_tables import JointTable, write_joint_csv
from bodyjax.data.video.files import Video, open_video
from bodyjax.detect import videos
from bodyjax.detect.detector import Detector
from bodyjax.errors import ConfigError, DataError, VideoError
from bodyjax.skeleton import COCO17, SEEN, own

EVERY = 6
READ_AT_ONCE = 32


@dataclass(frozen=True)
class Outcome:
    """The result for one video: the table that was written, or why there is none."""

    video: Path
    table: Path | None
    problem: str = ""


def check_rate(every: int, rate: float | None) -> None:
    """ConfigError if no frames can be taken this way."""
    if every < 1 or (rate is not None and not rate > 0):
        raise ConfigError(f"every {every} frames, {rate} a second", hint="give numbers above 0")


def frame_numbers(video: Video, every: int = EVERY, rate: float | None = None) -> np.ndarray:
    """Every `every`-th frame from the first on, or the frames nearest to `rate` a second (none
    twice), in ascending order."""
    check_rate(every, rate)
    if rate is None:
        return np.arange(0, video.frames, every)
    times = video.times
    wanted = np.arange(0, times[-1] + 1e-6, 1 / rate)
    after = np.searchsorted(times, wanted).clip(0, video.frames - 1)
    before = np.maximum(after - 1, 0)
    nearer = wanted - times[before] <= times[after] - wanted
    return np.unique(np.where(nearer, before, after))


def joint_table(
    detector: Detector, path: FilePath, every: int = EVERY, rate: float | None = None
) -> JointTable | None:
    """The people of a video in COCO17; None if nobody is found. A person's number is the identity
    from `track`; joints are as detected, not smoothed. With a second look people are followed
    through frames that are close together (videos.followed)."""
    video = open_video(path)
    numbers = frame_numbers(video, every, rate)

    def frames() -> Iterator[np.ndarray]:
        for first in range(0, len(numbers), READ_AT_ONCE):
            yield from video.read(numbers[first : first + READ_AT_ONCE], threads=1)

    step = int(np.median(np.diff(numbers))) if len(numbers) > 1 else 1
    looks = 1 if detector.follow is None else max(1, videos.EVERY // step)
    tracked = videos.tracked(detector, taken_ahead(frames()), video.times[numbers], every=looks)
    people = np.unique(np.concatenate([frame.identity for frame in tracked]))
    if not len(people):
        return None
    xy = np.zeros((len(numbers), len(people), len(COCO17.joints), 2), np.float32)
    score = np.zeros(xy.shape[:3], np.float32)
    for f, frame in enumerate(tracked):
        seen = ~frame.bridged
        at = np.searchsorted(people, frame.identity[seen])
        xy[f, at] = frame.seen_xy[seen]
        score[f, at] = frame.seen_score[seen]
    there = np.isfinite(xy).all(-1) & (score > 0)
    return JointTable(
        numbers.astype(np.int64),
        np.arange(len(people)),
        np.where(there[..., None], xy, np.float32(0)),
        (there * SEEN).astype(np.uint8),
        np.where(there, score.clip(0, 1), np.float32(0)),
        (float(video.size[0]), float(video.size[1])),
    )


def write_tables(
    detector: Detector,
    source: FilePath,
    out: FilePath,
    *,
    every: int = EVERY,
    rate: float | None = None,
    number: str = "1",
) -> Iterator[Outcome]:
    """A joint table for every video of `source`, one after the other.

    source: a video; a folder of them (OUT/NAME.csv); clips by class, or by part and class, or with
    splits.json (OUT/[PART/]CLASS/NAME.csv); the videos of a set of joints (array_sets.VIDEOS). A
    table that already exists is kept, so the same command resumes where it stopped. Videos that
    can't be read and videos without people are named.
    """
    if own(detector.skeleton):
        what = f"joint tables are of people, the detector finds {detector.skeleton.name}"
        raise ConfigError(what, place="--detect")
    found, bad = videos_of(Path(source), number)
    yield from bad
    for name, file in found:
        table_file = Path(out) / f"{name}.csv"
        if table_file.exists():
            yield Outcome(file, table_file)
            continue
        try:
            table = joint_table(detector, file, every, rate)
        except VideoError as error:
            yield Outcome(file, None, error.message)
            continue
        if table is None:
            yield Outcome(file, None, "nobody is found in it")
            continue
        table_file.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(table_file) as temporary:
            write_joint_csv(temporary, table)
        yield Outcome(file, table_file)


def videos_of(source: Path, number: str = "1") -> tuple[list[tuple[str, Path]], list[Outcome]]:
    """(name of the table without its ending, file) of the videos at a path, and those of clip
    folders that can't be opened."""
    if source.is_file():
        return [(source.stem, source)], []
    bad: list[Outcome] = []
    every = files.listed(source, files.VIDEOS).files
    flat = [f for f in every if f.parent == source]
    if flat and len(flat) < len(every):
        below = next(f for f in every if f.parent != source)
        hint = "videos lie in one folder, or in CLASS/NAME.mp4"
        raise DataError("lies deeper than the other videos", file=below, hint=hint)
    if flat:
        found = [(file.stem, file) for file in flat]
    elif (kind := sets.recognise(source)) in VIDEOS:
        opened = VIDEOS[kind](source)
        found = list(zip(opened.names, opened.files, strict=True))
    elif kind == "clips":
        found = []
        parts = sets.parts(source, number)
        for part, which in parts.items():
            clips = sets.open_set(source, which, on_bad="skip")
            names = clips.names if len(parts) == 1 else [f"{part}/{name}" for name in clips.names]
            found += list(zip(names, clips.files, strict=True))
            for line in clips.bad:
                file, _, problem = line.partition(": ")
                bad.append(Outcome(Path(file), None, problem))
    else:
        raise DataError("no videos are in this folder", file=source, hint="--detect reads videos")
    names = [name for name, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two videos are called {twice[0]}", file=source, hint="rename one")
    return found, bad
