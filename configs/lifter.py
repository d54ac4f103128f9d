"""Joints of people in space (system C, CN 111260774 B): depth from joints, and from pictures.

    python -m launch.train --config configs/lifter.py:VARIANT --workdir DIR

Data below `data.path` (../shared/data). Figures are MPJPE / PA-MPJPE in mm: on the test part of
../shared/data/people by box, body height and camera given (mean pose: 246 / 179), unless another
set is named; docs/LIFT.md has the whole table.

| variant | what it is | data | time | expected |
|---|---|---|---|---|
| pictures | heat maps and depth maps, trunk of `small` | simulated | 2 min 33 s, 1 core | 166 / 127 (200 simulated pictures) |
| 2d3d | `pictures`, 2D and 3D labels in each batch | lspet, multi, people | 7 min, 1 core | 159 / 121 (validation) |
| 3d_only | `2d3d` without 2D labels | people | 7 min, 1 core | 600 steps: 170 / 125 |
| no_geometric | `2d3d` without the geometric loss | lspet, multi, people | 7 min, 1 core | docs/LIFT.md |
| heat_bones | `2d3d`, bones of 3D labels teach the heat maps too (claim 1) | lspet, multi, people | 7 min, 1 core | 600 steps: 190 / 144 (validation; `2d3d` 192 / 145) |
| 2d_then_3d | `2d3d`, batches of 2D and 3D in turns, from a model of 2D labels | the same | 7 min, 1 core | 600 steps after 400: 186 / 138 |
| maps | from a detector's joints alone | mocap | 6 min, 1 core | 152 / 99 (validation) |
| maps_people | `maps` with rendered people: the shipped `lifter` | mocap, people | 12 min, 1 core | 117 / 80 |
| tiny | for tests | simulated | seconds | none |

Human3.6M (research only; its weights are not shipped): --config configs/lifter.py:maps
--config.data.mocap=../shared/data/real3d --config.data.noise.faceless=1
--config.data.noise.lost=0.01 --config.data.noise.bad=0.1 --config.data.noise.unsure=0.03
--config.train.steps=10000: 81 / 57 on S9 and S11 from detections, 53 / 40 from true 2D, 8 min.
The first training of `2d_then_3d` is `2d3d` with its 2D sets alone, --config.data.deep.people=0;
with --config.loss.coordinates=True its loss is the distance of coordinates (soft-argmax, [0054]).
"""  # noqa: E501 (rows of a table)

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
            "noise": {
                "sure": 0.012,
                "unsure": 0.06,
                "bad": 0.15,
                "lost": 0.08,
                "far": 0.18,
                "drop": 0.05,
                "faceless": 0.1,
            },
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


def maps_people() -> dict[str, Any]:
    """`maps`, and rendered people with the joints that the detector finds in their pictures: the
    shipped `lifter`."""
    return _changed(
        maps(),
        data={
            "people": "../shared/data/people",
            "joints": "runs/people_joints.npz",
            "shares": (0.4, 0.6),
        },
        train={"steps": 9000},
    )


def pictures() -> dict[str, Any]:
    """From pictures: the trunk of `small`, heat maps and maps of depth; on simulated people."""
    frozen = {"backbone": 0.0}
    return {
        "system": "lifter",
        "seed": 0,
        # A detector (its backbone and pyramid), a lifter, or "": random.
        "start": "small",
        "model": {
            "input": "pictures",
            "skeleton": "h36m17",
            "backbone": "mobilenet_v2_fpn_1.5",
            "depthwise": "shifted",  # or "grouped": GPU and export
            "frozen_blocks": 17,  # the whole backbone stays as it is
            "stages": 2,
            "width": 96,
            "layers": 2,
            "pyramid": (64, 96, 112, 96),
            "size": 128,
            "sigma": 6.0,
            "read": "bilinear",  # or "mean": by the heat map's weight
            "detector": "small",  # what finds the people at use
            "second": "",
        },
        "loss": {
            "depth": 10.0,  # lambda_reg
            "geometric": 0.1,  # lambda_g
            "by_share": False,
            "peaks": 8.0,
            "coordinates": False,
            "heat_bones": 0.0,
        },
        "data": {
            "kind": "person_crops",
            "path": "../shared/data",
            "valid": "simulated",
            "sets": {},
            "deep": {"simulated": 1.0},
            "alternate": False,
            "deep_share": 1.0,
            "person": 0.8,
            "rotation": 25.0,
            "colour": 0.25,
            "batch": 8,
            "workers": 0,
        },
        "optimizer": {
            "name": "adamw", "rate": 2e-3, "warmup": 50, "decay": "cosine", "final": 0.01,
            "clip": 1.0, "weight_decay": 0.01, "ema": 0.99, "multipliers": frozen,
        },
        "train": {"steps": 600, "log_every": 20, "eval_every": 0, "save_every": 100},
    }  # fmt: skip


def _changed(base: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    """`base` with fields of its sections changed or added."""
    return {**base, **{name: {**base.get(name, {}), **part} for name, part in sections.items()}}


def mixed() -> dict[str, Any]:
    """2D- and 3D-labelled pictures in every batch."""
    return _changed(
        pictures(),
        data={
            "valid": "people",
            "sets": {"lspet": 0.25, "multi": 0.15},
            "deep": {"people": 0.6},
        },
        train={"steps": 3200},
    )


def deep_only() -> dict[str, Any]:
    """`2d3d` without the 2D-labelled pictures."""
    return _changed(mixed(), data={"sets": {}})


def flat_then_deep() -> dict[str, Any]:
    """The second training of two: the folder of the first one is --config.start."""
    return _changed(mixed(), data={"alternate": True})


def no_geometric() -> dict[str, Any]:
    """`2d3d` without the geometric loss."""
    return _changed(mixed(), loss={"geometric": 0.0})


def heat_bones() -> dict[str, Any]:
    """`2d3d`, in which the bones of 3D-labelled pictures teach the heat maps too (claim 1)."""
    return _changed(mixed(), loss={"heat_bones": 0.1})


def tiny() -> dict[str, Any]:
    """For tests, takes seconds."""
    config = _changed(
        pictures(),
        model={
            "backbone": "mobilenet_v2_fpn_1.5", "frozen_blocks": 17, "width": 8, "layers": 1,
            "stages": 1, "pyramid": (8, 8, 8, 8), "size": 64,
        },
        data={"batch": 2},
        optimizer={"multipliers": {}, "ema": 0.0, "warmup": 2},
        train={"steps": 4, "log_every": 2, "save_every": 0},
    )  # fmt: skip
    return {**config, "start": ""}


VARIANTS = {
    "pictures": pictures, "2d3d": mixed, "3d_only": deep_only, "2d_then_3d": flat_then_deep,
    "no_geometric": no_geometric, "heat_bones": heat_bones, "maps": maps,
    "maps_people": maps_people, "tiny": tiny,
}  # fmt: skip


def get_config(variant: str = "pictures") -> ConfigDict:
    """The config of a variant; ConfigError lists them."""
    if variant not in VARIANTS:
        raise ConfigError(f"no variant {variant!r}", hint=f"one of {', '.join(VARIANTS)}")
    return ConfigDict(VARIANTS[variant]())
