"""System C, variant `maps`: joints found in a picture -> the same person's joints in space.

What a 2D detector's heat maps say, the places and heights of their peaks, is all that this network
sees, so it learns from motion capture without pictures, and any photo that the detector reads gets
depth. The network works in the view of an ideal camera that looks straight at the person
(`camera.straight`), in heights of the person; predictions are turned back into the axes of the
real camera and multiplied by the height.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax import camera, losses
from bodyjax.contract import ArraySpec, Aux, Batch, Variables
from bodyjax.metrics.pose3d import Joints3D, joint_errors
from bodyjax.models.lifter import JointLifter
from bodyjax.skeleton import H36M17, LIFT16
from bodyjax.systems.lifter_bones import BONES, GROUPS, LENGTHS

Array = jax.Array

MIDDLES = {
    "pelvis": ("left_hip", "right_hip"),
    "spine": ("left_shoulder", "right_hip"),
    "thorax": ("left_shoulder", "right_shoulder"),
    "neck": ("head", "head"),
    "head_top": ("head", "head"),
}
"""Seen joints near whose middle the joints lie that detectors lack."""

BASE = tuple(
    (LIFT16.index(first), LIFT16.index(second))
    for first, second in (MIDDLES.get(name, (name, name)) for name in H36M17.joints)
)


@dataclass(frozen=True)
class JointsToSpace:
    """Built by `systems.lifter.build`.

    A training batch holds, for `views` cameras at each pose, xy (B, V, 16, 2) pixels and score (B,
    V, 16) in joints of lift16 (score 0: not given), camera (B, V, 4) and xyz (B, V, 17, 3) in
    heights of the person, root-relative, in the axes of each camera, NaN where not known.
    Prediction takes xy (B, 16, 2), score (B, 16), camera (B, 4) and height (B,) mm.

    geometric: weight of the bones' loss (CN 111260774 B, formula 2) beside the mean distance.
    """

    model: JointLifter
    views: int
    geometric: float = 0.0

    def init(self, key: Array) -> Variables:
        """Random parameters; no statistics, nothing frozen."""
        joints = len(LIFT16.joints)
        seen = jnp.zeros((1, joints, 2)), jnp.zeros((1, joints)), jnp.ones(1)
        return {"params": self.model.init(key, *seen)["params"], "batch_stats": {}, "frozen": {}}

    def loss(self, variables: Variables, batch: Batch, key: Array) -> tuple[Array, Aux]:
        """Mean distance of all joints, in heights, and the weighted loss of the bones."""
        flat = {name: jnp.asarray(batch[name]) for name in ("xy", "score", "camera", "xyz")}
        flat = {name: a.reshape(-1, *a.shape[2:]) for name, a in flat.items()}
        view = camera.straight(flat["xy"], flat["score"], flat["camera"])
        pose: Any = self.model.apply(
            {"params": variables["params"]},
            *(view.xy, flat["score"], view.size),
            train=True,
            rngs={"dropout": key},
        )
        known = jnp.isfinite(flat["xyz"]).all(-1)
        target = camera.turned(jnp.where(known[..., None], flat["xyz"], 0.0), view.turn)
        known &= known[:, :1]  # without its root a pose has no place
        errors = jnp.where(known, joint_errors(pose, target, 0), 0.0)
        count = known.sum()
        distance = errors.sum() / jnp.maximum(count, 1)
        bones = losses.bone_ratio(pose, BONES, GROUPS, np.asarray(LENGTHS))
        value = distance + self.geometric * bones
        weight = count.astype(jnp.float32)
        metrics = {
            "loss": (value, weight),
            "distance": (distance, weight),
            "bones": (bones, weight),
        }
        return value, Aux(metrics, {})

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """xyz (B, 17, 3) mm, relative to the pelvis, in the camera's axes."""
        xy, score = jnp.asarray(batch["xy"]), jnp.asarray(batch["score"])
        # A mirrored person is lifted too: the mean has no favourite side.
        both = [
            self._lifted(variables, xy, score, batch["camera"], flip=flip) for flip in (False, True)
        ]
        height = jnp.asarray(batch["height"])[:, None, None]
        return {"xyz": 0.5 * (both[0] + both[1]) * height}

    def _lifted(
        self, variables: Variables, xy: Array, score: Array, seen_by: Any, *, flip: bool
    ) -> Array:
        view = camera.straight(xy, score, seen_by)
        places, sure = view.xy, score
        if flip:
            order = jnp.asarray(LIFT16.mirror)
            places, sure = places[:, order] * jnp.array([-1.0, 1.0]), score[:, order]
        pose: Any = self.model.apply({"params": variables["params"]}, places, sure, view.size)
        if flip:
            pose = pose[:, jnp.asarray(H36M17.mirror)] * jnp.array([-1.0, 1.0, 1.0])
        return camera.turned_back(pose, view.turn)

    def metrics(self) -> Joints3D:
        return Joints3D(H36M17)

    def input_spec(self, size: int) -> dict[str, ArraySpec]:
        joints = len(LIFT16.joints)
        return {
            "xy": ArraySpec((size, joints, 2), "float32"),
            "score": ArraySpec((size, joints), "float32"),
            "camera": ArraySpec((size, 4), "float32"),
            "height": ArraySpec((size,), "float32"),
        }

    def batch_spec(self, size: int) -> dict[str, ArraySpec]:
        views, joints = (size, self.views), len(LIFT16.joints)
        return {
            "xy": ArraySpec((*views, joints, 2), "float32"),
            "score": ArraySpec((*views, joints), "float32"),
            "camera": ArraySpec((*views, 4), "float32"),
            "xyz": ArraySpec((*views, len(H36M17.joints), 3), "float32"),
        }
