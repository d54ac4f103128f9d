"""The 2D detector of several people (system E), and its training with a teacher (system B).

    python -m launch.train --config configs/pose.py:VARIANT --workdir DIR

Data: the sets below `data.path` (../shared/data), named in `data.sets` with their shares; each is a
folder of LSP arrays, COCO keypoints, rendered people or clips with stored joints (jhmdb: frames of
the training clips of its split 1), or `simulated` (drawn while training). Figures are PCK@0.2 over
the 12 limb joints on the held-out tenth of lspet (launch.evaluate) unless another one is named;
figures not given here are in README.md.

| variant | what it is | data | time | expected |
|---|---|---|---|---|
| small | MoveNet MultiPose as it is, two stages for the fields | lspet, multi, people, simulated | 1 h, 1 CPU core | README |
| large | the same on MoveNet Thunder | the same | 1 h, 1 CPU core | README |
| finetune | `small` on your own pictures | a COCO keypoint file | 6 min, 2 CPU cores | prints the gain |
| small_tuned | `small`, its deep blocks and heads trained too, a third drawn people | lspet, multi, people, simulated | 20 min, 1 CPU core | PCK 0.570 -> 0.535 (validation): docs/detecting.md |
| large_tuned | `large`, its deep blocks and heads trained too, `large` as teacher | lspet, multi, people, simulated | 1 h, 1 CPU core | no gain: docs/detecting.md |
| imagenet | EfficientNet-lite0 start, two light stages, stride 8 | as small | 5 h, 2 CPU cores | 0.531 |
| imagenet_distilled | imagenet, and stored joints of a phone model | the same | as imagenet | not measured |
| imagenet_from_large | imagenet, taught by `large` inside the step | the same | GPU | not measured |
| cmu | VGG19, six stages: the published baseline | COCO | GPU, days | AP 58.4 (patent) |
| se | SE-ResNet-50 (model.backbone=se_resnet_101: 101) in VGG's place | COCO | GPU, days | AP 58.6 |
| se_okhm | se, the 8 worst joints in the last two stages | COCO | GPU, days | AP 60.0 |
| ablation_baseline | start of small, three light stages, 160 px | lspet, multi | 3 min, CPU | docs/detecting.md |
| ablation_se | the same with squeeze and excitation in the pyramid | lspet, multi | 3 min, CPU | docs/detecting.md |
| ablation_okhm | the same, 8 worst joints in the last two stages | lspet, multi | 3 min, CPU | docs/detecting.md |
| ablation_distilled | ablation_se, taught by `small` inside the step | lspet, multi | 5 min, CPU | not measured |
| tiny | for tests: seconds | simulated | seconds | none |

COCO is expected as ../coco/coco/annotations.json (person_keypoints_train2017.json) and
../coco/coco/images.zip or images/; `--config.data=PATH` names another place.
The ablations (600 steps of 12 pictures) differ only in what their rows name; three seeds:
--config.seed=0, 1, 2. What they show: docs/detecting.md. A teacher's maps can be stored once
instead of running it in each step (`distill.stored`): docs/training.md.
"""  # noqa: E501 (rows of a table)

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from bodyjax.errors import ConfigError

LITE0 = "../shared/data/backbones/efficientnet_lite0.npz"
MULTIPOSE = "../shared/data/backbones/movenet_multipose.npz"
THUNDER = "../shared/data/backbones/movenet_thunder.npz"


def imagenet() -> dict[str, Any]:
    """EfficientNet-lite0, started from its weights of ImageNet, and two light stages."""
    return {
        "system": "pose",
        "seed": 0,
        # An .npz of published backbone weights, a run or shipped weights; "": random.
        "start": LITE0,
        "model": {
            "skeleton": "body18",
            "backbone": "efficientnet_lite0",
            "depthwise": "shifted",  # or "grouped": GPU and export
            "frozen_blocks": 5,  # the stem and this many blocks stay as published
            "stride": 8,
            "stages": 2,
            "light": True,
            "width": 96,
            "size": (192, 192),
            "max_people": 6,
            "sigma": 9.0,
            "paf_width": 6.0,
            "peak_weight": 6.0,
            "paf_weight": 0.5,
            "hard_joints": 0,  # 0: all joints count
            "hard_stages": 0,
        },
        "data": {
            "kind": "pictures",
            "path": "../shared/data",
            "on_bad": "raise",  # or "skip": left out, counted and named
            "valid": "lspet",
            "batch": 8,
            "workers": 0,
            "sets": {"lspet": 0.40, "multi": 0.28, "people": 0.05, "simulated": 0.27},
            "augment": {
                # People as large as in a canvas of `canvas` pixels, times the scale.
                "canvas": 224,
                "scale": (0.6, 1.3),
                "rotation": 35.0,
                "shift": 0.1,
                "flip": 0.5,
                "colour": 0.25,
                # What lies outside a picture is empty, as the margins of a canvas are.
                "mask_outside": False,
            },
        },
        "optimizer": {
            "name": "adamw",
            "rate": 1e-3,
            "warmup": 200,
            "decay": "cosine",
            "final": 0.01,
            "clip": 0.0,
            "weight_decay": 0.01,
            "ema": 0.999,
            "multipliers": {"backbone": 0.4},
        },
        "train": {
            "steps": 15_000,
            "log_every": 20,
            "eval_every": 2000,
            "save_every": 250,
            "keep": 1,
            "best": {"metric": "pck_limbs", "mode": "max"},
        },
        # At test time (detect.Settings), chosen on validation pictures.
        "detect": {"size": 224, "min_parts": 5},
    }


def small() -> dict[str, Any]:
    """MoveNet MultiPose as it is; only the stages for the fields are trained."""
    config = imagenet()
    config["start"] = MULTIPOSE
    config["model"] = {
        "skeleton": "body18",
        "backbone": "mobilenet_v2_fpn_1.5",
        "depthwise": "shifted",  # or "grouped": GPU and export
        "frozen_blocks": 17,  # the whole backbone stays as published
        "heads": "center",  # MoveNet's heads, and stages beside them
        "stride": 4,
        "stages": 2,
        "light": True,
        "width": 64,
        "layers": 2,
        "pyramid": (64, 96, 112, 96),
        "reduction": 0,
        "size": (256, 256),
        "max_people": 12,
        "sigma": 8.0,
        "paf_width": 7.0,
        "peak_weight": 4.0,
        "paf_weight": 2.0,
        "head_weight": 0.0,  # of the losses of MoveNet's heads
        "hard_joints": 0,  # 0: all joints count
        "hard_stages": 0,
    }
    config["data"] |= {
        "batch": 12,
        "sets": {"lspet": 0.25, "multi": 0.55, "people": 0.10, "simulated": 0.10},
        "augment": _augment(canvas=320, scale=(0.65, 1.45), rotation=40.0),
    }
    frozen = ("backbone", "heatmap", "center", "regress", "offset")
    config["optimizer"] |= {
        "rate": 2e-3,
        "warmup": 100,
        "ema": 0.998,
        "multipliers": dict.fromkeys(frozen, 0.0),
    }
    config["train"] |= {"steps": 2000, "eval_every": 0, "save_every": 200, "best": {}}
    config["detect"] = {
        "size": 384,
        "max_peaks": 24,
        "threshold": 0.15,
        "fill_reach": 0.4,
        "min_paf": 0.15,
        "min_parts": 5,
        # Fitted on 63 validation pictures at this size: bodyjax.evaluate.calibration.
        "ranking": (-0.09311, 1.26831, 3.52994, 2.17317, 1.31977),
        "ranking_second": (-3.32719, 0.41885, 6.73055, 0.64458, 1.57826),
        "min_person": 0.514,
        "min_person_second": 0.328,
    }
    return config


def finetune() -> dict[str, Any]:
    """`small` on your own pictures, --config.data=PATH of a COCO keypoint file or its folder.

    It trains the deep blocks, the pyramid, heads and stages, each channel in steps relative to its
    own size: the published weights differ 4,000-fold in scale. The first ten blocks (edges,
    textures, parts) stay as they are. Heads weigh 500: the stages' losses are sums over whole maps.
    """
    kept = {"backbone/stem": 0.0} | {f"backbone/block{i}": 0.0 for i in range(10)}
    config = _changed(
        small(),
        model={"frozen_blocks": 10, "head_weight": 500.0},
        optimizer={
            "name": "relative_adamw",
            "rate": 4e-4,
            "weight_decay": 0.0,
            "warmup": 20,
            "ema": 0.98,
            "multipliers": kept,
        },
        train={"steps": 600, "save_every": 100},
    )
    data = {name: config["data"][name] for name in ("on_bad", "workers", "augment")}
    config["data"] = {"kind": "own_pictures", "path": "", "batch": 8, **data}
    # Test-time settings that are not here are those of the start.
    return {**config, "start": "small", "detect": {"size": 384}}


def _changed(base: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    """`base` with fields of its sections changed or added."""
    return {**base, **{name: {**base.get(name, {}), **part} for name, part in sections.items()}}


def _augment(**changes: Any) -> dict[str, Any]:
    """`small`'s random changes of pictures, some fields changed (data.augment.augment_picture)."""
    return {**imagenet()["data"]["augment"], **changes}


def _teacher(teacher: str, model: dict[str, Any]) -> dict[str, Any]:
    """The section `distill`: `teacher` is a run or shipped weights of `model`, run in the step; ""
    the stored joints of data.path/SET/teacher.npz. `stored`: a folder of maps that `launch.prepare
    --teacher` made of sets of data.sets, in their place; a `teacher` must then be the one that made
    them, and `model` is not used. alpha goes linearly from `alpha` to `alpha_end` within
    `alpha_steps` steps; 0 steps: it stays `alpha`. hints: the weight in the teacher's loss of the
    distance between features; agreement: that of the student's own maps of neighbouring frames of
    `data.unlabelled`; both for a `teacher` in the step (systems.hints, systems.agreement), as is
    confident: alpha of a picture is multiplied by how sure the teacher is of it."""
    return {
        "teacher": teacher,
        "model": model,
        "stored": "",
        "alpha": 0.5,
        "alpha_end": 0.5,
        "alpha_steps": 0,
        "pairing": "last",
        "hints": 0.0,
        "agreement": 0.0,
        "confident": False,
    }


def large() -> dict[str, Any]:
    """MoveNet Thunder as it is, the stages trained as those of `small`; for large people."""
    config = _changed(
        small(),
        model={"backbone": "mobilenet_v2_fpn_1.75"},
        train={"steps": 900},
        detect={
            "size": 256,
            "ranking": (2.23509, 1.39015, 3.35944, -0.02707, 1.01065),
            "ranking_second": (),
            "min_person": 0.345,
            "min_person_second": 0.0,
        },
    )
    return {**config, "start": THUNDER}


def large_tuned() -> dict[str, Any]:
    """`large`, its network also trained from block 6 on, on crops around one person, turned
    further; the original `large` teaches what the labels leave out."""
    config = _changed(
        large(),
        model={"frozen_blocks": 6, "head_weight": 500.0},
        data={
            "batch": 8,
            "sets": {"lspet": 0.5, "multi": 0.25, "people": 0.1, "simulated": 0.15},
            "augment": _augment(person=0.8, canvas=0, scale=(0.7, 1.25), rotation=100.0),
        },
        optimizer={
            "name": "relative_adamw", "rate": 4e-4, "weight_decay": 0.0, "warmup": 50,
            "ema": 0.995,
            "multipliers": {"backbone/stem": 0.0} | {f"backbone/block{i}": 0.0 for i in range(6)},
        },
        train={"steps": 1200, "save_every": 100},
        distill=_teacher("large", large()["model"]),
    )  # fmt: skip
    config["distill"]["alpha"] = config["distill"]["alpha_end"] = 0.3
    return {**config, "start": "large"}


def small_tuned() -> dict[str, Any]:
    """`small`, its network also trained from block 6 on, with a third of drawn people, whose arms
    MoveNet finds badly; the original `small` teaches what the labels leave out."""
    tuned = large_tuned()
    config = _changed(
        small(),
        model={"frozen_blocks": 6, "head_weight": 500.0},
        data={
            "batch": 8,
            "sets": {"lspet": 0.2, "multi": 0.35, "people": 0.1, "simulated": 0.35},
        },
        optimizer=tuned["optimizer"],
        train={"steps": 900, "save_every": 100},
        distill=_teacher("small", small()["model"]),
    )
    config["distill"]["alpha"] = config["distill"]["alpha_end"] = 0.3
    return {**config, "start": "small"}


def imagenet_distilled() -> dict[str, Any]:
    """`imagenet`, and the sets' stored joints of a phone model as teacher."""
    return _changed(imagenet(), distill=_teacher("", {}))


def imagenet_from_large() -> dict[str, Any]:
    """`imagenet`, taught by `large` inside the step."""
    return _changed(imagenet(), distill=_teacher("large", large()["model"]))


def cmu() -> dict[str, Any]:
    """As OpenPose trains: 368 x 368, sigma 7 px, scale 0.5 to 1.1, +-40 degrees, no weights on
    peaks. `start`: an .npz of torchvision's VGG19."""
    config = _changed(
        imagenet(),
        model={
            "backbone": "vgg19",
            "stages": 6,
            "light": False,
            "size": (368, 368),
            "max_people": 20,
            "sigma": 7.0,
            "paf_width": 8.0,
            "peak_weight": 0.0,
            "paf_weight": 1.0,
        },
        data={
            "path": "../coco",
            "valid": "coco",
            "batch": 32,
            "sets": {"coco": 1.0},
            "augment": _augment(person=0.6, canvas=0, scale=(0.5, 1.1), rotation=40.0),
        },
        optimizer={
            "name": "adam",
            "rate": 1e-4,
            "weight_decay": 0.0,
            "warmup": 1000,
            "clip": 1.0,
            "multipliers": {"backbone": 0.25},
        },
        # PCK of one person says little where there are several: launch.evaluate measures AP.
        train={"steps": 400_000, "eval_every": 0, "save_every": 2000, "best": {}},
        detect={"size": 368, "min_parts": 3},
    )
    return {**config, "start": ""}


def se() -> dict[str, Any]:
    """`cmu` on SE-ResNet-50 instead of VGG."""
    return _changed(cmu(), model={"backbone": "se_resnet_50"})


def se_okhm() -> dict[str, Any]:
    """`se`, the 8 worst joints in the last two stages."""
    return _changed(se(), model={"hard_joints": 8, "hard_stages": 2})


def ablation_baseline() -> dict[str, Any]:
    """From the start of `small`, its backbone frozen, heat maps by the stages alone: minutes per
    run on a CPU. The trunk is what is compared."""
    config = _changed(
        small(),
        model={
            "heads": "stages", "stride": 8, "stages": 3, "size": (160, 160), "max_people": 6,
            "sigma": 9.0, "paf_width": 6.0, "peak_weight": 12.0,
        },
        data={
            "sets": {"lspet": 0.75, "multi": 0.25},
            "augment": _augment(canvas=190, scale=(0.75, 1.4)),
        },
        optimizer={"rate": 6e-3, "warmup": 50, "ema": 0.99, "multipliers": {"backbone": 0.0}},
        train={"steps": 600, "eval_every": 0, "save_every": 250},
    )  # fmt: skip
    return {**config, "detect": {"size": 160, "min_parts": 3}}


def ablation_se() -> dict[str, Any]:
    """`ablation_baseline` with squeeze and excitation in the pyramid."""
    return _changed(ablation_baseline(), model={"reduction": 8})


def ablation_okhm() -> dict[str, Any]:
    """`ablation_se`, the 8 worst joints in the last two stages."""
    return _changed(ablation_se(), model={"hard_joints": 8, "hard_stages": 2})


def ablation_distilled() -> dict[str, Any]:
    """`ablation_se`, taught by `small` inside the step."""
    return _changed(ablation_se(), distill=_teacher("small", small()["model"]))


def tiny() -> dict[str, Any]:
    """For tests, takes seconds: small drawn people."""
    config = _changed(
        imagenet(),
        model={
            "backbone": "se_resnet_small",
            "width": 16,
            "size": (64, 64),
            "max_people": 3,
        },
        data={
            "batch": 4,
            "valid": "simulated",
            "sets": {"simulated": 1.0},
            "augment": _augment(canvas=76),
        },
        optimizer={"rate": 2e-3, "warmup": 5, "multipliers": {}, "ema": 0.0},
        detect={"size": 64, "min_parts": 3},
        train={"steps": 20, "log_every": 5, "eval_every": 0, "save_every": 0, "best": {}},
    )
    return {**config, "start": ""}


VARIANTS = {
    "small": small, "small_tuned": small_tuned, "finetune": finetune,
    "large": large, "large_tuned": large_tuned,
    "imagenet": imagenet, "imagenet_distilled": imagenet_distilled,
    "imagenet_from_large": imagenet_from_large, "cmu": cmu, "se": se, "se_okhm": se_okhm,
    "ablation_baseline": ablation_baseline, "ablation_se": ablation_se,
    "ablation_okhm": ablation_okhm, "ablation_distilled": ablation_distilled, "tiny": tiny,
}  # fmt: skip


def get_config(variant: str = "small") -> ConfigDict:
    """The config of a variant; ConfigError lists them."""
    if variant not in VARIANTS:
        raise ConfigError(f"no variant {variant!r}", hint=f"one of {', '.join(VARIANTS)}")
    return ConfigDict(VARIANTS[variant]())
