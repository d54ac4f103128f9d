"""ResNet with squeeze and excitation (Hu et al., Squeeze-and-Excitation Networks, CVPR 2018; CN
114581953 B uses it instead of VGG, with reduction 8), and without.

Published weights: ResNet of torchvision, SE-ResNet of moskomule/senet.pytorch.

| there | here |
|---|---|
| conv1, bn1 | the same |
| layerG.N.conv1, bn1, conv2, bn2, conv3, bn3 (G = 1, 2, 3) | layerG_N/conv1, bn1, ... |
| layerG.N.downsample.0, downsample.1 | layerG_N/shortcut, shortcut_bn |
| layerG.N.se.fc.0, se.fc.2 | layerG_N/se/squeeze, se/excite |

Left out: layer4 and the classifier, which come after.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bodyjax.models.backbones import Arrays, Weights
from bodyjax.models.backbones.layers import Norm, SqueezeExcite, conv, imagenet_normalised
from bodyjax.models.backbones.torch_names import moved, of_blocks

Array = jax.Array

BLOCKS = {"small": (1, 2, 2), "50": (3, 4, 6), "101": (3, 4, 23)}
PLANES = {"small": (16, 32, 64), "50": (64, 128, 256), "101": (64, 128, 256)}
NAMES = tuple(f"{kind}_{depth}" for kind in ("resnet", "se_resnet") for depth in BLOCKS)
KNOWN_BY = "layer1.0.conv1.weight"


class SEBottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to 4 x planes, squeeze and excitation, shortcut, ReLU.

    `dilation` spreads the 3x3 kernel where a stride was removed. reduction 0: plain ResNet.
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


class SEResNet(nn.Module):
    """SE-ResNet as a backbone for pose: its first three groups; the third is dilated, not strided,
    so that it gives the published network's values at stride 8, where CMU-Pose reads features.

    `depth`: "small" (for CPUs), "50" or "101" (the third group is where they differ); `reduction`
    0: plain ResNet. Names follow torchvision's, so that published ResNet weights map onto them.
    """

    depth: str = "50"
    reduction: int = 8
    dtype: Any = jnp.float32

    strides = (4, 8)
    normed = True

    @nn.compact
    def __call__(self, pixels: Array, train: bool = False) -> dict[int, Array]:
        blocks, planes = BLOCKS[self.depth], PLANES[self.depth]
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


def build(name: str, model: Any, dtype: Any) -> SEResNet:
    del model
    kind, _, depth = name.rpartition("_")
    return SEResNet(depth, 8 if kind == "se_resnet" else 0, dtype)


TOP_PLACES = {"conv1": "conv1", "bn1": "bn1"}
BLOCK_PLACES = {
    "conv1": "conv1", "bn1": "bn1", "conv2": "conv2", "bn2": "bn2", "conv3": "conv3", "bn3": "bn3",
    "downsample.0": "shortcut", "downsample.1": "shortcut_bn",
    "se.fc.0": "se/squeeze", "se.fc.2": "se/excite",
}  # fmt: skip


def published(arrays: Arrays) -> Weights:
    """The variables of `SEResNet` from torchvision's resnet50 or resnet101, or an SE-ResNet of the
    same layout. Plain ResNets have no squeeze and excitation."""
    block = r"layer([123])\.(\d+)\.(.+)"
    place = of_blocks(TOP_PLACES, block, BLOCK_PLACES, r"layer\1_\2", r"fc|layer4\..*")
    return moved(arrays, place)
