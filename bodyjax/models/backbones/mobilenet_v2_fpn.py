"""MobileNetV2 with a feature pyramid, as in MoveNet: a backbone that has seen people.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018; the pyramid and
the heads that read it are MoveNet's (Google, Apache 2.0; CenterNet-style: Zhou et al., "Objects as
Points", 2019). Depth multiplier 1.5 is MoveNet MultiPose's, 1.75 MoveNet Thunder's. The published
weights have their batch norms folded into kernels and biases, so there are no norms here.

Published weights are in our layout already.

| there | here |
|---|---|
| backbone/X, fpn/X | X |
| heatmap/X, center/X, regress/X, offset/X | the same, of the heads of models.pose.CenterPose |

Left out: MoveNet's boxes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bodyjax.models.backbones import Arrays, Tree, Weights, unknown
from bodyjax.models.backbones.layers import DepthwiseConv, PointwiseConv, SeparableConv
from bodyjax.models.depthwise import form
from bodyjax.models.resize import upsample2

Array = jax.Array

STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
"""Of the 17 inverted residuals."""
WIDTHS = {
    1.5: (48, 24, 40, 48, 96, 144, 240, 480),
    1.75: (56, 32, 40, 56, 112, 168, 280, 560),
}
"""By depth multiplier: channels of the stem and of blocks 0, 1-2, 3-5, 6-9, 10-12, 13-15 and 16."""
WIDTH_OF_BLOCK = (1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7)
"""The entry of `WIDTHS` that each block has."""
HEAD = 1280
TAPS = {2: 4, 5: 8, 9: 16}
"""Blocks that the pyramid reads, and their strides."""
LATERAL = {32: 64, 16: 64, 8: 32, 4: 24}
SMOOTH = {16: 32, 8: 24, 4: 24}

NAMES = tuple(f"mobilenet_v2_fpn_{multiplier:g}" for multiplier in WIDTHS)
KNOWN_BY = "backbone/stem/kernel"
HEADS = ("heatmap", "center", "regress", "offset")
"""Of MoveNet, as they are published; its box_scale and box_offset are not used."""


class FoldedResidual(nn.Module):
    """Expansion x 6 with ReLU6, depthwise with ReLU6, linear projection; a shortcut where shapes
    agree. Norms folded; the first block has no expansion. `expansion`: hidden channels for each
    input channel, in networks that are cut down."""

    features: int
    stride: int
    expand: bool
    form: str
    dtype: Any
    expansion: int = 6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = x
        if self.expand:
            y = nn.relu6(PointwiseConv(self.expansion * x.shape[-1], self.dtype, name="expand")(y))
        y = DepthwiseConv(self.stride, form=self.form, dtype=self.dtype, name="depthwise")(y)
        y = PointwiseConv(self.features, self.dtype, name="project")(nn.relu6(y))
        return x + y if self.expand and x.shape == y.shape else y


class MobileNetV2FPN(nn.Module):
    """MobileNetV2 and its pyramid -> {4: 24, 8: 24 + C5, 16: 32 + C9, 32: 64 channels}.

    Each level is the pyramid's output, followed at strides 8 and 16 by the tap that it was made of
    (blocks 5 and 9): trunks of new heads read both. `multiplier`: 1.5 or 1.75. `frozen_blocks`: no
    gradient flows into the stem and that many blocks; 17 and more: none into the pyramid either.
    """

    multiplier: float = 1.5
    depthwise: str = "shifted"
    frozen_blocks: int = 0
    dtype: Any = jnp.float32

    strides = (4, 8, 16, 32)
    normed = False

    @nn.compact
    def __call__(self, pixels: Array, train: bool = False) -> dict[int, Array]:
        del train  # no norms
        widths = WIDTHS[self.multiplier]
        x = (pixels.astype(jnp.float32) / 127.5 - 1.0).astype(self.dtype)
        stem = nn.Conv(
            widths[0], (3, 3), (2, 2), padding="SAME", dtype=self.dtype, name="stem"
        )  # fmt: skip
        x, taps = nn.relu6(stem(x)), {}
        for i, stride in enumerate(STRIDES):
            width, name = widths[WIDTH_OF_BLOCK[i]], f"block{i}"
            x = FoldedResidual(width, stride, i > 0, self.depthwise, self.dtype, name=name)(x)
            if i < self.frozen_blocks:  # each of them: the pyramid reads earlier ones, too
                x = jax.lax.stop_gradient(x)
            if i in TAPS:
                taps[TAPS[i]] = x
        x = nn.relu6(PointwiseConv(HEAD, self.dtype, name="head")(x))
        x = PointwiseConv(LATERAL[32], self.dtype, name="lateral32")(x)
        features = {32: x}
        for stride in (16, 8, 4):
            tap = PointwiseConv(LATERAL[stride], self.dtype, name=f"lateral{stride}")(taps[stride])
            merged = upsample2(x) + tap
            x = SeparableConv(SMOOTH[stride], self.depthwise, self.dtype, name=f"smooth{stride}")(
                merged
            )
            features[stride] = x
        for stride in (8, 16):
            features[stride] = jnp.concatenate([features[stride], taps[stride]], axis=-1)
        if self.frozen_blocks >= len(STRIDES):
            features = jax.tree.map(jax.lax.stop_gradient, features)
        return features


def build(name: str, model: Any, dtype: Any) -> MobileNetV2FPN:
    multiplier = float(name.rpartition("_")[2])
    return MobileNetV2FPN(multiplier, form(model), model["frozen_blocks"], dtype)


def published(arrays: Arrays) -> Weights:
    """The variables of `MobileNetV2FPN` and of MoveNet's heads."""
    params: Tree = {}
    for name, value in arrays.items():
        part, _, rest = name.partition("/")
        if part in ("box_scale", "box_offset"):
            continue
        if part in ("backbone", "fpn"):
            where = rest.split("/")
        elif part in HEADS:
            where = name.split("/")
        else:
            unknown(name)
        if where[-1] not in ("kernel", "bias"):
            unknown(name)
        tree = params
        for step in where[:-1]:
            tree = tree.setdefault(step, {})
            if not isinstance(tree, dict):
                unknown(name)
        tree[where[-1]] = value
    heads = {head: params.pop(head) for head in HEADS if head in params}
    return Weights(params, {}, heads)
