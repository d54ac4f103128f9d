"""Maps of made people, to measure grouping on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax import codec, skeleton

BODY = skeleton.get("body18")

# A standing figure in units of its height, y down, the neck at (0, 0): right side, left side, face.
STANDING = {
    "neck": (0.0, 0.0), "nose": (0.0, -0.1),
    "right_shoulder": (-0.11, 0.01), "right_elbow": (-0.15, 0.17), "right_wrist": (-0.16, 0.32),
    "right_hip": (-0.07, 0.31), "right_knee": (-0.08, 0.55), "right_ankle": (-0.08, 0.78),
    "left_shoulder": (0.11, 0.01), "left_elbow": (0.15, 0.17), "left_wrist": (0.16, 0.32),
    "left_hip": (0.07, 0.31), "left_knee": (0.08, 0.55), "left_ankle": (0.08, 0.78),
    "right_eye": (-0.03, -0.13), "left_eye": (0.03, -0.13),
    "right_ear": (-0.07, -0.11), "left_ear": (0.07, -0.11),
}  # fmt: skip


def figures(people: int, size: float, seed: int) -> np.ndarray:
    """Joints (people, 18, 2) in pixels of upright people of varying size in a square picture."""
    rng = np.random.default_rng(seed)
    body = np.array([STANDING[joint] for joint in BODY.joints])
    height = rng.uniform(0.25, 0.6, (people, 1, 1)) * size
    neck = rng.uniform((0.1, 0.15), (0.9, 0.6), (people, 2))[:, None] * size
    pose = body + rng.normal(0, 0.015, (people, *body.shape))
    return np.asarray(pose * height + neck, np.float32)


def maps(
    people: int, cells: int = 46, stride: int = 8, seed: int = 0
) -> tuple[jax.Array, jax.Array]:
    """Heat maps (cells, cells, 18) and fields (cells, cells, 38) of a scene."""
    xy = jnp.asarray(figures(people, cells * stride, seed))
    visible = jnp.full(xy.shape[:2], 2)
    shape = (cells, cells)
    heatmaps = codec.heatmaps(xy, visible, shape, stride, 7.0)
    return heatmaps, codec.pafs(xy, visible, BODY.limbs, shape, stride, 8.0)
