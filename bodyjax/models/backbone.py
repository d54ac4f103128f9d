"""Backbones: pictures to features.

VGG19's first ten convolutions (Simonyan and Zisserman, ICLR 2015), where CMU-Pose begins; SE-ResNet
(Hu et al., Squeeze-and-Excitation Networks, CVPR 2018; CN 114581953 B takes it in VGG's place, with
reduction 8); EfficientNet-lite0, the start of the small detector.

Every backbone takes pixels (B, H, W, 3) in 0..255 (any real dtype), RGB, normalises them by its own
convention, and returns features by stride: {8: (B, H/8, W/8, C), ...}. H and W are multiples of the
largest stride.
"""

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


class SEBottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to 4 x planes, squeeze and excitation, shortcut, ReLU.

    `dilation` spreads the 3x3 kernel where a stride was taken away. reduction 0: plain ResNet.
    """

    planes: int
    stride: int = 1
    dilation: int = 1
    reduction: int = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        def norm(name: str, y: Array) -> Array:
            return Norm(dtype=self.dtype, name=name)(y, train)

        pad = [(self.dilation, self.dilation)] * 2
        y = nn.relu(norm("bn1", conv(self.planes, 1, dtype=self.dtype, name="conv1")(x)))
        middle = conv(
            self.planes, 3, self.stride, dtype=self.dtype, padding=pad,
            kernel_dilation=self.dilation, name="conv2",
        )  # fmt: skip
        y = nn.relu(norm("bn2", middle(y)))
        y = norm("bn3", conv(4 * self.planes, 1, dtype=self.dtype, name="conv3")(y))
        if self.reduction:
            y = SqueezeExcite(self.reduction, dtype=self.dtype, name="se")(y)
        if x.shape != y.shape:
            shortcut = conv(4 * self.planes, 1, self.stride, dtype=self.dtype, name="shortcut")(x)
            x = norm("shortcut_bn", shortcut)
        return nn.relu(x + y)


IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)


def imagenet_normalised(pixels: Array, dtype: Any) -> Array:
    """Pixels 0..255 less the mean of ImageNet, in its deviations: torchvision's convention."""
    mean, deviation = jnp.array(IMAGENET_MEAN), jnp.array(IMAGENET_DEVIATION)
    return ((pixels.astype(jnp.float32) - mean) / deviation).astype(dtype)


VGG19_GROUPS = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512))


class VGG19(nn.Module):
    """The first ten convolutions of VGG19 (conv1_1 to conv4_2), 512 channels at stride 8.

    CMU-Pose (Cao et al., CVPR 2017) adds conv4_3 (256) and conv4_4 (128), which are trained anew:
    `models.pose.MultiStagePose` has them as `reduce1` and `reduce2`.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pixels: Array, train: bool = False) -> dict[int, Array]:
        del train  # no norms
        x = imagenet_normalised(pixels, self.dtype)
        for group, widths in enumerate(VGG19_GROUPS, 1):
            if group > 1:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            for i, width in enumerate(widths, 1):
                x = nn.Conv(
                    width, (3, 3), padding=[(1, 1)] * 2, dtype=self.dtype, name=f"conv{group}_{i}",
                    kernel_init=nn.initializers.he_normal(),
                )(x)  # fmt: skip
                x = nn.relu(x)
        return {8: x}


RESNET_BLOCKS = {"small": (1, 2, 2), "50": (3, 4, 6), "101": (3, 4, 23)}
RESNET_PLANES = {"small": (16, 32, 64), "50": (64, 128, 256), "101": (64, 128, 256)}


class SEResNet(nn.Module):
    """SE-ResNet as a backbone for pose: its first three groups; the third is dilated, not strided,
    so that it gives the published network's values at stride 8, where CMU-Pose reads features.

    `depth`: "small" (for CPUs), "50" or "101" (the third group is where they differ); `reduction`
    0: plain ResNet. Names follow torchvision's, so that published ResNet weights map onto them.
    """

    depth: str = "50"
    reduction: int = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pixels: Array, train: bool = False) -> dict[int, Array]:
        blocks, planes = RESNET_BLOCKS[self.depth], RESNET_PLANES[self.depth]
        x = imagenet_normalised(pixels, self.dtype)
        x = conv(planes[0], 7, 2, dtype=self.dtype, padding=[(3, 3)] * 2, name="conv1")(x)
        x = nn.relu(Norm(dtype=self.dtype, name="bn1")(x, train))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=[(1, 1), (1, 1)])
        features = {}
        for group in range(3):
            for block in range(blocks[group]):
                # Where the stride was taken from the first block, those after it see its cells.
                x = SEBottleneck(
                    planes[group], stride=2 if group == 1 and block == 0 else 1,
                    dilation=2 if group == 2 and block > 0 else 1, reduction=self.reduction,
                    dtype=self.dtype, name=f"layer{group + 1}_{block}",
                )(x, train)  # fmt: skip
            features[4 if group == 0 else 8] = x
        return features


# Repeats, kernel, stride, expansion, output channels of each group of EfficientNet-lite0
# (Tan and Le 2019, table 1; lite: no squeeze-and-excitation, ReLU6).
LITE0_GROUPS = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise, 1x1 projection; a shortcut where shapes agree. ReLU6."""

    kernel: int
    stride: int
    expansion: int
    features: int
    depthwise: str
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        def norm(name: str, y: Array) -> Array:
            return Norm(epsilon=1e-3, frozen=True, dtype=self.dtype, name=name)(y, False)

        y = x
        if self.expansion > 1:
            y = conv(self.expansion * x.shape[-1], 1, dtype=self.dtype, name="expand")(y)
            y = nn.relu6(norm("bn0", y))
        y = Depthwise(self.kernel, self.stride, self.depthwise, self.dtype, name="depthwise")(y)
        y = nn.relu6(norm("bn1", y))
        y = norm("bn2", conv(self.features, 1, dtype=self.dtype, name="project")(y))
        return x + y if x.shape == y.shape else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-lite0 without its classifier; features at strides 4, 8, 16 and 32.

    Meant to start from ImageNet weights (bodyjax.published), so its norms keep their stored
    statistics. `frozen_blocks`: no gradient flows into the stem and that many blocks.
    """

    depthwise: str = "shifted"
    frozen_blocks: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pixels: Array, train: bool = False) -> dict[int, Array]:
        del train  # the norms are frozen
        x = ((pixels.astype(jnp.float32) - 127.0) / 128.0).astype(self.dtype)
        x = conv(32, 3, 2, dtype=self.dtype, padding="SAME", name="stem")(x)
        x = nn.relu6(Norm(epsilon=1e-3, frozen=True, dtype=self.dtype, name="stem_bn")(x, False))
        features, stride, done = {}, 2, 0
        for repeats, kernel, group_stride, expansion, channels in LITE0_GROUPS:
            for repeat in range(repeats):
                step = group_stride if repeat == 0 else 1
                stride *= step
                x = InvertedResidual(
                    kernel, step, expansion, channels, self.depthwise, self.dtype,
                    name=f"block{done}",
                )(x)  # fmt: skip
                done += 1
                if done == self.frozen_blocks:
                    x = jax.lax.stop_gradient(x)
            features[stride] = x
        return features
