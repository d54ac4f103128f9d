"""Joint sequences to movements, standard or not (system D).

    python -m launch.train --config configs/sequence.py:VARIANT --workdir DIR

A variant with folds trains all folds and seeds and prints mean ± standard deviation over seeds.
`paper` is the paper's recipe on push-ups. The others start from the settings of short pilots;
settings are compared only inside training data: `--config.folds.inner=3` splits every training side
by group and tests on a part of it, never on the fold's own test side. The two smallest sets
(pushfit, pose_trainer) predict with the mean of three models and mirror images.

None means the default of the set or the system: `loss.class_weights` (one per label) weighs all
labels alike, `data.window` (frames per window) takes whole clips at `data.steps` times.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from bodyjax.errors import ConfigError

SHARED = "../shared/data"
PUSH_UP = (
    1.66536, -0.20787, -0.97929, 0.42038, 4.18067, -1.44131, -2.07836, 0.0435,
    -1.31623, 0.20787, -0.97929, -0.42038, 4.18067, 1.44131, -2.07836, -0.0435,
    -1.31623, 0.20855, -0.0, -0.96019, 0.0, -3.03431, -3.62093, 3.03431,
    -3.62093,
)  # fmt: skip
"""What tells push-ups from other movements: fitted by bodyjax.evaluate.exercise on the 209 clips of
pushfit (three estimators) and the training clips of JHMDB's split 1."""


def common() -> dict[str, Any]:
    """What all variants share."""
    return {
        "system": "sequence",
        "seed": 0,
        "skeleton": "",
        "labels": (),
        "balance": False,
        "features": ("position", "velocity", "bone", "visibility"),
        "model": {
            "stored": 64,
            "steps": 16,
            "dims": 2,
            "projection": 128,
            "width": 128,
            "layers": 2,
            "bidirectional": False,
            "pooling": "attention",
            "conditions": 0,
            "dropout": 0.4,
            "input_dropout": 0.1,
            "unroll": 1,
        },
        "augment": {
            "flip": 0.5,
            "rotation": 0.15,
            "tilt": 0.0,
            "scale": 0.1,
            "stretch": 0.1,
            "shift": 0.0,
            "crop": 0.15,
            "bend": 0.3,
            "jitter": 1.0,
            "offset": 0.02,
            "noise": 0.02,
            "drop": 0.0,
        },
        "test": {"samples": 5, "mirror": False},
        "loss": {"label_smoothing": 0.1, "class_weights": None},
        "optimizer": {
            "name": "adamw",
            "rate": 2e-3,
            "decay": "onecycle",
            "clip": 1.0,
            "weight_decay": 0.02,
            "ema": 0.0,
        },
        "train": {"steps": 1000, "log_every": 100},
        "data": {
            "kind": "",
            "path": "",
            "steps": 64,
            "window": None,
            "batch": 64,
            "on_bad": None,  # "raise", or "skip": left out, counted and named
        },
        "folds": {
            "kind": "group",
            "count": 5,
            "seeds": (0, 1, 2),
            "members": 1,
            "inner": 0,
            "random_folds": False,
        },
    }


def paper() -> dict[str, Any]:
    """68 numbers, windows of 10 frames, Adam 1e-4 with exponential decay, batch 128."""
    return {
        "features": ("paper",),
        "model": {
            "stored": 10,
            "steps": 0,
            "projection": 0,
            "bidirectional": False,
            "dropout": 0.0,
            "input_dropout": 0.0,
        },
        "augment": dict.fromkeys(
            ("flip", "rotation", "scale", "stretch", "crop", "bend", "jitter", "offset", "noise"),
            0.0,
        )
        | {"shift": 0.1, "scale": 0.1},
        "test": {"samples": 1},
        "loss": {"label_smoothing": 0.0},
        "optimizer": {
            "name": "adam",
            "rate": 1e-4,
            "decay": "exponential",
            "final": 0.1,
            "clip": 0.0,
            "weight_decay": 0.0,
        },
        "train": {"steps": 5000, "log_every": 500},
        "data": {
            "kind": "pushfit",
            "path": f"{SHARED}/pushfit",
            "joints": "movenet",
            "window": 10,
            "batch": 128,
        },
    }


def penn_action() -> dict[str, Any]:
    """Penn Action: 15 actions, its official split."""
    return {
        "data": {"kind": "penn_action", "path": f"{SHARED}/penn_action"},
        "folds": {"kind": "official"},
        "train": {"steps": 1600},
    }


def pushfit() -> dict[str, Any]:
    """Push-ups, standard or not, from MediaPipe's stored joints."""
    return {
        "balance": True,
        "data": {"kind": "pushfit", "path": f"{SHARED}/pushfit", "joints": "mediapipe"},
        "features": ("position", "velocity", "angle"),
        "model": {"width": 64, "projection": 64},
        "folds": {"members": 3},
        "test": {"mirror": True},
        "train": {"steps": 250},
    }


def pushup() -> dict[str, Any]:
    """One model of all push-up clips for videos: COCO's joints, from two estimators at once."""
    return {
        "data": {
            "kind": "pushfit",
            "path": f"{SHARED}/pushfit",
            "joints": "mediapipe17+movenet",
        },
        "features": ("position", "velocity", "angle"),
        "model": {"width": 64, "projection": 64},
        "folds": {"kind": ""},
        "score": {"detector": "small", "seconds": 4.0, "exercise": PUSH_UP},
        "train": {"steps": 500},
    }


def ui_prmd() -> dict[str, Any]:
    """Places; data.joints "angles" are Euler angles, which no mirror or turn of space fits:
    augment.flip, rotation, tilt 0 with them."""
    return {
        "data": {
            "kind": "ui_prmd",
            "path": f"{SHARED}/ui_prmd",
            "label": "correct",
            "joints": None,
        },
        "augment": {"rotation": 0.3, "tilt": 0.05},
        "folds": {"kind": "leave_one_group_out"},
        "train": {"steps": 800},
    }


def ui_prmd_movement() -> dict[str, Any]:
    """Which of the ten movements of UI-PRMD."""
    return {
        "data": {
            "kind": "ui_prmd",
            "path": f"{SHARED}/ui_prmd",
            "label": "movement",
            "joints": None,
        },
        "augment": {"rotation": 0.3, "tilt": 0.05},
        "folds": {"kind": "leave_one_group_out"},
        "train": {"steps": 400},
    }


def natops() -> dict[str, Any]:
    """NATOPS: six commands by hands and arms, its official split."""
    return {
        "features": ("raw", "velocity", "distance"),
        "model": {"steps": 32, "bidirectional": True},
        "data": {"kind": "natops", "path": f"{SHARED}/natops", "batch": 32},
        "augment": {"flip": 0.0, "tilt": 0.1, "offset": 0.03},
        "folds": {"kind": "official"},
        "train": {"steps": 500},
    }


def pose_trainer() -> dict[str, Any]:
    """Pose Trainer: dumbbell exercises, standard or not, the exercise as input."""
    return {
        "balance": True,
        "features": ("position", "velocity", "angle", "visibility"),
        "model": {"width": 64, "projection": 64, "bidirectional": True},
        "data": {"kind": "pose_trainer", "path": f"{SHARED}/pose_trainer", "batch": 32},
        "folds": {"kind": "leave_one_group_out", "members": 3},
        "test": {"mirror": True},
        "train": {"steps": 200},
    }


def jhmdb_joints() -> dict[str, Any]:
    """JHMDB: 21 actions by its stored joints, three official splits."""
    return {
        "data": {"kind": "jhmdb", "path": f"{SHARED}/jhmdb", "batch": 32},
        "folds": {"kind": "official"},
        "train": {"steps": 1200},
    }


def tables() -> dict[str, Any]:
    """Your own joint tables (docs/DATA.md), CLASS/NAME.csv: --config.data=FOLDER. If a table has
    several people, the most certain one is kept and the others are counted. `data.fps` of their
    videos is needed for windows; `data.normalized` is the pictures' size, "1280x720", if places are
    shares of it. Visibility is not among the features: tables of every 6th frame
    have gaps, videos none."""
    return {
        "data": {"kind": "tables", "path": "joints", "fps": None, "normalized": None},
        "features": ("position", "velocity", "bone"),
        "folds": {"kind": ""},
    }


def exercises() -> dict[str, Any]:
    """Push-up, pull-up, sit-up × front, side × standard, not: the paper's 12 classes."""
    return {
        "data": simulated("paper"),
        "folds": {"kind": "official"},
        "train": {"steps": 2000},
    }


def exercises_standard() -> dict[str, Any]:
    """Standard or not over push-up, sit-up, pull-up and squat, the exercise as input."""
    return {
        "data": simulated("standard"),
        "folds": {"kind": "official"},
        "train": {"steps": 2000},
    }


def simulated(label: str) -> dict[str, Any]:
    """scatter: that of the joints, as a share of the trunk's length (None: 0.02)."""
    return {
        "kind": "exercises",
        "label": label,
        "train": 256,
        "test": 24,
        "seed": 0,
        "scatter": None,
    }


VARIANTS = {
    "exercises": exercises, "exercises_standard": exercises_standard, "paper": paper,
    "penn_action": penn_action, "pushfit": pushfit, "pushup": pushup, "ui_prmd": ui_prmd,
    "ui_prmd_movement": ui_prmd_movement, "natops": natops, "pose_trainer": pose_trainer,
    "jhmdb_joints": jhmdb_joints, "tables": tables,
}  # fmt: skip


def get_config(variant: str = "exercises") -> ConfigDict:
    """The config of a variant; ConfigError lists them."""
    if variant not in VARIANTS:
        raise ConfigError(f"no variant {variant!r}", hint=f"one of {', '.join(VARIANTS)}")
    config = ConfigDict(common())
    config.update(ConfigDict(VARIANTS[variant]()))
    return config
