"""The detector's network as a config's `model` section names it: backbone, heads, stages."""

from __future__ import annotations

import dataclasses
from typing import Any

from bodyjax import skeleton
from bodyjax.errors import ConfigError
from bodyjax.models import backbones
from bodyjax.models.backbones.mobilenet_v2_fpn import NAMES as MOBILE
from bodyjax.models.backbones.mobilenet_v2_fpn import MobileNetV2FPN
from bodyjax.models.backbones.mobilenet_v2_short import MobileNetV2Short
from bodyjax.models.pose import CenterPose, MultiStagePose
from bodyjax.skeleton import COCO17, Skeleton
from bodyjax.systems import pose_settings


def check(holds: bool, field: str, value: Any, wanted: str, section: str = "model") -> None:
    """ConfigError naming the field where `holds` is False."""
    if not holds:
        raise ConfigError(f"{value!r} should be {wanted}", place=f"{section}.{field}")


Network = MultiStagePose | CenterPose


def network(model: Any, dtype: Any) -> tuple[Network, Skeleton]:
    """The network that a `model` section names, and its skeleton: a name of bodyjax.skeleton, or a
    section of words (skeleton.of)."""
    model = dataclasses.asdict(pose_settings.model(model))
    bones = skeleton.of(model["skeleton"])
    check(bones.limbs != (), "skeleton", bones.name, "one with limbs: people are grouped by them")
    check(model["stride"] in (4, 8), "stride", model["stride"], "4 or 8")
    built = (center_pose if model["heads"] == "center" else multi_stage)(model, bones, dtype)
    size, cell = tuple(model["size"]), built.cell
    fits = len(size) == 2 and all(n > 0 and n % cell == 0 for n in size)
    check(fits, "size", size, f"(H, W), multiples of {cell}")
    plain = not built.reduction or cell == 32
    check(plain, "reduction", built.reduction, "0: this backbone has no pyramid")
    return built, bones


def multi_stage(model: Any, bones: Skeleton, dtype: Any) -> MultiStagePose:
    """Heat maps and fields by stages alone."""
    check(model["stages"] > 0, "stages", model["stages"], "a whole number from 1 on")
    return MultiStagePose(
        backbones.build(model, dtype), len(bones.joints), len(bones.limbs), stride=model["stride"],
        stages=model["stages"], light=model["light"], width=model["width"],
        layers=model["layers"], pyramid=model["pyramid"], reduction=model["reduction"], dtype=dtype,
    )  # fmt: skip


def center_pose(model: Any, bones: Skeleton, dtype: Any) -> CenterPose:
    """MoveNet's heads, and stages for the fields; the skeleton's joints are COCO's and the neck."""
    below = backbones.build(model, dtype)
    if not isinstance(below, MobileNetV2FPN | MobileNetV2Short):
        what = f"'center' should be with {' or '.join(MOBILE)}, or mobilenet_v2_short_X_Y"
        raise ConfigError(what, place="model.heads")
    check(model["stride"] == 4, "stride", model["stride"], "4 with heads = center")
    names, known = [skeleton.common_name(joint) for joint in bones.joints], list(COCO17.joints)
    missing = [name for name in names if name not in (*known, "neck")]
    wanted = "coco17 or body18 with heads = center; heads = stages take any"
    check(not missing, "skeleton", bones.name, wanted)
    fits = model["stages"] > 0 or not set(names) - set(known)
    check(fits, "stages", 0, f"1 or more: the heads don't know the neck of {bones.name}")
    fits = model["stages"] == 0 or max(below.strides) == 32
    check(fits, "stages", model["stages"], "0: this backbone has no level of stride 32")
    order = tuple(known.index(name) if name in known else -1 for name in names)
    between = known.index("left_shoulder"), known.index("right_shoulder")
    return CenterPose(
        below, order, between, len(bones.limbs), len(known), model["stages"], model["width"],
        model["layers"], model["pyramid"], model["reduction"], dtype,
    )  # fmt: skip
