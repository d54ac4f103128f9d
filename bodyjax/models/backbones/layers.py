"""Layers that several backbones and the networks above them share."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bodyjax.models.depthwise import depthwise

Array = jax.Array


class Depthwise(nn.Module):
    """Depthwise k x k convolution, "SAME" padding, without bias.

    `form` chooses the program for the same parameters: "shifted" (a sum of k^2 shifted products, 10
    to 40 times as fast as the grouped one where XLA runs on a CPU) or "grouped" (GPU and export).
    """

    kernel: int
    stride: int = 1
    form: str = "shifted"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        shape = (self.kernel, self.kernel, 1, channels)
        init = nn.initializers.variance_scaling(
            2.0, "fan_out", "normal", in_axis=(), out_axis=(0, 1)
        )
        weight = self.param("kernel", init, shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.form == "grouped":
            return jax.lax.conv_general_dilated(
                x, weight, (self.stride, self.stride), "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=channels,
            )  # fmt: skip
        return depthwise(x, weight[:, :, 0], self.stride)


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


class Norm(nn.Module):
    """Batch norm. `frozen`: the stored statistics also in training (a pre-trained start, small
    batches); scale and bias still learn."""

    epsilon: float = 1e-5
    momentum: float = 0.97
    frozen: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        return nn.BatchNorm(
            use_running_average=not train or self.frozen, momentum=self.momentum,
            epsilon=self.epsilon, dtype=self.dtype, name="norm",
        )(x)  # fmt: skip


class Pointwise(nn.Module):
    """1x1 convolution without bias as a matrix product: its gradient costs XLA on CPUs a fraction
    of that of a convolution. Parameters as of nn.Conv: kernel (1, 1, in, out)."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (1, 1, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return jnp.dot(x.astype(self.dtype), kernel[0, 0].astype(self.dtype))


def conv(features: int, kernel: int, stride: int = 1, *, dtype: Any, **kwargs: Any) -> nn.Module:
    """A convolution without bias (a norm follows it)."""
    if kernel == stride == 1:
        return Pointwise(features, dtype=dtype, **kwargs)
    return nn.Conv(
        features, (kernel, kernel), (stride, stride), use_bias=False, dtype=dtype, **kwargs
    )


class SqueezeExcite(nn.Module):
    """x * s, s = sigmoid(W2 relu(W1 z)), z the mean over the map; W1: C -> C / reduction, no biases
    (Hu et al. 2018, section 3; CN 114581953 B: reduction 8)."""

    reduction: int = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        z = x.mean(axis=(1, 2), dtype=jnp.float32).astype(self.dtype)
        z = nn.Dense(channels // self.reduction, use_bias=False, dtype=self.dtype, name="squeeze")(
            z
        )
        z = nn.Dense(channels, use_bias=False, dtype=self.dtype, name="excite")(nn.relu(z))
        return x * nn.sigmoid(z)[:, None, None, :]


IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)


def imagenet_normalised(pixels: Array, dtype: Any) -> Array:
    """Pixels 0..255 less the mean of ImageNet, in its deviations: torchvision's convention."""
    mean, deviation = jnp.array(IMAGENET_MEAN), jnp.array(IMAGENET_DEVIATION)
    return ((pixels.astype(jnp.float32) - mean) / deviation).astype(dtype)
