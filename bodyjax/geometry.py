"""Poses as geometry: alignment, lengths, angles, speeds, and where a person stands in a camera.

Everything takes any leading dimensions and works under jit, vmap and grad. What has no direction
(joints in one place) gets gradient 0, never NaN. Angles are degrees. 3D axes are the camera's: x
right, y down, z forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bodyjax.features import torso
from bodyjax.skeleton import Skeleton

Array = jax.Array

# ---- alignment ----


class Similarity(NamedTuple):
    """A map of row vectors, x -> scale * x @ rotation + shift: rotation (..., D, D) of determinant
    1, scale (...), shift (..., D)."""

    rotation: Array
    scale: Array
    shift: Array


def similarity(
    points: ArrayLike, target: ArrayLike, visible: ArrayLike | None = None, *, scaled: bool = True
) -> Similarity:
    """The map that brings points onto target with least squares; it never mirrors.

    points, target: (..., J, D); visible: (..., J), joints with 0 do not count, whatever their
    values. scaled=False: scale stays 1. Points in one place keep their scale 0. Source: Umeyama
    1991.
    """
    ours, theirs = jnp.asarray(points, jnp.float32), jnp.asarray(target, jnp.float32)
    seen = jnp.ones(ours.shape[:-1], bool) if visible is None else jnp.asarray(visible) > 0
    weight = jnp.broadcast_to(seen, ours.shape[:-1])[..., None]
    count = jnp.maximum(jnp.sum(weight, axis=-2, keepdims=True), 1)

    def centred(pose: Array) -> tuple[Array, Array]:
        pose = jnp.where(weight, pose, 0.0)
        middle = jnp.sum(pose, axis=-2, keepdims=True) / count
        return jnp.where(weight, pose - middle, 0.0), middle[..., 0, :]

    (a, middle), (b, onto) = centred(ours), centred(theirs)
    # Sums, not a matrix product: accelerators may multiply in fewer bits.
    covariance = jnp.sum(a[..., :, None] * b[..., None, :], axis=-3)
    rotation = nearest_rotation(covariance)
    size = jnp.sum(jnp.square(a), axis=(-2, -1))
    scale = jnp.ones_like(size)
    if scaled:
        shared = jnp.sum(rotation * covariance, axis=(-2, -1))
        scale = shared / jnp.where(size > 0, size, 1.0)
    return Similarity(rotation, scale, onto - scale[..., None] * _turned(middle, rotation))


def procrustes(prediction: ArrayLike, target: ArrayLike, visible: ArrayLike | None = None) -> Array:
    """prediction turned, scaled and moved onto target with least squares, never mirrored.

    prediction, target: (..., J, D); visible: (..., J), joints with 0 do not affect the fit. Source:
    Umeyama 1991; Gower 1975.
    """
    fit = similarity(prediction, target, visible)
    ours = jnp.asarray(prediction, jnp.float32)
    moved = _turned(ours, fit.rotation[..., None, :, :])
    return fit.scale[..., None, None] * moved + fit.shift[..., None, :]


def _turned(points: Array, rotation: Array) -> Array:
    """Row vectors times a matrix, as a sum."""
    return jnp.sum(points[..., :, None] * rotation, axis=-2)


@jax.custom_jvp
def nearest_rotation(matrix: Array) -> Array:
    """The rotation R (..., D, D) with the largest sum of R * matrix (Kabsch 1976).

    Its derivative is that of the rotation, not of the singular vectors: it exists where singular
    values are equal. Where R itself is not determined (rank D - 2 or less, and some mirror images),
    the undetermined turns have derivative 0.
    """
    u, _, vt = _proper(matrix)
    return _product(u, vt)


def _proper(matrix: Array) -> tuple[Array, Array, Array]:
    """u, values, vt of a singular value decomposition in which u @ vt is a rotation; the last value
    may be negative."""
    u, values, vt = jnp.linalg.svd(matrix)
    sign = jnp.where(jnp.linalg.det(_product(u, vt)) < 0, -1.0, 1.0)
    signs = jnp.ones(values.shape, values.dtype).at[..., -1].set(sign)
    return u * signs[..., None, :], values * signs, vt


def _product(a: Array, b: Array) -> Array:
    return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)


@nearest_rotation.defjvp
def _nearest_rotation_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (matrix,), (change,) = primals, tangents
    u, values, vt = _proper(matrix)
    inside = _product(_product(u.mT, change), vt.mT)
    stiffness = values[..., :, None] + values[..., None, :]
    firm = jnp.abs(stiffness) > 1e-6 * jnp.abs(values[..., :1, None])
    turn = jnp.where(firm, (inside - inside.mT) / jnp.where(firm, stiffness, 1.0), 0.0)
    return _product(u, vt), _product(_product(u, turn), vt)


# ---- lengths and angles ----

FLEXIONS = {
    f"{side}_{name}_flexion": (f"{side}_{first}", f"{side}_{name}", f"{side}_{last}")
    for name, first, last in (
        ("knee", "hip", "ankle"),
        ("hip", "shoulder", "knee"),
        ("elbow", "shoulder", "wrist"),
        ("shoulder", "hip", "elbow"),
    )
    for side in ("left", "right")
}
"""Name of an angle -> its three joints. 0 degrees is standing upright with hanging arms: a straight
knee, hip or elbow, an upper arm along the trunk; an arm overhead has 180."""


def length(vector: Array) -> Array:
    """Euclidean length over the last axis, NaN where a coordinate is; its gradient is 0 there and
    at length 0."""
    known = ~jnp.isnan(vector).any(-1)
    square = jnp.sum(jnp.square(jnp.where(known[..., None], vector, 0.0)), axis=-1)
    hit = square == 0
    found = jnp.where(hit, 0.0, jnp.sqrt(jnp.where(hit, 1.0, square)))
    return jnp.where(known, found, jnp.nan)


def bone_lengths(joints: ArrayLike, limbs: Sequence[tuple[int, int]]) -> Array:
    """(..., J, D) -> (..., L), in the unit of the joints; NaN where a joint is NaN."""
    start, end = np.array(limbs, int).reshape(-1, 2).T
    points = jnp.asarray(joints)
    return length(points[..., end, :] - points[..., start, :])


def angle(first: ArrayLike, second: ArrayLike) -> Array:
    """Degrees between two vectors (..., D), 0 to 180; 0 where one has no length, NaN where a
    coordinate is.

    Accurate near 0 and 180 as well, where the arc cosine is not (Kahan 2006, "How futile are
    mindless assessments of roundoff", section 12); the gradient there, and of NaN, is 0.
    """
    a, b = jnp.broadcast_arrays(jnp.asarray(first), jnp.asarray(second))
    told = ~jnp.isnan(a + b).any(-1)
    a, b = (jnp.where(told[..., None], vector, 0.0) for vector in (a, b))
    a, b = a * length(b)[..., None], b * length(a)[..., None]
    apart, together = length(a - b), length(a + b)
    known = (apart > 0) | (together > 0)
    half = jnp.arctan2(apart, jnp.where(known, together, 1.0))
    return jnp.where(told, jnp.degrees(2 * half), jnp.nan)


def flexions(joints: ArrayLike, skeleton: Skeleton) -> Array:
    """(..., J, 2 or 3) -> (..., 8) degrees, in the order of FLEXIONS; NaN where a joint is NaN.

    In 2D these are the angles seen in the picture. ValueError if the skeleton lacks a joint.
    """
    points = jnp.asarray(joints)
    start, middle, end = (
        points[..., np.array([skeleton.index(names[k]) for names in FLEXIONS.values()]), :]
        for k in range(3)
    )
    inner = angle(start - middle, end - middle)
    from_trunk = np.array(["shoulder" in name for name in FLEXIONS])
    return jnp.where(from_trunk, inner, 180.0 - inner)


def asymmetry(values: ArrayLike) -> Array:
    """(..., 8) of `flexions` -> (..., 4) degrees between left and right: knee, hip, elbow,
    shoulder."""
    pairs = jnp.asarray(values)
    return jnp.abs(pairs[..., 0::2] - pairs[..., 1::2])


def trunk_lean(joints: ArrayLike, skeleton: Skeleton, up: ArrayLike | None = None) -> Array:
    """Degrees between the trunk (middle of the hips to middle of the shoulders) and up, (...).

    joints (..., J, 2 or 3). up (D,): by default the picture's, (0, -1, 0), as of a level camera.
    """
    points = jnp.asarray(joints)
    hips, shoulders = (points[..., np.array(side), :].mean(-2) for side in torso(skeleton))
    return angle(shoulders - hips, jnp.broadcast_to(_up(points, up), hips.shape))


def hip_offset(joints: ArrayLike, skeleton: Skeleton, up: ArrayLike | None = None) -> Array:
    """How far the hips are above the straight line from shoulders to ankles, as a share of that
    line, (...): 0 for a straight body, below 0 where the hips sag, above where they are raised.

    joints (..., J, 2 or 3); up as in `trunk_lean`. 0 where shoulders and ankles are in one place.
    """
    points = jnp.asarray(joints)
    hips, shoulders = (points[..., np.array(side), :].mean(-2) for side in torso(skeleton))
    ankles = np.array([skeleton.index(f"{side}_ankle") for side in ("left", "right")])
    line = points[..., ankles, :].mean(-2) - shoulders
    square = jnp.sum(line * line, axis=-1, keepdims=True)
    along = jnp.sum((hips - shoulders) * line, axis=-1, keepdims=True)
    known = jnp.where(square > 0, square, 1.0)
    away = hips - shoulders - along / known * line
    height = jnp.sum(away * _up(points, up), axis=-1)
    return height / jnp.sqrt(known[..., 0])


def knee_gap(joints: ArrayLike, skeleton: Skeleton) -> Array:
    """Distance of the knees by the distance of the ankles, (...): below 1 where the knees are
    nearer to each other than the feet. NaN where the ankles are in one place."""
    pairs = [
        (skeleton.index(f"left_{name}"), skeleton.index(f"right_{name}"))
        for name in ("knee", "ankle")
    ]
    lengths = bone_lengths(joints, pairs)
    known = lengths[..., 1] > 0
    return jnp.where(known, lengths[..., 0] / jnp.where(known, lengths[..., 1], 1.0), jnp.nan)


def _up(points: Array, up: ArrayLike | None) -> Array:
    return jnp.asarray((0.0, -1.0, 0.0)[: points.shape[-1]] if up is None else up)


# ---- over time ----


def speeds(joints: ArrayLike, times: ArrayLike) -> Array:
    """(..., T, J, D) at times (T,) seconds, rising -> (..., T, J), units of the joints a second.

    Over the two neighbouring frames, at the ends over one; NaN where the joint is NaN in one of
    these. A single frame has speed 0.
    """
    points, seconds = jnp.asarray(joints), jnp.asarray(times)
    frames = np.arange(points.shape[-3])
    before, after = np.maximum(frames - 1, 0), np.minimum(frames + 1, len(frames) - 1)
    step = seconds[after] - seconds[before]
    moved = length(points[..., after, :, :] - points[..., before, :, :])
    return moved / jnp.where(step > 0, step, 1.0)[:, None]


def range_of_motion(values: ArrayLike) -> Array:
    """(..., T, A) -> (..., A): the largest minus the smallest value over time. NaN values do not
    count; NaN where there is no other."""
    every = jnp.asarray(values)
    known = ~jnp.isnan(every)
    high = jnp.max(jnp.where(known, every, -jnp.inf), axis=-2)
    low = jnp.min(jnp.where(known, every, jnp.inf), axis=-2)
    return jnp.where(known.any(axis=-2), high - low, jnp.nan)


# ---- the place in front of a camera ----


def weak_perspective_root(xyz: ArrayLike, places: ArrayLike, visible: ArrayLike) -> Array:
    """Where the root stands, (..., 3) in the unit of xyz, if all joints were equally far.

    xyz (..., J, 3) relative to the root; places (..., J, 2): the joints seen on the plane z = 1 of
    the camera; visible (..., J), 0 does not count. Least squares of the scale and shift from x, y
    to places; the scale is one by the distance. NaN with fewer than two joints, or if it lies
    behind the camera. Source: the global pose of Mehta et al., 3DV 2017, section 4.3, with the
    scale by regression.
    """
    points, seen, weight = _placed(xyz, places, visible)
    (x, mean), (a, ray) = _centred(points, weight), _centred(seen, weight)
    size = jnp.sum(weight[..., None] * x[..., :2] ** 2, axis=(-2, -1))
    scale = jnp.sum(weight[..., None] * x[..., :2] * a, axis=(-2, -1))
    known = (scale > 0) & (size > 0)
    depth = size / jnp.where(known, scale, 1.0)
    middle = jnp.concatenate([ray * depth[..., None], depth[..., None]], axis=-1)
    return jnp.where(known[..., None], middle - mean, jnp.nan)


def perspective_root(
    xyz: ArrayLike, places: ArrayLike, visible: ArrayLike, rounds: int = 3
) -> Array:
    """Where the root stands, (..., 3) in the unit of xyz, so that the joints are seen at `places`.

    As `weak_perspective_root`, with each joint at its own depth: x_j + X = place_j (z_j + Z) is
    linear in X, Y, Z (the collinearity equations; Hartley and Zisserman 2004, section 7.1). Solved
    `rounds` times, weighted by one by the squared distance, so that errors in pixels count alike.
    """
    points, seen, weight = _placed(xyz, places, visible)
    target = seen * points[..., 2:] - points[..., :2]
    each, root = weight, jnp.full((*points.shape[:-2], 3), jnp.nan, points.dtype)
    for _ in range(rounds):
        (a, ray), (c, offset) = _centred(seen, each), _centred(target, each)
        size = jnp.sum(each[..., None] * a * a, axis=(-2, -1))
        known = size > 0
        depth = -jnp.sum(each[..., None] * a * c, axis=(-2, -1)) / jnp.where(known, size, 1.0)
        known &= depth > 0
        place = jnp.concatenate([offset + ray * depth[..., None], depth[..., None]], axis=-1)
        root = jnp.where(known[..., None], place, jnp.nan)
        away = points[..., 2] + jnp.where(known, depth, 1.0)[..., None]
        near = known[..., None] & (away > 0)
        each = jnp.where(near, weight / jnp.where(near, away, 1.0) ** 2, 0.0)
        each = each / jnp.maximum(each.max(axis=-1, keepdims=True), 1e-30)
    return root


def _placed(xyz: ArrayLike, places: ArrayLike, visible: ArrayLike) -> tuple[Array, Array, Array]:
    """Points, places and weights; all 0 where a joint does not count."""
    points, seen = jnp.asarray(xyz), jnp.asarray(places)
    counted = (jnp.asarray(visible) > 0) & ~jnp.isnan(points).any(-1) & ~jnp.isnan(seen).any(-1)
    points = jnp.where(counted[..., None], points, 0.0)
    seen = jnp.where(counted[..., None], seen, 0.0)
    return points, seen, counted.astype(points.dtype)


def _centred(points: Array, weight: Array) -> tuple[Array, Array]:
    """Points (..., J, D) from their weighted mean, and the mean (..., D)."""
    total = jnp.maximum(weight.sum(axis=-1), 1e-12)[..., None]
    mean = (weight[..., None] * points).sum(axis=-2) / total
    return points - mean[..., None, :], mean
