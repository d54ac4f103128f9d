"""Measures of joints in pictures: functions of arrays, and a fold over batches.

Device functions work under jit and vmap; the fold `Keypoints` keeps int32 counts and float32 sums,
and `compute` divides them on the host in float64. Rows where batch["mask"] is False are padding and
count nowhere. COCO's AP is in `bodyjax.evaluate.coco_ap`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bodyjax.contract import Batch
from bodyjax.errors import ConfigError
from bodyjax.metrics.shares import present, ratio
from bodyjax.skeleton import LSP14, Skeleton

LIMB_PARTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
"""The 12 limb joints of a skeleton are left and right of these."""

TORSO = ("left_shoulder", "right_hip")
"""The two joints whose distance is the reference length of PCK."""


def torso_of(skeleton: Skeleton) -> tuple[str, str] | None:
    """TORSO if the skeleton has it; None for others (animals, hands), for which PCK uses the longer
    side of the labelled joints' box."""
    return TORSO if set(TORSO) <= set(skeleton.joints) else None


class PckCounts(NamedTuple):
    """right, counted: (J,) int32; left_out, pictures: () int32, pictures without a usable length
    and all that had one."""

    right: Array
    counted: Array
    left_out: Array
    pictures: Array


def pck_counts(
    prediction: ArrayLike,
    target: ArrayLike,
    visible: ArrayLike,
    reference_length: ArrayLike,
    threshold: float = 0.2,
    *,
    minimum: float = 0.0,
    mask: ArrayLike | None = None,
) -> PckCounts:
    """Which labelled joints lie within threshold * reference_length of their label.

    prediction, target: (..., J, 2) pixels, NaN for a joint that was not found, which is wrong;
    visible: (..., J), 0 is not labelled; reference_length: (...,) pixels; pictures where it is NaN,
    0 or below `minimum` are left out and counted; mask: (...,), False for padding.
    """
    labelled = jnp.asarray(visible) > 0
    length = jnp.broadcast_to(jnp.asarray(reference_length, jnp.float32), labelled.shape[:-1])
    rows = jnp.ones(length.shape, bool) if mask is None else jnp.asarray(mask, bool)
    usable = (length > 0) & (length >= minimum) & jnp.isfinite(length)
    counted = labelled & (rows & usable)[..., None]
    offset = jnp.asarray(prediction, jnp.float32) - jnp.asarray(target, jnp.float32)
    near = jnp.linalg.norm(offset, axis=-1) <= threshold * length[..., None]
    over = tuple(range(labelled.ndim - 1))
    return PckCounts(
        jnp.sum(near & counted, axis=over, dtype=jnp.int32),
        jnp.sum(counted, axis=over, dtype=jnp.int32),
        jnp.sum(rows & ~usable, dtype=jnp.int32),
        jnp.sum(rows & usable, dtype=jnp.int32),
    )


def pck(
    prediction: ArrayLike,
    target: ArrayLike,
    visible: ArrayLike,
    reference_length: ArrayLike,
    threshold: float = 0.2,
) -> Array:
    """Percentage of correct keypoints as a share in [0, 1], pooled over all counted joints.

    Arguments as in `pck_counts`, which counts per joint; NaN if no joint is counted. Source: Yang
    and Ramanan, "Articulated human detection with flexible mixtures of parts".
    """
    counts = pck_counts(prediction, target, visible, reference_length, threshold)
    return jnp.sum(counts.right) / jnp.sum(counts.counted)


def pckh(
    prediction: ArrayLike,
    target: ArrayLike,
    visible: ArrayLike,
    head_length: ArrayLike,
    threshold: float = 0.5,
) -> Array:
    """PCK with the head's length (neck to head top) as reference (Andriluka et al., CVPR 2014)."""
    return pck(prediction, target, visible, head_length, threshold)


def reference_length(
    target: ArrayLike,
    visible: ArrayLike,
    skeleton: Skeleton,
    pair: tuple[str, str] | None = TORSO,
) -> Array:
    """Distance of two labelled joints, (..., J, 2) -> (...,); NaN if one is not labelled. Without a
    pair, the longer side of the labelled joints' box; NaN if fewer than two are labelled."""
    xy, labelled = jnp.asarray(target, jnp.float32), jnp.asarray(visible) > 0
    if pair is None:
        low = jnp.where(labelled[..., None], xy, jnp.inf).min(axis=-2)
        high = jnp.where(labelled[..., None], xy, -jnp.inf).max(axis=-2)
        return jnp.where(labelled.sum(axis=-1) > 1, (high - low).max(axis=-1), jnp.nan)
    first, second = (skeleton.index(joint) for joint in pair)
    length = jnp.linalg.norm(xy[..., first, :] - xy[..., second, :], axis=-1)
    return jnp.where(labelled[..., first] & labelled[..., second], length, jnp.nan)


def sigmas(skeleton: Skeleton) -> np.ndarray:
    """The OKS constants of a skeleton, (J,); ConfigError if none were published or given."""
    if skeleton.sigmas is None:
        raise ConfigError(
            f"skeleton {skeleton.name!r} has no sigmas, so OKS and AP are not defined for it",
            hint="give it sigmas, convert its joints to coco17, or ask for PCK",
        )
    return np.asarray(skeleton.sigmas, np.float64)


def oks(
    xy: ArrayLike,
    target: ArrayLike,
    visible: ArrayLike,
    area: ArrayLike,
    sigmas: ArrayLike,
    box: ArrayLike | None = None,
) -> Array:
    """Object keypoint similarity in [0, 1] of each person to its label: (...,).

    xy, target: (..., J, 2) pixels; visible: (..., J); area: (...,) pixels^2; sigmas: (J,), from
    `sigmas(skeleton)`. Leading axes broadcast: (P, 1, J, 2) with (1, G, J, 2) gives all pairs. A
    joint that is NaN in xy adds 0. A person without labelled joints gets 0, or, with `box` (..., 4)
    as x, y, width, height, pycocotools' value: the similarity to the box doubled in size. A label
    whose area is not above 0 has no scale and gets 0. Source: COCO keypoint evaluation
    (cocodataset.org/#keypoints-eval).
    """
    if sigmas is None:
        raise ConfigError("OKS needs one sigma a joint", hint="metrics.sigmas(skeleton)")
    points, labelled = jnp.asarray(xy, jnp.float32), jnp.asarray(visible) > 0
    offset = points - jnp.where(labelled[..., None], jnp.asarray(target, jnp.float32), 0.0)
    number = jnp.sum(labelled, axis=-1)
    counted = jnp.broadcast_to(labelled, offset.shape[:-1])
    if box is not None:
        edges = jnp.asarray(box, jnp.float32)[..., None, :]
        low, high = edges[..., :2] - edges[..., 2:], edges[..., :2] + 2 * edges[..., 2:]
        outside = jnp.maximum(low - points, 0.0) + jnp.maximum(points - high, 0.0)
        nothing = (number == 0)[..., None]
        offset = jnp.where(nothing[..., None], outside, offset)
        counted = counted | nothing
    sized = has_area(area)[..., None]
    scale = jnp.where(sized, jnp.asarray(area, jnp.float32)[..., None], 1.0)
    variance = jnp.square(2 * jnp.asarray(sigmas, jnp.float32))
    similarity = jnp.exp(-jnp.sum(jnp.square(offset), axis=-1) / variance / scale / 2)
    similarity = jnp.where(counted & sized & ~jnp.isnan(similarity), similarity, 0.0)
    return jnp.sum(similarity, axis=-1) / jnp.maximum(jnp.sum(counted, axis=-1), 1)


def has_area(area: ArrayLike) -> Array:
    """Whether each label's area, pixels^2, is a number above 0: OKS is defined for these."""
    area = jnp.asarray(area, jnp.float32)
    return (area > 0) & jnp.isfinite(area)


@dataclass(frozen=True)
class Keypoints:
    """PCK of one person per picture, per joint, over all joints and over the 12 limb joints; PCKh
    if `head` names two joints; mean OKS if `with_oks` (needs sigmas and batch["area"]), over people
    with a labelled joint and an area above 0; `left_out_oks` counts the others. torso: the pair
    whose distance is the reference length; None: as in `reference_length` without one.

    Reads outputs["xy"] (B, J, 2), NaN where missing; batch["xy"], batch["visible"], batch["mask"].
    """

    skeleton: Skeleton
    threshold: float = 0.2
    torso: tuple[str, str] | None = TORSO
    minimum: float = 10.0
    head: tuple[str, str] | None = None
    with_oks: bool = False

    def __post_init__(self) -> None:
        for joint in (*(self.torso or ()), *(self.head or ())):
            self.skeleton.index(joint)
        if self.with_oks:
            sigmas(self.skeleton)

    def init(self) -> dict[str, Any]:
        joints, zero = np.zeros(len(self.skeleton.joints), np.int32), np.zeros((), np.int32)
        counts = PckCounts(joints, joints, zero, zero)  # type: ignore[arg-type]  # NumPy: no device yet
        state: dict[str, Any] = {"pck": counts}
        if self.head:
            state["pckh"] = counts
        if self.with_oks:
            state["oks"] = (np.zeros((), np.float32), zero, zero)
        return state

    def update(self, state: dict[str, Any], outputs: Any, batch: Batch) -> dict[str, Any]:
        found, target, visible = outputs["xy"], batch["xy"], batch["visible"]
        mask = present(batch, len(target))
        torso = reference_length(target, visible, self.skeleton, self.torso)
        fresh: dict[str, Any] = {
            "pck": pck_counts(
                found, target, visible, torso, self.threshold, minimum=self.minimum, mask=mask
            )
        }
        if self.head:
            head = reference_length(target, visible, self.skeleton, self.head)
            fresh["pckh"] = pck_counts(found, target, visible, head, 0.5, mask=mask)
        if self.with_oks:
            value = oks(found, target, visible, batch["area"], sigmas(self.skeleton))
            usable = jnp.any(jnp.asarray(visible) > 0, axis=-1) & has_area(batch["area"])
            fresh["oks"] = (
                jnp.sum(jnp.where(mask & usable, value, 0.0)),
                jnp.sum(mask & usable, dtype=jnp.int32),
                jnp.sum(mask & ~usable, dtype=jnp.int32),
            )
        return jax.tree.map(jnp.add, state, fresh)

    def compute(self, state: dict[str, Any]) -> dict[str, Any]:
        result = _pck_report(state["pck"], self.skeleton, "pck")
        if self.head:
            result |= _pck_report(state["pckh"], self.skeleton, "pckh")
        if self.with_oks:
            total, people, left_out = state["oks"]
            result |= {"oks": ratio(total, people), "left_out_oks": int(left_out)}
        return result


def _pck_report(counts: PckCounts, skeleton: Skeleton, name: str) -> dict[str, Any]:
    """Shares per joint and pooled, with what they were counted over."""
    right, counted = np.asarray(counts.right), np.asarray(counts.counted)
    limbs = [i for i, joint in enumerate(skeleton.joints) if joint.split("_")[-1] in LIMB_PARTS]
    suffix = "" if name == "pck" else f"_{name}"
    return {
        name: ratio(right.sum(), counted.sum()),
        f"{name}_limbs": ratio(right[limbs].sum(), counted[limbs].sum()),
        f"n{suffix}": int(counts.pictures),
        f"n_joints{suffix}": int(counted.sum()),
        f"n_limb_joints{suffix}": int(counted[limbs].sum()),
        f"left_out{suffix}": int(counts.left_out),
        f"per_joint{suffix}": {
            joint: ratio(right[i], counted[i]) for i, joint in enumerate(skeleton.joints)
        },
    }


def lsp_pck(
    prediction: np.ndarray,
    joints: np.ndarray,
    labelled: np.ndarray,
    threshold: float = 0.2,
    minimum: float = 10.0,
) -> dict[str, Any]:
    """PCK@0.2 of LSP pictures in NumPy, float64: the figure by which detectors are compared.

    prediction, joints: (n, 14, 2) pixels of the stored picture in LSP14 order, prediction NaN where
    missing (wrong); labelled: (n, 14) bool. Pictures whose torso (left shoulder to right hip) is
    not labelled or under `minimum` pixels are left out and counted. "pck_limbs" is over the 12
    limb joints, "pck" over all 14.
    """
    prediction, joints = np.asarray(prediction, np.float64), np.asarray(joints, np.float64)
    labelled = np.asarray(labelled, bool)
    first, second = (LSP14.index(joint) for joint in TORSO)
    torso = np.linalg.norm(joints[:, first] - joints[:, second], axis=-1)
    there = labelled[:, first] & labelled[:, second]
    usable = there & (torso >= minimum)
    distance = np.linalg.norm(prediction - joints, axis=-1)
    counted = labelled & usable[:, None]
    with np.errstate(invalid="ignore"):
        right = counted & (distance <= threshold * torso[:, None])
    counts = PckCounts(right.sum(0), counted.sum(0), (~usable).sum(), usable.sum())
    report = _pck_report(counts, LSP14, "pck")
    report["left_out_reasons"] = {
        "torso not labelled": int((~there).sum()),
        "torso too short": int((there & ~usable).sum()),
    }
    return report
