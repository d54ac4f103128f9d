"""EfficientNet-lite0 (Tan and Le 2019; lite: no squeeze and excitation, ReLU6).

Published weights: names of the PyTorch port.

| there | here |
|---|---|
| _conv_stem, _bn0 | stem, stem_bn |
| _blocks.N._expand_conv, _bn0, _depthwise_conv, _bn1, _project_conv, _bn2 | blockN/expand, ... |

Left out: its head and classifier, which come after.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bodyjax.models.backbones import Arrays, Weights
from bodyjax.models.backbones.layers import Depthwise, Norm, conv
from bodyjax.models.backbones.torch_names import moved, of_blocks
from bodyjax.models.depthwise import form

Array = jax.Array

NAMES = ("efficientnet_lite0",)
KNOWN_BY = "_conv_stem.weight"

# Repeats, kernel, stride, expansion, output channels of each group (Tan and Le 2019, table 1).
GROUPS = (
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
    """EfficientNet-lite0 without its classifier; features by stride.

    Meant to start from ImageNet weights (bodyjax.published), so its norms keep their stored
    statistics. `frozen_blocks`: no gradient flows into the stem and that many blocks.
    """

    depthwise: str = "shifted"
    frozen_blocks: int = 0
    dtype: Any = jnp.float32

    strides = (2, 4, 8, 16, 32)
    normed = True

    @nn.compact
    def __call__(self, pixels: Array, train: bool = False) -> dict[int, Array]:
        del train  # the norms are frozen
        x = ((pixels.astype(jnp.float32) - 127.0) / 128.0).astype(self.dtype)
        x = conv(32, 3, 2, dtype=self.dtype, padding="SAME", name="stem")(x)
        x = nn.relu6(Norm(epsilon=1e-3, frozen=True, dtype=self.dtype, name="stem_bn")(x, False))
        features, stride, done = {}, 2, 0
        for repeats, kernel, group_stride, expansion, channels in GROUPS:
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


def build(name: str, model: Any, dtype: Any) -> EfficientNetLite0:
    del name
    return EfficientNetLite0(form(model), model["frozen_blocks"], dtype)


BLOCK_PLACES = {
    "_expand_conv": "expand", "_bn0": "bn0", "_depthwise_conv": "depthwise", "_bn1": "bn1",
    "_project_conv": "project", "_bn2": "bn2",
}  # fmt: skip
TOP_PLACES = {"_conv_stem": "stem", "_bn0": "stem_bn"}


def published(arrays: Arrays) -> Weights:
    """The variables of `EfficientNetLite0`."""
    block = r"_blocks\.(\d+)\.(\w+)"
    place = of_blocks(TOP_PLACES, block, BLOCK_PLACES, r"block\1", "_conv_head|_bn1|_fc")
    return moved(arrays, place)
