"""A small classifier of system A with random weights, and its checkpoint, for tests."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import systems
from bodyjax.engine import checkpoint as checkpoints
from configs import classifier
from tests import random_variables

LABELS = ("stop", "go_straight", "slow_down", "idle")
FRAMES = 4
SIZE = (64, 96)
DETECTOR = {
    "skeleton": "body18", "backbone": "se_resnet_small", "depthwise": "shifted",
    "frozen_blocks": 0, "stride": 8, "stages": 1, "light": True, "width": 16,
    "size": (64, 64), "max_people": 1, "sigma": 9.0, "paf_width": 6.0, "peak_weight": 0.0,
    "hard_joints": 0, "hard_stages": 0,
}  # fmt: skip
"""The `model` section of the smallest detector."""


def config(**model: Any) -> Any:
    """The variant `tiny` on frames, with a small detector; `model` changes fields of model."""
    tiny = classifier.get_config("tiny")
    tiny.labels = LABELS
    tiny.detector = dict(DETECTOR)
    tiny.model.update({"input": "frames", "frames": FRAMES, "size": SIZE, **model})
    tiny.operations = {
        name: dict(operation=operation, probability=0.5, hold=2)
        for name, operation in classifier.OPERATIONS.items()
        if operation and name in LABELS
    }
    return tiny


@lru_cache(maxsize=1)
def variables() -> Any:
    """Random parameters; the last layer says "stop" with a probability of about 0.7."""
    found = random_variables.drawn(systems.build(config()))
    found["params"]["classify"]["bias"] = np.array([2.0, 0.0, 0.0, 0.0], np.float32)
    return found


def export(folder: Path, changed: Any = None, labels: tuple[str, ...] = LABELS) -> Path:
    """Weights as a training exports them; `changed`: another config."""
    trained = checkpoints.Checkpoint(
        variables(),
        changed or config(),
        "movement",
        meta={"labels": list(labels), "skeleton": "body18"},
    )
    return checkpoints.export(trained, folder, "A test.", dtype="float32")
