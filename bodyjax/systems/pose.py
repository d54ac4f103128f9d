"""System E, and the detector of system A: pictures to heat maps, affinity fields and people.

Batch: image (B, H, W, 3) uint8; xy (B, P, J, 2) pixels and visible (B, P, J); joint_mask (B, J),
joints that the picture's set teaches; area_mask (B, H/s, W/s), cells where its labels hold.
Labels are drawn on the device from the joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bodyjax import codec, losses, skeleton
from bodyjax.contract import ArraySpec, Aux, Batch, Variables
from bodyjax.errors import ConfigError
from bodyjax.metrics import Keypoints
from bodyjax.models.backbone import EfficientNetLite0, SEResNet
from bodyjax.models.pose import Maps, MultiStagePose
from bodyjax.skeleton import Skeleton

Array = jax.Array


class Targets(NamedTuple):
    """What the maps should be, and how much each cell and channel counts (W of SYSTEMS E)."""

    heatmaps: Array
    pafs: Array
    heatmap_mask: Array
    paf_mask: Array


@dataclass(frozen=True)
class SinglePerson:
    """PCK@0.2 of the first person of each picture (LSP has one), the torso as measure."""

    keypoints: Keypoints

    def init(self) -> Any:
        return self.keypoints.init()

    def update(self, state: Any, outputs: Any, batch: Batch) -> Any:
        first = {**batch, "xy": batch["xy"][:, 0], "visible": batch["visible"][:, 0]}
        return self.keypoints.update(state, outputs, first)

    def compute(self, state: Any) -> dict[str, Any]:
        return self.keypoints.compute(state)


@dataclass(frozen=True)
class Pose:
    """The detector as a system. Sizes in input pixels: `size` (H, W) of training pictures, `sigma`
    of the Gaussians, `width` of the fields. Cells are weighted 1 + `peak_weight` x target.
    `hard_stages` of the last stages keep only each picture's `hard_joints` worst joints (0: all).
    """

    model: MultiStagePose
    bones: Skeleton
    size: tuple[int, int]
    max_people: int
    sigma: float
    width: float
    peak_weight: float
    hard_joints: int
    hard_stages: int

    def init(self, key: Array) -> Variables:
        # Parameters do not depend on the picture's size: the smallest one compiles fastest.
        variables = self.model.init(key, jnp.zeros((1, 64, 64, 3), jnp.uint8))
        return {
            "params": variables["params"],
            "batch_stats": variables.get("batch_stats", {}),
            "frozen": {},
        }

    def batch_spec(self, size: int) -> dict[str, ArraySpec]:
        (height, width), stride = self.size, self.model.stride
        people, joints = self.max_people, len(self.bones.joints)
        return {
            "image": ArraySpec((size, height, width, 3), "uint8"),
            "xy": ArraySpec((size, people, joints, 2), "float32"),
            "visible": ArraySpec((size, people, joints), "uint8"),
            "joint_mask": ArraySpec((size, joints), "bool"),
            "area_mask": ArraySpec((size, height // stride, width // stride), "float32"),
        }

    def maps(self, variables: Variables, image: Array) -> Maps:
        """All stages for pictures (B, H, W, 3) of any size that is a multiple of 32."""
        return self.model.apply(
            {"params": variables["params"], "batch_stats": variables["batch_stats"]}, image
        )

    def targets(self, batch: Batch) -> Targets:
        """Labels and weights of a batch, drawn from its joints."""
        shape, stride = batch["area_mask"].shape[1:], self.model.stride
        xy, visible = batch["xy"], batch["visible"]
        joints = codec.heatmaps(xy, visible, shape, stride, self.sigma)
        heatmaps = jnp.concatenate([joints, codec.background(joints)], axis=-1)
        pafs = codec.pafs(xy, visible, self.bones.limbs, shape, stride, self.width)
        area, taught = batch["area_mask"][..., None], batch["joint_mask"]
        first, second = (jnp.array(ends) for ends in zip(*self.bones.limbs, strict=True))
        limbs = jnp.repeat(taught[:, first] & taught[:, second], 2, axis=-1)
        # The background is known only where every joint is taught.
        channels = jnp.concatenate([taught, taught.all(-1, keepdims=True)], axis=-1)
        peaks = jnp.concatenate([joints, jnp.zeros_like(heatmaps[..., -1:])], axis=-1)
        strength = jnp.linalg.norm(pafs.reshape(*pafs.shape[:-1], -1, 2), axis=-1)
        return Targets(
            heatmaps,
            pafs,
            area * channels[:, None, None] * (1 + self.peak_weight * peaks),
            area * limbs[:, None, None] * (1 + 0.3 * self.peak_weight * jnp.repeat(strength, 2, -1)),
        )

    def loss(self, variables: Variables, batch: Batch, key: Array) -> tuple[Array, Aux]:
        del key
        maps, updates = self.model.apply(
            {"params": variables["params"], "batch_stats": variables["batch_stats"]},
            batch["image"], train=True, mutable=["batch_stats"],
        )  # fmt: skip
        target = self.targets(batch)
        stages = losses.heatmap_stage_losses(
            maps.heatmaps, target.heatmaps, target.heatmap_mask, joints=len(self.bones.joints),
            k=self.hard_joints or len(self.bones.joints),
            hard_stages=self.hard_stages if self.hard_joints else 0,
            joint_mask=batch["joint_mask"],
        )  # fmt: skip
        fields = losses.stage_losses(maps.pafs, target.pafs, target.paf_mask)
        count = jnp.float32(batch["image"].shape[0])
        total = stages.sum() + fields.sum()
        metrics = {
            "loss": (total, count),
            "heatmaps": (stages[-1], count),
            "pafs": (fields[-1], count),
        }
        return total, Aux(metrics, updates.get("batch_stats", {}))

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """heatmaps (B, h, w, J + 1), pafs (B, h, w, 2L) of the last stage, and the highest peak of
        each joint as the joints of one person: xy (B, J, 2) pixels, score (B, J)."""
        maps = self.maps(variables, batch["image"])
        heatmaps = maps.heatmaps[-1]
        xy, score = codec.decode(heatmaps[..., :-1], self.model.stride, refine="dark")
        return {
            "heatmaps": heatmaps,
            "pafs": maps.pafs[-1],
            "xy": xy,
            "score": score,
        }

    def metrics(self) -> SinglePerson:
        return SinglePerson(Keypoints(self.bones))


def backbone(config: Any, dtype: Any) -> Any:
    """The backbone that a model config names."""
    name = config["backbone"]
    if name == "efficientnet_lite0":
        return EfficientNetLite0(config["depthwise"], config["frozen_blocks"], dtype)
    if name.startswith("se_resnet_"):
        return SEResNet(name.removeprefix("se_resnet_"), dtype=dtype)
    if name.startswith("resnet_"):
        return SEResNet(name.removeprefix("resnet_"), reduction=0, dtype=dtype)
    raise ConfigError(f"no backbone {name!r}", place="model.backbone")


def build(config: Any) -> Pose:
    """The detector of `config.model` (fields: see configs/pose.py)."""
    model, bones = config["model"], skeleton.get(config["model"]["skeleton"])
    dtype = jnp.dtype(config["train"].get("compute_dtype", "float32"))
    network = MultiStagePose(
        backbone(model, dtype), len(bones.joints), len(bones.limbs), model["stride"],
        model["stages"], model["light"], model["width"], dtype,
    )  # fmt: skip
    return Pose(
        network, bones, tuple(model["size"]), model["max_people"], model["sigma"],
        model["paf_width"], model["peak_weight"], model["hard_joints"], model["hard_stages"],
    )  # fmt: skip
