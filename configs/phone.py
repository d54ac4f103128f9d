"""A detector for phones and browsers, cut out of MoveNet MultiPose, taught by `small` (system B).

    python -m launch.train --config configs/phone.py:VARIANT --workdir DIR

Data as of configs/pose.py, jhmdb's frames among them. Figures are PCK@0.2 over the 12 limb joints
on the held-out tenth of lspet (launch.evaluate).

| variant | what it is | time | expected |
|---|---|---|---|
| phone | 160 pixels, 2.4 M parameters: the shipped `phone` | 70 min, 1 CPU core | README |
| alone_96, alone_128, alone_160 | labels alone, at three sizes | 4 min, 1 CPU core | docs/phone.md |
| taught_96, taught_128, taught_160 | the same pictures, and the teacher | 4 min, 1 CPU core | docs/phone.md |
| unlabelled_96, ... | and frames of clips without labels | 4 min, 1 CPU core | docs/phone.md |

The variants of one size take the same CPU time: STEPS.
"""  # noqa: E501 (rows of a table)

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from bodyjax.errors import ConfigError

ARMS = ("alone", "taught", "unlabelled")
"""Of the study: what a teacher is worth, and what frames without labels add."""
BACKBONES = {
    96: "mobilenet_v2_short_3_2",
    128: "mobilenet_v2_short_4_3",
    160: "mobilenet_v2_short_6_4",
}
"""By the side of the canvas: 0.13, 0.30 and 0.64 GFLOP."""
STEPS = {96: (510, 430), 128: (375, 330), 160: (285, 255)}
"""Of students without and with a teacher in the step: 2, 3 and 4 minutes of one core."""
SMALL = {
    "skeleton": "body18", "backbone": "mobilenet_v2_fpn_1.5", "depthwise": "shifted",
    "frozen_blocks": 17, "heads": "center", "stride": 4, "stages": 2, "light": True, "width": 64,
    "layers": 2, "pyramid": (64, 96, 112, 96), "reduction": 0, "size": (256, 256),
    "max_people": 12, "sigma": 8.0, "paf_width": 7.0, "peak_weight": 4.0, "paf_weight": 2.0,
    "head_weight": 0.0, "hard_joints": 0, "hard_stages": 0,
}  # fmt: skip
"""The teacher's network: `small` of configs/pose.py."""


def phone() -> dict[str, Any]:
    """MoveNet MultiPose without its last layers, its deep blocks narrower (train.cut), its heads
    alone: people by their centres. Taught by `small` in the step: its features, its heads' maps,
    and more and more of the labels. configs/pose.py explains the fields."""
    side, steps = 160, 4000
    return {
        "system": "pose",
        "seed": 0,
        "start": "../shared/data/backbones/movenet_multipose.npz",
        "model": {
            **SMALL, "skeleton": "coco17", "backbone": BACKBONES[side], "frozen_blocks": 0,
            "stages": 0, "size": (side, side), "head_weight": 1.0,
        },
        "data": {
            "kind": "pictures",
            "path": "../shared/data",
            "on_bad": "raise",
            "valid": "lspet",
            "batch": 12,
            "workers": 0,
            "sets": {
                "lspet": 0.45, "multi": 0.25, "jhmdb": 0.15, "people": 0.08, "simulated": 0.07,
            },
            "unlabelled": {},  # sets of clips, their frames for the teacher alone
            "augment": {
                "canvas": canvas(side), "scale": (0.6, 1.3), "rotation": 35.0, "shift": 0.1,
                "flip": 0.5, "colour": 0.25, "mask_outside": False,
            },
        },
        "optimizer": {
            "name": "relative_adamw", "rate": 1e-3, "warmup": 50, "decay": "cosine", "final": 0.01,
            "clip": 0.0, "weight_decay": 0.0, "ema": 0.998, "multipliers": {},
        },
        "train": {
            "steps": steps, "log_every": 20, "eval_every": 500, "save_every": 100, "keep": 1,
            "best": {},
        },
        "distill": {
            "teacher": "small", "model": SMALL, "stored": "", "alpha": 1.0, "alpha_end": 0.8,
            "alpha_steps": steps, "pairing": "last", "hints": 1.0, "agreement": 0.0,
            "confident": False,
        },
        "detect": {
            "size": side,
            "min_parts": 5,
            # Fitted on 63 validation pictures: bodyjax.evaluate.calibration.
            "ranking": (3.04707, 2.20971, 8.13704, -1.67797, 2.36864),
            "min_person": 0.476,
        },
    }  # fmt: skip


def canvas(side: int) -> int:
    """The longer side of training pictures before they are scaled at random, in pixels."""
    return round(side * 187 / 160)


def study(arm: str, side: int) -> dict[str, Any]:
    """One run of the study: the same sets for each arm, and frames of clips for the third."""
    config, alone = phone(), arm == "alone"
    steps = STEPS[side][0 if alone else 1]
    config["model"] |= {"backbone": BACKBONES[side], "size": (side, side)}
    config["data"]["sets"] = {"lspet": 0.5, "multi": 0.3, "people": 0.1, "simulated": 0.1}
    if arm == "unlabelled":
        config["data"]["unlabelled"] = {"jhmdb": 0.2, "pushfit": 0.13}
    config["data"]["augment"] |= {
        "canvas": canvas(side), "scale": (0.65, 1.45), "rotation": 40.0,
    }  # fmt: skip
    config["optimizer"]["ema"] = 0.98
    config["train"] |= {"steps": steps, "eval_every": 0, "save_every": 0}
    config["distill"]["alpha_steps"] = steps
    config["detect"] |= {
        "size": side, "max_peaks": 24, "threshold": 0.15, "fill_reach": 0.4, "min_paf": 0.15,
        "ranking": (), "min_person": 0.0,
    }  # fmt: skip
    return {**config, "distill": {}} if alone else config


VARIANTS = ("phone", *(f"{arm}_{side}" for arm in ARMS for side in BACKBONES))


def get_config(variant: str = "phone") -> ConfigDict:
    """The config of a variant; ConfigError lists them."""
    if variant not in VARIANTS:
        raise ConfigError(f"no variant {variant!r}", hint=f"one of {', '.join(VARIANTS)}")
    if variant == "phone":
        return ConfigDict(phone())
    arm, side = variant.split("_")
    return ConfigDict(study(arm, int(side)))
