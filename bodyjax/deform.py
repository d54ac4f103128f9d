"""Changing a joint sequence: tempo, position, size, turn, mirror image, noise.

The same code serves NumPy arrays (transforms of a stream) and jax arrays (inside a compiled step):
it uses what both share (the Python array API) and imports neither's random numbers. `deformation`
turns plain random numbers into one change; `apply` applies it to one clip; vmap it for many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

Array = Any
UNIFORMS = 13
"""How many uniform numbers `deformation` uses besides one per step and one per joint."""


@dataclass(frozen=True)
class Limits:
    """How far augmentation goes; every zero leaves its part out.

    flip: probability of the mirror image, left and right joints swapped. rotation: radians to
    either side; 2D in the picture, 3D about the vertical (second) axis. tilt: radians to either
    side about the third axis, 3D only. scale: log size to either side. stretch: log ratio of each
    axis on its own. shift: share of the clip's size, each axis. crop: greatest share of time cut
    off, both ends together. bend: tempo change, 0.5 = at most half slower or faster. jitter: 1
    draws each step within its own segment of time, 0 takes its middle. offset: spread of one
    displacement per joint and clip; noise: of one per joint and step (both as a share of the clip's
    size). drop: probability that a joint is absent for the whole clip.
    """

    flip: float = 0.0
    rotation: float = 0.0
    tilt: float = 0.0
    scale: float = 0.0
    stretch: float = 0.0
    shift: float = 0.0
    crop: float = 0.0
    bend: float = 0.0
    jitter: float = 0.0
    offset: float = 0.0
    noise: float = 0.0
    drop: float = 0.0


class Deformation(NamedTuple):
    """One change of one clip.

    `times` (T,) share of the clip's duration at each step, `matrix` (D, D), `shift` (D,), `mirror`
    () bool, `noise` (T, J, D), `keep` (J,) bool; shift and noise are shares of the clip's size.
    """

    times: Array
    matrix: Array
    shift: Array
    mirror: Array
    noise: Array
    keep: Array


class Clip(NamedTuple):
    """`joints` (S, J, D), `visible` (S, J) in {0, 1, 2}, `score` (S, J) in [0, 1]."""

    joints: Array
    visible: Array
    score: Array


def even_times(steps: int, sample: int = 0, samples: int = 1) -> list[float]:
    """Times (shares of a clip) in `steps` equal segments, the sample-th of `samples` in each."""
    return [(i + (sample + 0.5) / samples) / steps for i in range(steps)]


def deformation(limits: Limits, uniform: Array, normal: Array) -> Deformation:
    """Random numbers to a change within `limits`.

    uniform (UNIFORMS + T + J,) lies in [0, 1); normal (T + 1, J, D) is standard normal. The same
    numbers give the same change in NumPy and in jax.
    """
    xp = uniform.__array_namespace__()
    steps, dims = normal.shape[0] - 1, normal.shape[-1]
    in_step, joint_uniform = uniform[UNIFORMS : UNIFORMS + steps], uniform[UNIFORMS + steps :]
    signed = 2.0 * uniform - 1.0
    mirror = uniform[0] < limits.flip
    turn, tilt = limits.rotation * signed[1], limits.tilt * signed[2]
    sizes = xp.exp(limits.scale * signed[3] + limits.stretch * signed[4 : 4 + dims])
    flipped = xp.where(mirror, -1.0, 1.0)
    signs = xp.stack([flipped] + [xp.ones_like(flipped)] * (dims - 1))
    matrix = _rotation(xp, turn, tilt, dims) * (sizes * signs)[None, :]
    shift = limits.shift * signed[7 : 7 + dims]
    kept = 1.0 - limits.crop * uniform[10]
    start = (1.0 - kept) * uniform[11]
    middle = 0.5 + limits.jitter * (in_step - 0.5)
    even = (xp.arange(steps, dtype=uniform.dtype) + middle) / steps
    bent = even + limits.bend * signed[12] * xp.sin(math.pi * even) / math.pi
    noise = limits.offset * normal[:1] + limits.noise * normal[1:]
    return Deformation(
        start + kept * bent, matrix, shift, mirror, noise, joint_uniform >= limits.drop
    )


def apply(clip: Clip, length: Array, change: Deformation, mirror: Array) -> Clip:
    """The changed clip, T steps. Points turn and scale about the mean of the visible joints.

    clip: S steps of which the first `length` () int hold the clip. mirror: (J,) int, the joint that
    each becomes in a mirror image.
    """
    xp = clip.joints.__array_namespace__()
    clip = resample(clip, change.times * (length - 1))
    there = clip.visible > 0
    count = xp.maximum(xp.sum(xp.astype(there, clip.joints.dtype)), 1.0)
    inside = xp.where(there[..., None], clip.joints, 0.0)
    centre = xp.sum(inside, axis=(0, 1)) / count
    away = xp.where(there[..., None], clip.joints - centre, 0.0)
    size = xp.sqrt(xp.sum(away * away) / count)
    joints = away @ change.matrix.T + centre + (change.noise + change.shift) * size
    order = xp.where(change.mirror, mirror, xp.arange(mirror.shape[0]))
    keep = change.keep[order]
    visible = xp.where(keep[None, :], clip.visible[:, order], 0)
    return Clip(joints[:, order], visible, xp.where(keep[None, :], clip.score[:, order], 0.0))


def resample(clip: Clip, at: Array) -> Clip:
    """The clip at the places `at` (T,) between 0 and S - 1: joints and scores on the straight line
    between neighbours, `visible` of the nearer one; an absent neighbour leaves the other alone."""
    xp = clip.joints.__array_namespace__()
    last = clip.joints.shape[0] - 1
    at = xp.clip(at, 0.0, float(last))
    low = xp.astype(xp.floor(at), xp.int32)
    high = xp.minimum(low + 1, xp.asarray(last, dtype=xp.int32))
    part = (at - low)[:, None]
    before, after = clip.visible[low] > 0, clip.visible[high] > 0
    weight = xp.where(before & after, part, xp.where(after, 1.0, 0.0))
    # products, not differences: at a stored place the stored value comes back exactly
    joints = clip.joints[low] * (1.0 - weight[..., None]) + clip.joints[high] * weight[..., None]
    score = clip.score[low] * (1.0 - weight) + clip.score[high] * weight
    near = xp.where(part < 0.5, clip.visible[low], clip.visible[high])
    only_one = xp.where(before, clip.visible[low], clip.visible[high])
    return Clip(joints, xp.where(before & after, near, only_one), score)


def _rotation(xp: Any, turn: Array, tilt: Array, dims: int) -> Array:
    cos, sin = xp.cos(turn), xp.sin(turn)
    if dims == 2:
        return xp.stack([xp.stack([cos, -sin]), xp.stack([sin, cos])])
    zero, one = xp.zeros_like(cos), xp.ones_like(cos)
    about_y = xp.stack(
        [xp.stack(r) for r in ((cos, zero, sin), (zero, one, zero), (-sin, zero, cos))]
    )
    cos, sin = xp.cos(tilt), xp.sin(tilt)
    about_z = xp.stack(
        [xp.stack(r) for r in ((cos, -sin, zero), (sin, cos, zero), (zero, zero, one))]
    )
    return about_z @ about_y
