"""Simulated exercises as joint sequences: the embedded data of the sequence system, no pictures.

Body, setting, motion and camera are those of `bodyjax.simulate.film.clip` for the same seed; only
the drawing is left out. Joints get a detector's scatter. Training and test use different seeds, so
that no body and no camera is in both; the test clips do not depend on the number of the others.
"""

from __future__ import annotations

import numpy as np

from bodyjax.data.folds import TEST, TRAIN
from bodyjax.data.sequences.ragged_clips import Clips
from bodyjax.errors import ConfigError
from bodyjax.simulate import motion, scene
from bodyjax.simulate.body import draw_body, joints, pose_points
from bodyjax.simulate.clips import role
from bodyjax.simulate.exercises import VIEWS, exercise
from bodyjax.simulate.film import generator
from bodyjax.skeleton import get

COCO17 = get("coco17")
PAPER = ("push_up", "pull_up", "sit_up")
"""The exercises of the paper; each from the front and the side, standard or not: 12 classes."""
STANDARD = ("push_up", "sit_up", "pull_up", "squat")
"""The exercises for standard or not. Raised arms are simulated only for pictures."""
YAW = {"front": ((-25.0, 25.0),), "side": ((68.0, 112.0), (-112.0, -68.0))}
FIRST_TEST = 1_000_000


def joint_clip(
    name: str, fault: str | None, view: str, seed: int, size: tuple[int, int], fps: float
) -> tuple[np.ndarray, float]:
    """(F, 17, 2) pixels of one clip, and the person's size in pixels (its median trunk)."""
    body = draw_body(generator(seed, "body"))
    around, when = generator(seed, "scene"), generator(seed, "setting")
    setting = motion.draw_setting(when, int(when.integers(40, 65)), fps)
    done = exercise(name, fault, body, setting, generator(seed, "motion"))
    sides = YAW[view]
    yaw = sides[0] if len(sides) == 1 or around.random() < 0.5 else sides[1]
    camera = scene.draw_camera(around, size, np.array(done.target), done.extent, yaw=yaw)
    places, _ = pose_points(body, done.pose)
    xy = camera.project(camera.view(joints(places, COCO17.joints)))
    trunk = np.linalg.norm(xy[:, [5, 6]].mean(1) - xy[:, [11, 12]].mean(1), axis=-1)
    arm = np.linalg.norm(xy[:, 5] - xy[:, 7], axis=-1)
    return xy, float(np.median(np.maximum(trunk, arm)))


def fault_of(name: str) -> tuple[str, str]:
    """(exercise, fault) of a clip's name in `simulated`; the fault of a good one is "standard"."""
    exercise_name, _, fault, _ = name.split("-")
    return exercise_name, fault


def simulated(
    label: str = "paper",
    train: int = 64,
    test: int = 24,
    seed: int = 0,
    scatter: float = 0.02,
    size: tuple[int, int] = (192, 144),
    fps: float = 15.0,
) -> Clips:
    """Exercises, `train` and `test` clips of each (exercise, view, standard or not).

    label: "paper" means the 12 classes of the paper; "standard" means standard or not over the four
    exercises of STANDARD, with the exercise as condition. scatter: that of every joint and frame,
    as a share of the trunk's length in the picture. Faults take turns. ConfigError for another
    label, or numbers that give no clip.
    """
    if label not in ("paper", "standard"):
        raise ConfigError(f"no label {label!r} in exercises", hint="paper or standard")
    for name, value in {"train": train, "test": test, "scatter": scatter}.items():
        if not isinstance(value, int | float) or value < 0:
            raise ConfigError(f"{value!r} should be at least 0", place=f"data.{name}")
    if not train + test:
        raise ConfigError("0 clips for training and for test", place="data.train")
    kinds = PAPER if label == "paper" else STANDARD
    parts: list[np.ndarray] = []
    names, labels, condition, split = [], [], [], []
    classes: tuple[str, ...] = ("not standard", "standard")
    if label == "paper":
        classes = tuple(
            f"{name} {view} {state}"
            for name in kinds
            for view in VIEWS
            for state in ("not standard", "standard")
        )
    for part, count, number in ((TRAIN, train, 0), (TEST, test, FIRST_TEST)):
        for k, name in enumerate(kinds):
            for index in range(4 * count):
                view, fault = role(name, index)
                number += 1
                clip_seed = (seed << 32) + number
                xy, trunk = joint_clip(name, fault, view, clip_seed, size, fps)
                noise = np.random.default_rng(clip_seed).standard_normal(xy.shape)
                parts.append((xy + noise * scatter * trunk).astype(np.float32))
                standard = int(fault is None)
                place = (k * len(VIEWS) + VIEWS.index(view)) * 2 + standard
                labels.append(place if label == "paper" else standard)
                condition.append(0 if label == "paper" else k)
                split.append(part)
                names.append(f"{name}-{view}-{fault or 'standard'}-{number}")
    clips = len(parts)
    rows = np.concatenate(parts)
    return Clips(
        "simulated exercises",
        COCO17,
        rows,
        np.ones(rows.shape[:2], np.float32),
        np.concatenate([[0], np.cumsum([len(part) for part in parts])]),
        tuple(names),
        np.array(labels, np.int32),
        classes,
        np.arange(clips, dtype=np.int32),
        np.array(condition, np.int32),
        () if label == "paper" else tuple(kinds),
        np.full((clips, 2), size, np.float32),
        np.full(clips, fps, np.float32),
        {"held out": np.array(split, np.int8)},
    )
