"""Knee, hip and elbow angles over time from videos of simulated exercises, against exact ones:

    python -m bodyjax.bench.lift_angles --checkpoint lifter --clips 8

The clips are simulated ones of the test side (front and side camera in turn, half of the pairs
with a fault), encoded as videos and read like any other. Errors are mean absolute degrees, left
and right together, over the frames in which the three joints of an angle are found:

    video        lift      the lifter on the joints that its detector finds, as launch.lift runs it
                 picture   the angle of these joints in the picture
    exact        lift, picture: the same from the exact joints in the picture, in all frames

`off` holds the errors of `video` over the frames in which the picture's angle is wrong by more than
OFF degrees. The camera is assumed, as for any video. `found`: share of frames measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from bodyjax import camera, geometry, lift
from bodyjax.bench import rows
from bodyjax.errors import ConfigError
from bodyjax.lift import Lifter, Motion
from bodyjax.simulate import clips
from bodyjax.simulate.clips import ClipSpec
from bodyjax.simulate.exercises import EXERCISES, VIEWS
from bodyjax.skeleton import COCO17, H36M17

JOINTS = ("knee", "hip", "elbow")
OFF = 15.0
"""Degrees from which the angle in the picture counts as wrong."""
SIZE = (384, 288)
SEED = 20
"""Another set than the embedded one (seed 0), which detectors may have been trained on."""

_PAIRS = {joint: [f"{side}_{joint}_flexion" for side in ("left", "right")] for joint in JOINTS}
_AT = {joint: [[*geometry.FLEXIONS].index(name) for name in _PAIRS[joint]] for joint in JOINTS}


class Angles(NamedTuple):
    """Flexions (F, 8) of a clip, degrees, in the order of geometry.FLEXIONS: exact; from the video
    and from the exact joints, lifted and in the picture. NaN where not measured."""

    truth: np.ndarray
    video_lift: np.ndarray
    video_picture: np.ndarray
    exact_lift: np.ndarray
    exact_picture: np.ndarray


def measure(
    checkpoint: str,
    count: int,
    exercises: Sequence[str] = EXERCISES,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Errors by exercise, view and joint, over `count` clips of each exercise. ConfigError for an
    unknown exercise or no clips."""
    for name in exercises:
        if name not in EXERCISES:
            hint = f"one of {', '.join(EXERCISES)}"
            raise ConfigError(f"no exercise {name!r}", place="--exercises", hint=hint)
    if count < len(VIEWS):
        raise ConfigError(f"{count} clips", place="--clips", hint=f"at least {len(VIEWS)}")
    spec = ClipSpec("exercises", train=0, valid=0, test=count, size=SIZE, seed=SEED)
    root = clips.ensure(spec, cache, workers=0)
    lifter = lift.load(checkpoint)
    seen: dict[tuple[str, str], list[Angles]] = {}
    for name in exercises:
        for i in tqdm(range(count), desc=name, unit="clip"):
            view, _ = clips.role(name, i)
            seen.setdefault((name, view), []).append(angles(lifter, root / f"test/{name}/{i:05d}"))
    table = [
        {"exercise": name, "view": view, "clips": len(each), **errors(each, joint)._asdict()}
        for (name, view), each in seen.items()
        for joint in JOINTS
    ]
    return {"clips": count, "size": SIZE, "seed": SEED, "rows": table}


def angles(lifter: Lifter, clip: Path) -> Angles:
    """All angles of one simulated clip, `clip`.mp4 with its labels `clip`.json."""
    label = json.loads(clip.with_suffix(".json").read_text())
    frames = label["frames"]
    h36m, xy, visible = (np.array(label[name], float)[:, 0] for name in ("h36m", "xy", "visible"))
    lens = camera.assumed((label["size"][1], label["size"][0]))
    exact = lift.poses(lifter, xy, (visible > 0).astype(float), camera=lens)
    found = lift.video(lifter, clip.with_suffix(".mp4"))
    lifted, picture = np.full((2, frames, len(geometry.FLEXIONS)), np.nan)
    if found.motions:
        longest = found.motions[0]
        lifted[longest.frames], picture[longest.frames] = of_motion(longest)
    return Angles(
        _flexions(h36m, H36M17), lifted, picture, _flexions(exact, H36M17), _flexions(xy, COCO17)
    )


def of_motion(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """The angles (F, 8) of a person in space and in the picture, where their joints are seen."""
    seen = np.where((motion.score > 0)[..., None], motion.xy, np.nan)
    picture = _flexions(seen, COCO17)
    return np.where(np.isfinite(picture), _flexions(motion.xyz, H36M17), np.nan), picture


def _flexions(joints: np.ndarray, skeleton: Any) -> np.ndarray:
    return np.asarray(geometry.flexions(joints, skeleton))


class Errors(NamedTuple):
    """The errors of one joint, as the module says."""

    joint: str
    found: float
    video: dict[str, float | None]
    off: dict[str, float | None]
    exact: dict[str, float | None]


def errors(seen: Sequence[Angles], joint: str) -> Errors:
    """The mean errors of a joint over clips, every frame and side alike; None where there are
    no frames."""
    every = [
        np.concatenate([part[:, _AT[joint]].ravel() for part in each])
        for each in zip(*seen, strict=True)
    ]
    truth, lifted, picture, exact_lift, exact_picture = every
    known = np.isfinite(picture)
    wrong = known & (np.abs(picture - truth) > OFF)
    share = round(float(wrong.sum() / max(known.sum(), 1)), 4)

    def both(one: np.ndarray, other: np.ndarray, at: np.ndarray) -> dict[str, float | None]:
        pair = {"lift": one, "picture": other}
        return {
            name: round(float(np.abs(a - truth)[at].mean()), 2) if at.any() else None
            for name, a in pair.items()
        }

    return Errors(
        joint,
        round(float(known.mean()), 4),
        both(lifted, picture, known),
        {"share": share, **both(lifted, picture, wrong)},
        both(exact_lift, exact_picture, np.isfinite(truth)),
    )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bodyjax.bench.lift_angles", description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="of lift.load")
    parser.add_argument("--clips", type=int, default=8, help="of each exercise")
    parser.add_argument("--exercises", default=",".join(EXERCISES), help="commas between")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args(arguments)
    chosen = options.exercises.split(",")
    rows.print_json(
        parser, lambda: measure(options.checkpoint, options.clips, chosen), options.json
    )


if __name__ == "__main__":
    main(sys.argv[1:])
