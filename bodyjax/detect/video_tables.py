"""Videos to joint tables (CSV) by the detector: the first half of system D, as in its paper.

Every 6th frame of a video, or a stated rate; all people found, with identities that stay over time,
or the main person alone, cut out of the frames (`cut_out`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bodyjax import files
from bodyjax.data import sets
from bodyjax.data.pictures.labelled import FilePath
from bodyjax.data.read_ahead import taken_ahead
from bodyjax.data.sequences import array_sets
from bodyjax.data.sequences.joint_tables import JointTable, write_joint_csv
from bodyjax.data.video.files import Video, open_video
from bodyjax.detect import cut_out, videos
from bodyjax.detect.detector import Detector
from bodyjax.detect.videos import FramePeople
from bodyjax.errors import ConfigError, DataError, VideoError
from bodyjax.skeleton import COCO17, SEEN, own

EVERY = 6
READ_AT_ONCE = 32
HELD_OUT = ("valid/", "test/")
"""How the tables of held-out parts begin: they get no random crops."""


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
    tracked = _tracked(detector, video, numbers)
    people = np.unique(np.concatenate([frame.identity for frame in tracked]))
    return _table(tracked, numbers, people, video.size) if len(people) else None


def cut_out_tables(
    detector: Detector,
    path: FilePath,
    seeds: Sequence[str | None],
    every: int = EVERY,
    rate: float | None = None,
) -> Iterator[JointTable | None]:
    """The main person of a video, cut out of the frames (`cut_out`): a table for each of `seeds`,
    of a random crop, or, where the seed is None, of the whole person.

    Coordinates and size are those of the cut-out, in which the detector looks again; its main
    person is number 0. None if nobody is found. The same seed gives the same crop.
    """
    video = open_video(path)
    numbers = frame_numbers(video, every, rate)
    box = cut_out.person_box(_tracked(detector, video, numbers), video.size)
    for seed in seeds:
        if box is None:
            yield None
            continue
        shown = box
        if seed is not None:
            rng = np.random.default_rng(list(seed.encode()))
            shown = cut_out.random_box(box, video.size, rng)
        again = _tracked(detector, video, numbers, shown)
        best = videos.main_person(again)
        table = None if best < 0 else _table(again, numbers, np.array([best]), shown.size)
        yield None if table is None else replace(table, people=np.zeros(1, np.int64))


def _tracked(
    detector: Detector, video: Video, numbers: np.ndarray, box: cut_out.Box | None = None
) -> list[FramePeople]:
    """The people of these frames of a video, or of a part of its picture."""

    def frames() -> Iterator[np.ndarray]:
        for first in range(0, len(numbers), READ_AT_ONCE):
            yield from video.read(numbers[first : first + READ_AT_ONCE], threads=1)

    shown = frames() if box is None else cut_out.cut(frames(), box)
    step = int(np.median(np.diff(numbers))) if len(numbers) > 1 else 1
    looks = 1 if detector.follow is None else max(1, videos.EVERY // step)
    return videos.tracked(detector, taken_ahead(shown), video.times[numbers], every=looks)


def _table(
    tracked: list[FramePeople], numbers: np.ndarray, people: np.ndarray, size: tuple[int, int]
) -> JointTable:
    """The joints of the identities `people` (P,), rising, in frames of (width, height) `size`."""
    xy = np.zeros((len(numbers), len(people), len(COCO17.joints), 2), np.float32)
    score = np.zeros(xy.shape[:3], np.float32)
    for f, frame in enumerate(tracked):
        seen = ~frame.bridged & np.isin(frame.identity, people)
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
        (float(size[0]), float(size[1])),
    )


def write_tables(
    detector: Detector,
    source: FilePath,
    out: FilePath,
    *,
    every: int = EVERY,
    rate: float | None = None,
    number: str = "1",
    crop: int | None = None,
) -> Iterator[Outcome]:
    """A joint table for every video of `source`, one after the other.

    source: a video; a folder of them (OUT/NAME.csv); clips by class, or by part and class, or with
    splits.json (OUT/[PART/]CLASS/NAME.csv); the videos of a set of joints (array_sets.VIDEOS). A
    table that already exists is kept, so the same command resumes where it stopped. Videos that
    can't be read and videos without people are named. crop: None for everybody in whole pictures;
    otherwise the main person, cut out (`cut_out_tables`), and this many random crops of each video
    that is not held out, as NAME_crop1 ...; ConfigError if the set's clips are split only later
    (folds), where a crop would stand on the other side of its video.
    """
    if own(detector.skeleton):
        what = f"joint tables are of people, the detector finds {detector.skeleton.name}"
        raise ConfigError(what, place="--detect")
    found, bad = videos_of(Path(source), number)
    check_crops(crop, Path(source))
    yield from bad
    known = {name for name, _ in found}
    for name, file in found:
        copies = 0 if name.startswith(HELD_OUT) else crop or 0
        names = [name, *(f"{name}_crop{copy}" for copy in range(1, copies + 1))]
        if taken := known.intersection(names[1:]):
            raise DataError(f"the video {min(taken)} has the name of a crop", file=source)
        places = [Path(out) / f"{one}.csv" for one in names]
        seeds = {
            place: None if one == name else one
            for place, one in zip(places, names, strict=True)
            if not place.exists()
        }
        made: dict[Path, JointTable | None] = {}
        try:
            if seeds and crop is None:
                made = {places[0]: joint_table(detector, file, every, rate)}
            elif seeds:
                tables = cut_out_tables(detector, file, list(seeds.values()), every, rate)
                made = dict(zip(seeds, tables, strict=True))
        except VideoError as error:
            yield Outcome(file, None, error.message)
            continue
        for place in places:
            table = made.get(place)
            if place in made and table is None:
                what = "nobody is found in it" if place == places[0] else f"nobody in {place.stem}"
                yield Outcome(file, None, what)
                continue
            if table is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                with files.whole(place) as temporary:
                    write_joint_csv(temporary, table)
            yield Outcome(file, place)


def check_crops(crop: int | None, source: Path) -> None:
    """ConfigError for a negative number of random crops, and for crops of a set whose clips are
    split only later."""
    if crop is None:
        return
    if crop < 0:
        raise ConfigError(f"{crop} is below 0", place="--crop")
    if crop and source.is_dir() and array_sets.names_at(source):
        kind = sets.recognise(source)
        if kind in array_sets.VIDEOS:
            what = f"{kind} is split by folds later, and a crop may land on the other side"
            raise ConfigError(what, place="--crop", hint="--crop 0 cuts the person out")


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
    elif (kind := sets.recognise(source)) in array_sets.VIDEOS:
        opened = array_sets.VIDEOS[kind](source)
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
