"""Networks that give joints depth: from a picture of a person, and from their joints alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import export

from bodyjax.models.backbones import Backbone
from bodyjax.models.backbones.layers import Norm, conv
from bodyjax.models.pose import Pyramid

Array = jax.Array


class DepthMaps(NamedTuple):
    """Outputs of every stage, the last is the result: heatmaps and depth (S, B, H, W, J); depth is
    relative to the root, in sides of the picture."""

    heatmaps: Array
    depth: Array


export.register_namedtuple_serialization(
    DepthMaps, serialized_name="bodyjax.models.lifter.DepthMaps"
)


class Lifter(nn.Module):
    """Pictures (B, H, W, 3) of one person in 0..255 -> DepthMaps at stride 8; H, W multiples of the
    backbone's largest stride, 32.

    The backbone and the pyramid are those of the detector (models.pose), and its weights fit. Each
    stage has a trunk of 3x3 convolutions, from which two outputs are read: J heat maps and J maps
    of depth (CN 111260774 B).
    """

    backbone: Backbone
    joints: int = 17
    stages: int = 2
    width: int = 96
    layers: int = 2
    pyramid: tuple[int, int, int, int] = (64, 96, 112, 96)
    dtype: Any = jnp.float32

    stride = 8

    @property
    def cell(self) -> int:
        """Pixels of the largest stride."""
        return max(self.backbone.strides)

    @nn.compact
    def __call__(self, pixels: Array, train: bool = False) -> DepthMaps:
        merge = Pyramid(
            self.stride, self.pyramid, 0, not self.backbone.normed, dtype=self.dtype,
            name="pyramid",
        )  # fmt: skip
        features = merge(self.backbone(pixels, train), train)
        x = features
        heatmaps: list[Array] = []
        depth: list[Array] = []
        for stage in range(1, self.stages + 1):
            for layer in range(1, self.layers + 1):
                name = f"stage{stage}_conv{layer}"
                x = conv(self.width, 3, dtype=self.dtype, name=name)(x)
                x = nn.relu(Norm(dtype=self.dtype, name=f"{name}_bn")(x, train))
            for what, maps in (("heatmaps", heatmaps), ("depth", depth)):
                out = nn.Conv(
                    self.joints, (1, 1), dtype=self.dtype, name=f"stage{stage}_{what}"
                )(x)  # fmt: skip
                maps.append(out.astype(jnp.float32))
            x = jnp.concatenate(
                [features, x, heatmaps[-1].astype(self.dtype), depth[-1].astype(self.dtype)], -1
            )
        return DepthMaps(jnp.stack(heatmaps), jnp.stack(depth))


class JointLifter(nn.Module):
    """Joints in the picture -> joints in space, a residual network of dense layers.

    xy (B, J, 2), score (B, J) and size (B,) of a `camera.View`; returns (B, K, 3) in body heights,
    relative to the root, in the axes of that view. The first two coordinates of the joints
    `base` (K; an index into J, or two whose middle counts) are the seen ones times the predicted
    height, plus a learnt correction. After Martinez et al., "A simple yet effective baseline for 3D
    human pose estimation", ICCV 2017, with layer norms.
    """

    base: tuple[tuple[int, int], ...]
    width: int = 512
    blocks: int = 2
    dropout: float = 0.1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, xy: Array, score: Array, size: Array, train: bool = False) -> Array:
        there = (score > 0)[..., None]
        xy = jnp.where(there, xy, 0.0)
        score = jnp.clip(score, 0.0, 1.0)
        apart = jnp.log(jnp.maximum(size, 1e-3))[:, None] + 1.5  # about 0 at three heights
        flat = jnp.concatenate([xy.reshape(len(xy), -1), score, there[..., 0], apart], axis=-1)
        x = nn.Dense(self.width, dtype=self.dtype, name="enter")(flat)
        for block in range(1, self.blocks + 1):
            y = nn.LayerNorm(dtype=self.dtype, name=f"norm{block}")(x)
            for layer in (1, 2):
                y = nn.Dense(self.width, dtype=self.dtype, name=f"block{block}_{layer}")(y)
                y = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(y))
            x = x + y
        x = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        count = len(self.base)
        start = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        out = nn.Dense(1 + 3 * count, dtype=self.dtype, kernel_init=start, name="leave")(x)
        out = out.astype(jnp.float32)
        first, second = jnp.asarray(self.base).T
        seen = 0.5 * (xy[:, first] + xy[:, second]).astype(jnp.float32)
        both = there[:, first] & there[:, second]
        # Joints of a standing person: a quarter of the height from their middle, root mean square.
        height = 0.25 * jnp.exp(jnp.clip(out[:, :1], -2.0, 2.0))[..., None]
        flat_pose = height * jnp.where(both, seen - seen[:, :1], 0.0)
        pose = out[:, 1:].reshape(len(out), count, 3)
        pose = pose + jnp.concatenate([flat_pose, jnp.zeros_like(pose[..., :1])], axis=-1)
        return pose - pose[:, :1]
