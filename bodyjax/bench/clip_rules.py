"""A rule set on labelled clips: what it tells people whose exercise is known to be standard or not.

    python -m bodyjax.bench.clip_rules --checkpoint lifter --data DATA --rules push_up --part rest

DATA holds joints.npz (clip, standard, group) and videos/CLIP.mp4, as data/pushfit has them. Parts
are by group: `rest` (group % 5 != 0) for choosing thresholds, `held` (group % 5 == 0) for saying
how a choice came out. Clips go through the whole path of launch.lift, from video to prompts; of
each the person who is seen longest counts. Prints JSON: of standard clips and of the others how
many have somebody, in how many each rule speaks up, and of each parameter of the rules' peaks the
median over the repetitions of a clip: its deciles over clips.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from bodyjax import camera, lift
from bodyjax.bench import rows
from bodyjax.data.pictures.labelled import read_arrays
from bodyjax.data.sequences import array_sets
from bodyjax.data.sequences.ragged_clips import Clips
from bodyjax.detect import track
from bodyjax.errors import ConfigError
from bodyjax.lift import Lifter, Motion, motions, parameters, rules
from bodyjax.lift.rules import Rule
from bodyjax.skeleton import H36M17

LEAST_SCORE = 0.2
"""Stored joints with less are not seen."""
DECILES = (10, 25, 50, 75, 90)


class Clip(NamedTuple):
    """A clip's name, whether it is standard, and its group of near copies."""

    name: str
    standard: bool
    group: int


class Told(NamedTuple):
    """What a clip gave: the rules that spoke up, and {peak: the median over its repetitions}."""

    spoke: frozenset[int]
    peaks: dict[str, float]


def clips(data: Path, part: str, most: int) -> list[Clip]:
    """The clips of a part, at most `most` of each group and label, in the order of the file."""
    if part not in ("rest", "held"):
        raise ConfigError(f"no part {part!r}", place="--part", hint="rest or held")
    if most < 1:
        raise ConfigError(f"{most} clips of a group", place="--most", hint="1 or more")
    table = read_arrays(data / "joints.npz", ("clip", "standard", "group"))
    found: list[Clip] = []
    for name, standard, group in zip(table["clip"], table["standard"], table["group"], strict=True):
        one = Clip(str(name), bool(standard), int(group))
        alike = sum(other[1:] == one[1:] for other in found)
        if (one.group % array_sets.HELD_OUT == 0) == (part == "held") and alike < most:
            found.append(one)
    return found


def filmed(lifter: Lifter, video: Path) -> Motion | None:
    """The person of a video who is seen longest; None without anybody."""
    found = lift.video(lifter, video, on_bad="skip").motions
    return found[0] if found else None


def stored(lifter: Lifter, source: Clips, name: str) -> Motion:
    """The person of a clip by the set's own joints of MoveNet, smoothed like those of a video."""
    row = source.names.index(name)
    places, score = source.frames(row)
    score = np.where(score >= LEAST_SCORE, score, 0.0)
    xy = np.where(score[..., None] > 0, places, np.nan)
    times, smoothing = np.arange(len(xy)) / float(source.fps[row]), track.Settings()
    xy = track.one_euro(times, xy, smoothing.min_cutoff, smoothing.beta)
    nowhere = np.full((len(xy), len(H36M17.joints), 3), np.nan)
    seen = Motion(0, np.arange(len(xy)), times, xy, score, nowhere, nowhere[:, 0])
    width, height = (int(side) for side in source.size[row])
    return motions.in_space(lifter, seen, camera.assumed((height, width)), lift.MEAN_HEIGHT)


def told(motion: Motion | None, chosen: Sequence[Rule]) -> Told | None:
    """What the rules say of a person; None of nobody."""
    if motion is None:
        return None
    values = parameters.measure(motion)
    spoke = rules.events(chosen, 1, motion.times, values)
    peaks = {}
    for name in {rule.parameter for rule in chosen} & set(parameters.PEAKS):
        every = np.unique(values[name][np.isfinite(values[name])])
        if len(every):
            peaks[name] = float(np.median(every))
    return Told(frozenset(chosen.index(event.rule) for event in spoke), peaks)


def summary(every: Sequence[tuple[Clip, Told | None]], chosen: Sequence[Rule]) -> dict[str, Any]:
    """Counts and deciles, of standard clips and of the others."""
    report: dict[str, Any] = {}
    for label, standard in (("standard", True), ("not standard", False)):
        mine = [one for clip, one in every if clip.standard == standard]
        seen = [one for one in mine if one is not None]
        peaks = {}
        for name in sorted({name for one in seen for name in one.peaks}):
            values = [one.peaks[name] for one in seen if name in one.peaks]
            cut = np.percentile(values, DECILES).round(1).tolist()
            peaks[name] = {"clips": len(values)} | dict(zip(map(str, DECILES), cut, strict=True))
        report[label] = {
            "clips": len(mine),
            "with somebody": len(seen),
            "rules": {
                rule.text: sum(number in one.spoke for one in seen)
                for number, rule in enumerate(chosen)
            },
            "peaks": peaks,
        }
    return report


def measure(
    checkpoint: str, data: Path, name: str, part: str, most: int, *, by_store: bool = False
) -> dict[str, Any]:
    """The report on a part of the clips."""
    chosen = rules.read(name)
    found = clips(data, part, most)
    lifter = lift.load(checkpoint)
    source = array_sets.pushfit(data, "movenet") if by_store else None

    def motion(name: str) -> Motion | None:
        if source is not None:
            return stored(lifter, source, name)
        return filmed(lifter, data / "videos" / f"{name}.mp4")

    bar = tqdm(found, unit="clip", disable=not sys.stderr.isatty())
    every = [(clip, told(motion(clip.name), chosen)) for clip in bar]
    groups = len({clip.group for clip in found})
    return {"part": part, "groups": groups, "most": most, **summary(every, chosen)}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bodyjax.bench.clip_rules", description=__doc__)
    parser.add_argument("--data", required=True, type=Path, help="folder of joints.npz and videos")
    parser.add_argument("--rules", required=True, help="a rule file, or the name of a shipped set")
    parser.add_argument("--part", required=True, help="rest (for choosing) or held")
    parser.add_argument("--most", type=int, default=2, help="clips of a group and label")
    parser.add_argument("--stored", action="store_true", help="MoveNet joints of the file")
    parser.add_argument("--checkpoint", required=True, help="of lift.load")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args(arguments)

    def run() -> dict[str, Any]:
        return measure(
            options.checkpoint, options.data, options.rules, options.part, options.most,
            by_store=options.stored,
        )  # fmt: skip

    rows.print_json(parser, run, options.json)


if __name__ == "__main__":
    main(sys.argv[1:])
