"""VGG19's first ten convolutions (Simonyan and Zisserman, ICLR 2015), with which CMU-Pose begins.

Published weights: torchvision's vgg19.

| there | here |
|---|---|
| features.0, 2, 5, 7, 10, 12, 14, 16, 19, 21 | conv1_1, 1_2, 2_1, ... 4_2 |

Left out: the later layers (from conv4_3 on, and the classifier).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bodyjax.models.backbones import Arrays, Weights, unknown
from bodyjax.models.backbones.layers import imagenet_normalised
from bodyjax.models.backbones.torch_names import moved

Array = jax.Array

NAMES = ("vgg19",)
KNOWN_BY = "features.0.weight"

GROUPS = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512))


class VGG19(nn.Module):
    """The first ten convolutions of VGG19 (conv1_1 to conv4_2), 512 channels at stride 8.

    CMU-Pose (Cao et al., CVPR 2017) adds conv4_3 (256) and conv4_4 (128), which are newly trained:
    `models.pose.MultiStagePose` has them as `reduce1` and `reduce2`.
    """

    dtype: Any = jnp.float32

    strides = (8,)
    normed = True

    @nn.compact
    def __call__(self, pixels: Array, train: bool = False) -> dict[int, Array]:
        del train  # no norms
        x = imagenet_normalised(pixels, self.dtype)
        for group, widths in enumerate(GROUPS, 1):
            if group > 1:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            for i, width in enumerate(widths, 1):
                x = nn.Conv(
                    width, (3, 3), padding=[(1, 1)] * 2, dtype=self.dtype, name=f"conv{group}_{i}",
                    kernel_init=nn.initializers.he_normal(),
                )(x)  # fmt: skip
                x = nn.relu(x)
        return {8: x}


def build(name: str, model: Any, dtype: Any) -> VGG19:
    del name, model
    return VGG19(dtype)


PLACES = {
    0: "conv1_1", 2: "conv1_2", 5: "conv2_1", 7: "conv2_2", 10: "conv3_1", 12: "conv3_2",
    14: "conv3_3", 16: "conv3_4", 19: "conv4_1", 21: "conv4_2",
}  # fmt: skip


def published(arrays: Arrays) -> Weights:
    """The variables of `VGG19` from torchvision's vgg19."""

    def place(layer: str) -> str | None:
        kind, _, number = layer.partition(".")
        if kind == "classifier" or (kind == "features" and int(number) > max(PLACES)):
            return None
        return PLACES[int(number)] if kind == "features" else unknown(layer)

    return moved(arrays, place)
