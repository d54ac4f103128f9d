"""MobileNetV2 with a feature pyramid, as MoveNet has it: a backbone that has seen people.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018; the pyramid and
the heads that read it are MoveNet's (Google, Apache 2.0; CenterNet's form: Zhou et al., "Objects as
Points", 2019). Depth multiplier 1.5 is MoveNet MultiPose's, 1.75 MoveNet Thunder's. The published
weights have their batch norms folded into kernels and biases, so there are no norms here.

Pixels (B, H, W, 3) in 0..255, RGB; features by stride, as every backbone of models.backbone gives
them. H and W are multiples of 32. Names of parameters are those of the published weights.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bodyjax.models.depthwise import depthwise
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


class DepthwiseConv(nn.Module):
    """Depthwise 3x3 convolution, "SAME" padding, kernel (3, 3, C), with a bias or without.

    `form`: "shifted" or "grouped", two programs of the same parameters (models.depthwise)."""

    stride: int = 1
    bias: bool = True
    form: str = "shifted"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        init = nn.initializers.normal(0.2)
        kernel = self.param("kernel", init, (3, 3, channels)).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.form == "grouped":
            y = jax.lax.conv_general_dilated(
                x, kernel[:, :, None], (self.stride, self.stride), "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=channels,
            )  # fmt: skip
        else:
            y = depthwise(x, kernel, self.stride)
        if self.bias:
            y = y + self.param("bias", nn.initializers.zeros, (channels,)).astype(self.dtype)
        return y


class PointwiseConv(nn.Module):
    """1x1 convolution with bias as a matrix product; kernel (1, 1, in, out) as of nn.Conv."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (1, 1, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return jnp.dot(x.astype(self.dtype), kernel[0, 0].astype(self.dtype)) + bias.astype(
            self.dtype
        )


class SeparableConv(nn.Module):
    """Depthwise 3x3 without bias, then 1x1 and ReLU: MoveNet's `smooth` and `hidden` layers."""

    features: int
    form: str = "shifted"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = DepthwiseConv(bias=False, form=self.form, dtype=self.dtype, name="depthwise")(x)
        return nn.relu(PointwiseConv(self.features, self.dtype, name="pointwise")(x))


class FoldedResidual(nn.Module):
    """Expansion x 6 with ReLU6, depthwise with ReLU6, linear projection; a shortcut where shapes
    agree. Norms folded; the first block has no expansion."""

    features: int
    stride: int
    expand: bool
    form: str
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = x
        if self.expand:
            y = nn.relu6(PointwiseConv(6 * x.shape[-1], self.dtype, name="expand")(y))
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
