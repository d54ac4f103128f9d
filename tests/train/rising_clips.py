"""A small set of joint sequences, and the config of a cross-validation on it, for tests."""

import numpy as np

from bodyjax.data.sequences.ragged_clips import Clips
from bodyjax.data.sequences.source import resampled
from bodyjax.skeleton import make

BODY = make("four", "left_hip right_hip left_shoulder right_shoulder", "left_hip-left_shoulder")


def made():
    """60 clips of 12 people: the shoulders go up (1) or down (0); each person has a place."""
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 2, 60), np.repeat(np.arange(12), 5)
    base = np.array([[-1, 0], [1, 0], [-1, -3], [1, -3]], np.float32)
    rise = np.linspace(0, 1, 10)[:, None, None] * np.array([0, 1.0])
    clips = []
    for label, group in zip(labels, groups, strict=True):
        shoulders = np.arange(4)[:, None] >= 2
        move = base + rise * shoulders * (1 if label else -1) + rng.normal(0, 0.1, (10, 4, 2))
        clips.append(move * 20 + 30 * group)
    return resampled(
        Clips(
            "made",
            BODY,
            np.concatenate(clips).astype(np.float32),
            np.ones((600, 4), np.float32),
            np.arange(61) * 10,
            tuple(map(str, range(60))),
            labels.astype(np.int32),
            ("down", "up"),
            groups.astype(np.int32),
            np.zeros(60, np.int32),
            size=np.zeros((60, 2), np.float32),
            fps=np.zeros(60, np.float32),
        ),
        8,
    )


def config(**changes):
    base = {
        "system": "sequence",
        "features": ("position", "velocity"),
        "model": {"steps": 5, "width": 8, "layers": 1, "projection": 8},
        "augment": {"noise": 0.01, "flip": 0.5},
        "optimizer": {"name": "adamw", "rate": 0.03, "decay": "onecycle"},
        "train": {"steps": 60, "log_every": 30},
        "data": {"batch": 16},
        "folds": {"kind": "group", "count": 2, "seeds": (0, 1), "members": 1},
    }
    return {**base, **changes}
