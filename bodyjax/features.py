"""The input features of a sequence model: the paper's 68 numbers, or parts that combine.

Every function takes any leading dimensions, any skeleton, 2D or 3D, and returns values and a mask:
a missing joint is missing in each feature that needs it, never a zero that looks like a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax.skeleton import Skeleton, common_name

Array = jax.Array

PARTS = ("paper", "raw", "position", "pose", "velocity", "bone", "angle", "distance", "visibility")
"""Names that `sequence_features` knows, in its docstring's order."""

VELOCITY_GAIN = 5.0
"""Changes from step to step are about a fifth of the positions; this brings them to the same
size."""


class Features(NamedTuple):
    """`values` (..., T, F), 0 where missing, and `present` (..., T, F) bool."""

    values: Array
    present: Array


class PersonFrame(NamedTuple):
    """A person's position and size, one per clip: `centre` (..., D), `scale` (...)."""

    centre: Array
    scale: Array


def paper_features(joints: Array, visible: Array, score: Array, size: Array) -> Features:
    """The paper's 4 numbers a joint: id, x and y relative to the picture, confidence.

    joints: (..., T, J, 2) pixels. visible: (..., T, J). score: (..., T, J) in [0, 1]. size:
    (..., 2) width and height in pixels. F = 4 J (68 for 17 joints), joint by joint; the id is
    j / J. Not present: x and y of absent joints, and all of a clip whose size is not above 0.
    """
    count = joints.shape[-2]
    size = size[..., None, None, :2]
    known = jnp.broadcast_to((visible > 0)[..., None] & (size > 0), (*joints.shape[:-1], 2))
    place = jnp.where(known, joints[..., :2] / jnp.where(size > 0, size, 1.0), 0.0)
    ids = jnp.broadcast_to(jnp.arange(count)[:, None] / count, (*joints.shape[:-1], 1))
    confidence = jnp.where(visible > 0, score, 0.0)[..., None]
    values = jnp.concatenate([ids, place, confidence], axis=-1)
    always = jnp.ones((*joints.shape[:-1], 1), bool)
    present = jnp.concatenate([always, known, always], axis=-1)
    flat = (*joints.shape[:-2], 4 * count)
    return Features(values.reshape(flat), present.reshape(flat))


def masked_median(values: Array, mask: Array, axis: int = -1) -> Array:
    """Median of the unmasked along `axis`, 0 where none is; gradients reach the middle values."""
    order = jnp.sort(jnp.where(mask, values, jnp.inf), axis=axis)
    count = mask.sum(axis=axis, keepdims=True)
    low = jnp.take_along_axis(order, jnp.maximum((count - 1) // 2, 0), axis=axis)
    high = jnp.take_along_axis(order, jnp.minimum(count // 2, values.shape[axis] - 1), axis=axis)
    middle = jnp.where(count > 0, 0.5 * low + 0.5 * high, 0.0)
    return middle.squeeze(axis)


def torso(skeleton: Skeleton) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of hips and of shoulders; empty if the skeleton has none."""
    names = [common_name(joint) for joint in skeleton.joints]

    def find(*wanted: str) -> tuple[int, ...]:
        return tuple(i for i, name in enumerate(names) if name in wanted)

    return find("left_hip", "right_hip"), find("left_shoulder", "right_shoulder")


def person_frame(joints: Array, present: Array, skeleton: Skeleton) -> PersonFrame:
    """The clip's median middle of hips and shoulders, and its median torso length.

    joints: (..., T, J, D), present: (..., T, J) bool. A clip that never shows hips and shoulders
    together takes the mean distance of its joints from the centre as its scale, and one that shows
    neither uses all joints for its centre. A skeleton without them is left unchanged (0, 1).
    """
    hips, shoulders = torso(skeleton)
    if not (hips and shoulders):
        lead = joints.shape[:-3]
        zero = jnp.zeros((*lead, joints.shape[-1]), joints.dtype)
        return PersonFrame(zero, jnp.ones(lead, joints.dtype))
    anchors = np.array(hips + shoulders)
    middle, seen = _mean_joint(joints[..., anchors, :], present[..., anchors])
    anywhere, some = _mean_joint(joints, present)
    none = ~seen.any(axis=-1)[..., None]
    middle = jnp.where(none[..., None], anywhere, middle)
    seen = jnp.where(none, some, seen)
    centre = masked_median(middle, jnp.broadcast_to(seen[..., None], middle.shape), axis=-2)
    low, has_low = _mean_joint(joints[..., np.array(hips), :], present[..., np.array(hips)])
    top, has_top = _mean_joint(
        joints[..., np.array(shoulders), :], present[..., np.array(shoulders)]
    )
    length = masked_median(_norm(top - low), has_low & has_top)
    away = jnp.where(present, _norm(joints - centre[..., None, None, :]), 0.0)
    spread = away.sum(axis=(-2, -1)) / jnp.maximum(present.sum(axis=(-2, -1)), 1)
    scale = jnp.where(length > 1e-6, length, jnp.where(spread > 1e-6, spread, 1.0))
    return PersonFrame(centre, scale)


def normalise(joints: Array, frame: PersonFrame) -> Array:
    """Joints (..., T, J, D) from the person's centre in units of the person's scale."""
    return (joints - frame.centre[..., None, None, :]) / frame.scale[..., None, None, None]


def velocities(places: Array, present: Array) -> tuple[Array, Array]:
    """Change since the step before (..., T, J, D), and where both steps have the joint.

    The first step has no velocity. Only the past is used, so frames can be fed one by one.
    """
    both = present[..., 1:, :] & present[..., :-1, :]
    change = jnp.where(both[..., None], places[..., 1:, :, :] - places[..., :-1, :, :], 0.0)
    first = ((0, 0),) * (places.ndim - 3) + ((1, 0), (0, 0))
    return jnp.pad(change, (*first, (0, 0))), jnp.pad(both, first)


def bones(joints: Array, present: Array, limbs: Sequence[tuple[int, int]]) -> tuple[Array, Array]:
    """Unit vector of every limb (..., L, D), its mask (..., L); one of no length is missing. L is 0
    for joints without limbs."""
    start, end = np.array(limbs, int).reshape(-1, 2).T
    vector = joints[..., end, :] - joints[..., start, :]
    length = _norm(vector)
    mask = present[..., start] & present[..., end] & (length > 1e-6)
    return jnp.where(mask[..., None], vector / jnp.where(mask, length, 1.0)[..., None], 0.0), mask


def angle_pairs(limbs: Sequence[tuple[int, int]]) -> list[tuple[int, int, float]]:
    """Pairs of limbs that share a joint: (limb, limb, sign), sign -1 if one must be reversed."""
    pairs = []
    for i, first in enumerate(limbs):
        for j in range(i + 1, len(limbs)):
            shared = set(first) & set(limbs[j])
            if len(shared) == 1:
                joint = shared.pop()
                same = (first[0] == joint) == (limbs[j][0] == joint)
                pairs.append((i, j, 1.0 if same else -1.0))
    return pairs


def angles(joints: Array, present: Array, limbs: Sequence[tuple[int, int]]) -> tuple[Array, Array]:
    """Cosine of the angle between neighbouring limbs (..., A), 1 folded and -1 stretched; mask."""
    pairs = angle_pairs(limbs)
    first, second = (np.array([pair[k] for pair in pairs], int) for k in (0, 1))
    sign = np.array([pair[2] for pair in pairs], np.float32)
    unit, mask = bones(joints, present, limbs)
    cosine = (unit[..., first, :] * unit[..., second, :]).sum(axis=-1) * sign
    both = mask[..., first] & mask[..., second]
    return jnp.where(both, cosine, 0.0), both


def distances(joints: Array, present: Array) -> tuple[Array, Array]:
    """Distance of every pair of joints (..., J (J - 1) / 2) and its mask."""
    first, second = np.triu_indices(joints.shape[-2], 1)
    both = present[..., first] & present[..., second]
    apart = _norm(joints[..., first, :] - joints[..., second, :])
    return jnp.where(both, apart, 0.0), both


def sequence_features(
    joints: Array,
    visible: Array,
    score: Array,
    skeleton: Skeleton,
    parts: Sequence[str] = ("position", "velocity", "visibility"),
    *,
    mask: Array | None = None,
    size: Array | None = None,
) -> Features:
    """The named parts, concatenated.

    paper: `paper_features` (needs `size`). raw: joints unchanged. position: from the clip's centre
    in torso lengths. pose: from each step's own middle of hips and shoulders. velocity: change of
    position since the step before. bone: unit limb vectors. angle: cosines between neighbouring
    limbs. distance: of all pairs of joints in torso lengths. visibility: the score of seen joints,
    0 for hidden and absent ones.

    Args:
      joints: (..., T, J, D); values of absent joints do not matter.
      visible: (..., T, J) in {0: absent, 1: hidden, 2: seen}. score: (..., T, J) in [0, 1].
      mask: (..., T) bool, steps that count; None for all.
      size: (..., 2) width and height of the picture.

    Joints without limbs have no bones and no angles. Raises ValueError for an unknown part, or one
    that these joints can't give.
    """
    present = visible > 0
    if mask is not None:
        present &= mask[..., None]
    joints = jnp.where(present[..., None], joints, 0.0)
    frame = person_frame(joints, present, skeleton)
    places = jnp.where(present[..., None], normalise(joints, frame), 0.0)
    values, masks = [], []
    for part in parts:
        if part == "paper":
            if size is None or joints.shape[-1] != 2:
                raise ValueError("the part 'paper' needs 2D joints and the picture's size")
            one, there = paper_features(joints, jnp.where(present, visible, 0), score, size)
        elif part == "raw":
            one, there = _flatten(joints, present)
        elif part == "position":
            one, there = _flatten(places, present)
        elif part == "pose":
            one, there = _flatten(*_own_centre(places, present, skeleton))
        elif part == "velocity":
            change, both = velocities(places, present)
            one, there = _flatten(change * VELOCITY_GAIN, both)
        elif part == "bone":
            one, there = _flatten(*bones(places, present, skeleton.limbs))
        elif part == "angle":
            one, there = angles(places, present, skeleton.limbs)
        elif part == "distance":
            one, there = distances(places, present)
        elif part == "visibility":
            one = jnp.where(present & (visible > 1), score, 0.0)
            there = jnp.ones_like(present)
        else:
            raise ValueError(f"no feature part {part!r}; known: {', '.join(PARTS)}")
        values.append(one)
        masks.append(there)
    return Features(jnp.concatenate(values, axis=-1), jnp.concatenate(masks, axis=-1))


def _own_centre(places: Array, present: Array, skeleton: Skeleton) -> tuple[Array, Array]:
    hips, shoulders = torso(skeleton)
    anchors = np.array(hips + shoulders if hips and shoulders else range(places.shape[-2]))
    middle, seen = _mean_joint(places[..., anchors, :], present[..., anchors])
    mask = present & seen[..., None]
    return jnp.where(mask[..., None], places - middle[..., None, :], 0.0), mask


def _mean_joint(joints: Array, present: Array) -> tuple[Array, Array]:
    """Mean over the present joints (..., D), and where there is one (...)."""
    weight = present[..., None].astype(joints.dtype)
    count = weight.sum(axis=-2)
    return (joints * weight).sum(axis=-2) / jnp.maximum(count, 1.0), present.any(axis=-1)


def _norm(vector: Array) -> Array:
    """Euclidean length over the last axis; its gradient at 0 is 0."""
    square = (vector * vector).sum(axis=-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _flatten(values: Array, mask: Array) -> tuple[Array, Array]:
    flat = (*values.shape[:-2], values.shape[-2] * values.shape[-1])
    return values.reshape(flat), jnp.broadcast_to(mask[..., None], values.shape).reshape(flat)
