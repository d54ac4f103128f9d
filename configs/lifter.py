"""Joints of people in space (system C).

python -m launch.train --config configs/lifter.py:VARIANT --workdir DIR
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from bodyjax.errors import ConfigError


def maps() -> dict[str, Any]:
    """From a detector's joints alone; trained on motion capture."""
    return {
        "system": "lifter",
        "seed": 0,
        "model": {
            "input": "joints",
            "skeleton": "h36m17",
            "width": 512,
            "blocks": 2,
            "dropout": 0.1,
            "geometric": 0.0,
            "detector": "small",  # what finds the joints at use
            "second": "large",
        },
        "data": {
            "kind": "poses3d",
            "mocap": "../shared/data/mocap/cmu_30fps.npz",
            "people": "",
            "joints": "",  # what the detector found on the people's pictures
            "shares": (0.5, 0.5),
            "views": 16,
            "batch": 32,
            "step": 2,
            "workers": 0,
            "part": "train",
        },
        "optimizer": {
            "name": "adamw",
            "rate": 1e-3,
            "warmup": 200,
            "decay": "cosine",
            "final": 0.01,
            "clip": 1.0,
            "weight_decay": 0.01,
            "ema": 0.999,
        },
        "train": {"steps": 6000, "log_every": 100, "eval_every": 1000, "save_every": 500},
    }


VARIANTS = {"maps": maps}


def get_config(variant: str = "maps") -> ConfigDict:
    """The config of a variant; ConfigError lists them."""
    if variant not in VARIANTS:
        raise ConfigError(f"no variant {variant!r}", hint=f"one of {', '.join(VARIANTS)}")
    return ConfigDict(VARIANTS[variant]())
