"""System C from pictures (CN 111260774 B): J heat maps and J maps of depth of one person.

A picture with 2D labels trains the heat maps; its depth is held to the geometric loss alone: bones
of a group keep their ratio. One with 3D labels trains both. Depth is relative to the pelvis, along
the ray to it, in sides of the crop at the pelvis' distance: x, y and depth have one unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax import camera, codec, losses
from bodyjax.contract import ArraySpec, Aux, Batch, Variables
from bodyjax.data.poses3d.mocap import HEIGHT
from bodyjax.metrics.pose3d import Joints3D
from bodyjax.models.lifter import DepthMaps, Lifter
from bodyjax.skeleton import H36M17
from bodyjax.systems.lifter_bones import BONES, GROUPS, LENGTHS, TALL
from bodyjax.systems.lifter_settings import Losses

Array = jax.Array
JOINTS = len(H36M17.joints)

SHARP = 20.0
"""Heat maps are multiplied by it before the softmax that reads places from them: they were taught
tops of 1 on a ground of 0, which alone would be nearly even."""


@dataclass(frozen=True)
class PicturesToSpace:
    """Built by `systems.lifter.build`; batches are those of data.person_crops.

    Prediction takes image (B, S, S, 3), camera (B, 4) of the crop and height (B,) mm. read: how a
    joint's depth is read, "bilinear" at the joint or "mean", weighted by the heat map.
    """

    model: Lifter
    size: int
    sigma: float
    read: str
    terms: Losses

    def init(self, key: Array) -> Variables:
        """Random parameters and statistics; parameters don't depend on the picture's size."""
        made = self.model.init(key, jnp.zeros((1, 64, 64, 3), jnp.uint8))
        return {"params": made["params"], "batch_stats": made.get("batch_stats", {}), "frozen": {}}

    def maps(self, variables: Variables, image: Any) -> DepthMaps:
        """All stages for pictures (B, H, W, 3)."""
        network = {"params": variables["params"], "batch_stats": variables["batch_stats"]}
        out: Any = self.model.apply(network, image)
        return out

    def loss(self, variables: Variables, batch: Batch, key: Array) -> tuple[Array, Aux]:
        """Heat maps of every picture, depth of those with 3D labels, bones of the others."""
        del key
        batch = {name: jnp.asarray(value) for name, value in batch.items()}
        network = {"params": variables["params"], "batch_stats": variables["batch_stats"]}
        out, updates = self.model.apply(
            network, batch["image"], train=True, mutable=["batch_stats"]
        )
        maps: Any = out
        heat = self.heat_loss(maps, batch)
        deep = batch["depth_mask"].any(-1)
        depth, bones = self.depth_losses(maps, batch, deep)
        count = jnp.float32(len(deep))
        shares = jnp.float32(1.0), jnp.float32(1.0)
        if self.terms.by_share:  # means over the pictures of a kind, not over the batch
            shares = (
                count / jnp.maximum(deep.sum(), 1.0),
                count / jnp.maximum((~deep).sum(), 1.0),
            )
        value = heat + self.terms.depth * shares[0] * depth
        value = value + self.terms.geometric * shares[1] * bones
        metrics = {"heatmaps": heat, "depth": depth, "bones": bones}
        if self.terms.heat_bones:
            metrics["heat_bones"] = self.heat_bones(maps, batch, deep)
            value = value + self.terms.heat_bones * shares[0] * metrics["heat_bones"]
        metrics["loss"] = value
        return value, Aux(
            {name: (term, count) for name, term in metrics.items()},
            updates.get("batch_stats", {}),
        )

    def heat_loss(self, maps: DepthMaps, batch: Batch) -> Array:
        """Against Gaussians at the labels, or with `terms.coordinates` the distance of the
        coordinates that the maps give ([0054]); the sum over stages."""
        taught = batch["joint_mask"][:, None, None, :]
        seen = (batch["visible"] > 0) & batch["joint_mask"]
        if self.terms.coordinates:
            places = codec.expected(maps.heatmaps, self.model.stride)
            apart = jnp.where(seen[..., None], (places - batch["xy"]) / self.size, 0.0)
            square = jnp.sum(jnp.square(apart), axis=(-1, -2)) / jnp.maximum(seen.sum(-1), 1)
            return jnp.sum(jnp.mean(square, axis=-1))
        shape = maps.heatmaps.shape[2], maps.heatmaps.shape[3]
        people, flags = batch["xy"][:, None], seen[:, None]
        target = codec.heatmaps(people, flags, shape, self.model.stride, self.sigma)
        weight = taught * (1 + self.terms.peaks * target)
        return jnp.sum(losses.stage_losses(maps.heatmaps, target, weight)) / JOINTS

    def depth_losses(self, maps: DepthMaps, batch: Batch, deep: Array) -> tuple[Array, Array]:
        """depth_l2 of pictures with 3D labels and bone_ratio of the others, sums over stages.

        Depth is read at the labels. Without a 3D label a joint has no gradient from the first; a
        picture with 3D labels has none from the second.
        """
        seen = batch["visible"] > 0
        places = jnp.where(seen[..., None], batch["xy"], 0.0)
        shape = maps.depth.shape[2], maps.depth.shape[3]
        drawn = codec.heatmaps(places[:, None], seen[:, None], shape, self.model.stride, self.sigma)
        weight = batch["depth_mask"].astype(jnp.float32) / JOINTS
        depth = bones = jnp.float32(0.0)
        for stage in maps.depth:
            read = self.depth_at(stage, places, drawn)
            depth += losses.depth_l2(read, batch["depth"], weight)
            points = jnp.concatenate([places / self.size, read[..., None]], axis=-1)
            flat = (~deep).astype(jnp.float32)
            bones += losses.bone_ratio(
                points, BONES, GROUPS, np.asarray(LENGTHS) / TALL, seen, flat
            )  # fmt: skip
        return depth, bones

    def heat_bones(self, maps: DepthMaps, batch: Batch, deep: Array) -> Array:
        """bone_ratio of pictures with 3D labels, from the places that the heat maps give
        (soft-argmax) and the depth of the labels, so that the heat maps alone learn from it (claim
        1); the sum over stages."""
        known = batch["depth_mask"]
        depth = jnp.where(known, batch["depth"], 0.0)[..., None]
        places = codec.expected(SHARP * maps.heatmaps, self.model.stride) / self.size
        bones = jnp.float32(0.0)
        for stage in places:
            points = jnp.concatenate([stage, depth], axis=-1)
            bones += losses.bone_ratio(
                points, BONES, GROUPS, np.asarray(LENGTHS) / TALL, known, deep.astype(jnp.float32)
            )  # fmt: skip
        return bones

    def depth_at(self, depth: Array, xy: Array, heat: Array) -> Array:
        """Depth (B, J) of maps (B, H, W, J) at joints xy (B, J, 2) pixels; with "mean" weighted by
        the heat maps near their tops."""
        if self.read == "bilinear":
            return codec.read(depth, xy, self.model.stride)
        top = jnp.max(heat, axis=(1, 2), keepdims=True)
        weight = jnp.where(heat > 0.5 * jnp.maximum(top, 1e-6), heat, 0.0)
        total = jnp.sum(weight, axis=(1, 2))
        mean = jnp.sum(weight * depth, axis=(1, 2)) / jnp.where(total > 0, total, 1.0)
        return jnp.where(total > 0, mean, 0.0)

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """xyz (B, 17, 3) mm, root-relative, in the camera's axes; xy (B, 17, 2) pixels of the crop
        and score (B, 17); depth (B, 17) in sides of the crop."""
        maps = self.maps(variables, batch["image"])
        heat = maps.heatmaps[-1]
        xy, score = codec.decode_near(heat, self.model.stride)
        depth = self.depth_at(maps.depth[-1], xy, jax.lax.stop_gradient(heat))
        depth = depth - depth[:, :1]
        xyz = in_space(xy, depth, batch["camera"], batch["height"], self.size)
        return {"xyz": xyz, "xy": xy, "score": score, "depth": depth}

    def metrics(self) -> Joints3D:
        return Joints3D(H36M17)

    def input_spec(self, size: int) -> dict[str, ArraySpec]:
        return {
            "image": ArraySpec((size, self.size, self.size, 3), "uint8"),
            "camera": ArraySpec((size, 4), "float32"),
            "height": ArraySpec((size,), "float32"),
        }

    def batch_spec(self, size: int) -> dict[str, ArraySpec]:
        return {
            "image": ArraySpec((size, self.size, self.size, 3), "uint8"),
            "xy": ArraySpec((size, JOINTS, 2), "float32"),
            "visible": ArraySpec((size, JOINTS), "uint8"),
            "joint_mask": ArraySpec((size, JOINTS), "bool"),
            "depth": ArraySpec((size, JOINTS), "float32"),
            "depth_mask": ArraySpec((size, JOINTS), "bool"),
        }


def in_space(xy: Any, depth: Any, seen_by: Any, height: Any, size: float) -> Array:
    """xyz (B, J, 3) mm, relative to the pelvis, in the camera's axes.

    xy (B, J, 2) pixels of a camera (B, 4); depth (B, J) behind the pelvis along its ray, in lengths
    of `size` pixels at its distance; height (B,) mm: the bones of the pose tell how far away a
    person of that height is.
    """
    places = camera.plane(xy, seen_by)
    turn = camera.towards(places[:, 0])
    rays = jnp.concatenate([places, jnp.ones_like(places[..., :1])], axis=-1)
    straight = camera.turned(rays, turn)
    straight = straight / jnp.maximum(straight[..., 2:], 0.05)
    # Everything in distances along the camera's axis to the pelvis: z = 1 there.
    root = jnp.sqrt(1.0 + jnp.sum(jnp.square(places[:, 0]), axis=-1))[:, None]
    behind = root + depth * size / jnp.asarray(seen_by)[:, :1]
    pose = straight * jnp.maximum(behind, 0.05)[..., None]
    pose = pose - pose[:, :1]
    lengths = jnp.sum(chain(pose), axis=-1)
    scale = jnp.asarray(height) / jnp.maximum(lengths, 1e-6)
    return camera.turned_back(pose * scale[:, None, None], turn)


def chain(pose: Array) -> Array:
    """Shares of the height (B, bones): half of each thigh and shin, and the trunk up to the head's
    top, times what the whole is short of the height."""
    first, second = np.array([ends for ends, _ in CHAIN]).T
    part = np.array([share for _, share in CHAIN], np.float32)
    bones = pose[:, first] - pose[:, second]
    square = jnp.sum(jnp.square(bones), axis=-1)
    some = square > 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), 0.0) * jnp.asarray(part)


def _chain() -> list[tuple[tuple[int, int], float]]:
    at, short = H36M17.index, HEIGHT
    legs = [
        ((at(f"{side}_{a}"), at(f"{side}_{b}")), 0.5 * short)
        for side in ("left", "right")
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    trunk = ("pelvis", "spine", "thorax", "neck", "head_top")
    return legs + [((at(a), at(b)), short) for a, b in pairwise(trunk)]


CHAIN = _chain()
"""Bones (a, b) whose weighted lengths add up to a person's height."""
