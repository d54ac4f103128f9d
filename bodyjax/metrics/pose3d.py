"""Measures of joints in space, as functions of arrays and as a fold over batches.

Device functions work under jit and vmap; the fold `Joints3D` keeps int32 counts and float32 sums,
and `compute` divides them on the host in float64. Rows where batch["mask"] is False are padding and
count nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bodyjax.contract import Batch
from bodyjax.geometry import length, procrustes
from bodyjax.metrics.shares import present, ratio
from bodyjax.skeleton import Skeleton

AUC_THRESHOLDS = np.linspace(0, 150, 31)
"""Thresholds of the area under the 3D PCK curve, mm (Mehta et al., 3DV 2017)."""


def joint_errors(prediction: ArrayLike, target: ArrayLike, root: int | None = None) -> Array:
    """Distance of each joint to its label, (..., J, 3) -> (..., J), in their unit (mm).

    With `root` both poses are moved so that this joint is the origin.
    """
    return length(_offsets(prediction, target, root))


def _offsets(prediction: ArrayLike, target: ArrayLike, root: int | None) -> Array:
    """From each label to its joint, with both poses aligned at `root`."""
    ours, theirs = jnp.asarray(prediction, jnp.float32), jnp.asarray(target, jnp.float32)
    if root is not None:
        ours = ours - ours[..., root : root + 1, :]
        theirs = theirs - theirs[..., root : root + 1, :]
    return ours - theirs


def mpjpe(
    prediction: ArrayLike,
    target: ArrayLike,
    visible: ArrayLike | None = None,
    root: int | None = None,
) -> Array:
    """Mean per-joint position error over all counted joints, in the unit of the input (mm).

    prediction, target: (..., J, 3); visible: (..., J), 0 is not counted; root: the joint at which
    both poses are aligned first (None: absolute positions). A joint at its label has gradient 0,
    and so has an uncounted one. Source: Ionescu et al. 2014.
    """
    return _mean_length(_offsets(prediction, target, root), visible)


def pa_mpjpe(prediction: ArrayLike, target: ArrayLike, visible: ArrayLike | None = None) -> Array:
    """MPJPE after `procrustes`: rotation, scale and position do not count, but a mirror image
    does."""
    aligned = procrustes(prediction, target, visible)
    return _mean_length(_offsets(aligned, target, None), visible)


def pck3d(
    prediction: ArrayLike,
    target: ArrayLike,
    visible: ArrayLike | None = None,
    root: int | None = None,
    threshold: float = 150.0,
) -> Array:
    """Share of counted joints within `threshold` mm (Mehta et al., 3DV 2017)."""
    near = joint_errors(prediction, target, root) <= threshold
    return _counted_mean(near.astype(jnp.float32), visible)


def auc3d(
    prediction: ArrayLike,
    target: ArrayLike,
    visible: ArrayLike | None = None,
    root: int | None = None,
) -> Array:
    """Mean of `pck3d` over 0, 5, ..., 150 mm."""
    near = joint_errors(prediction, target, root)[..., None] <= AUC_THRESHOLDS
    return _counted_mean(jnp.mean(near.astype(jnp.float32), axis=-1), visible)


def _mean_length(vectors: Array, visible: ArrayLike | None) -> Array:
    """Mean length where visible > 0. Other values, NaN included, don't affect gradients."""
    if visible is not None:
        vectors = jnp.where((jnp.asarray(visible) > 0)[..., None], vectors, 0.0)
    return _counted_mean(length(vectors), visible)


def _counted_mean(values: Array, visible: ArrayLike | None) -> Array:
    """Mean where visible > 0; NaN if nothing is visible."""
    if visible is None:
        return jnp.mean(values)
    counted = jnp.broadcast_to(jnp.asarray(visible) > 0, values.shape)
    return jnp.sum(jnp.where(counted, values, 0.0)) / jnp.sum(counted)


@dataclass(frozen=True)
class Joints3D:
    """MPJPE, PA-MPJPE, PCK3D@150 and AUC, pooled and MPJPE per joint; poses meet at `root`.

    Reads outputs["xyz"] and batch["xyz"] (B, J, 3) mm, batch["visible"] (B, J), batch["mask"]. A
    pose without a labelled root is left out and counted.
    """

    skeleton: Skeleton
    root: str = "pelvis"

    def __post_init__(self) -> None:
        self.skeleton.index(self.root)

    def init(self) -> dict[str, Any]:
        zeros, count = np.zeros(len(self.skeleton.joints), np.float32), np.zeros((), np.int32)
        state: dict[str, Any] = dict.fromkeys(("mpjpe", "pa_mpjpe", "pck3d", "auc3d"), zeros)
        return state | {"counted": zeros.astype(np.int32), "poses": count, "left_out": count}

    def update(self, state: dict[str, Any], outputs: Any, batch: Batch) -> dict[str, Any]:
        root, target, found = self.skeleton.index(self.root), batch["xyz"], outputs["xyz"]
        mask, visible = present(batch, len(target)), jnp.asarray(batch["visible"]) > 0
        usable = mask & visible[:, root]
        counted = visible & usable[:, None]
        errors = joint_errors(found, target, root)
        aligned = joint_errors(procrustes(found, target, counted), target)
        near = errors[..., None] <= AUC_THRESHOLDS
        each = {
            "mpjpe": errors,
            "pa_mpjpe": aligned,
            "pck3d": errors <= AUC_THRESHOLDS[-1],
            "auc3d": jnp.mean(near.astype(jnp.float32), axis=-1),
        }
        fresh: dict[str, Any] = {
            name: jnp.sum(jnp.where(counted, value, 0.0), axis=0) for name, value in each.items()
        }
        fresh["counted"] = jnp.sum(counted, axis=0, dtype=jnp.int32)
        fresh["poses"] = jnp.sum(usable, dtype=jnp.int32)
        fresh["left_out"] = jnp.sum(mask & ~usable, dtype=jnp.int32)
        return jax.tree.map(jnp.add, state, fresh)

    def compute(self, state: dict[str, Any]) -> dict[str, Any]:
        counted = np.asarray(state["counted"])
        result: dict[str, Any] = {
            name: ratio(np.asarray(state[name], np.float64).sum(), counted.sum())
            for name in ("mpjpe", "pa_mpjpe", "pck3d", "auc3d")
        }
        result |= {"n": int(state["poses"]), "left_out": int(state["left_out"])}
        result["per_joint"] = {
            joint: ratio(np.asarray(state["mpjpe"])[i], counted[i])
            for i, joint in enumerate(self.skeleton.joints)
        }
        return result
