"""MoveNet's MobileNetV2 cut down: a backbone for phones.

Hidden channels of the inverted residuals are fewer than six times their inputs, and the last
layers are left out: block 16 and the 1280 channels behind it hold a third of MultiPose's
parameters, blocks 13 to 15, which see the picture at stride 32, another third. A layer `deep` leads
from the last block that is left to the pyramid. `bodyjax.train.cut` makes weights from those of
`mobilenet_v2_fpn`.

Names: mobilenet_v2_short_3_2 has an expansion of 3 up to block 12, where MoveNet has 6, and of 2 in
blocks 13 to 15; mobilenet_v2_short_3_0 ends with block 12.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bodyjax.models.backbones.layers import PointwiseConv, SeparableConv
from bodyjax.models.backbones.mobilenet_v2_fpn import (
    LATERAL,
    SMOOTH,
    STRIDES,
    TAPS,
    WIDTH_OF_BLOCK,
    WIDTHS,
    FoldedResidual,
)
from bodyjax.models.depthwise import form
from bodyjax.models.resize import upsample2

Array = jax.Array

SHALLOW, DEEP = 13, 3
"""Blocks up to stride 16 and at stride 32, the first 16 of MoveNet's 17."""
MULTIPLIER = 1.5
EXPANSIONS = tuple((shallow, deep) for shallow in range(1, 7) for deep in range(shallow + 1))
NAMES = tuple(f"mobilenet_v2_short_{shallow}_{deep}" for shallow, deep in EXPANSIONS)


class MobileNetV2Short(nn.Module):
    """Pictures -> features {4: 24, 8: 24, 16: 32 channels, last: 64} of a pyramid on 13 or 16
    inverted residuals; last: 32, without blocks at that stride none.

    `expansion`, `deep`: hidden channels for each input channel of a residual, up to block 12 and
    behind it (0: no blocks there). `frozen_blocks`: no gradient flows into the stem and that many
    blocks.
    """

    expansion: int = 6
    deep: int = 0
    depthwise: str = "shifted"
    frozen_blocks: int = 0
    dtype: Any = jnp.float32

    normed = False

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the features."""
        return (4, 8, 16, 32) if self.deep else (4, 8, 16)

    @nn.compact
    def __call__(self, pixels: Array, train: bool = False) -> dict[int, Array]:
        del train  # no norms
        widths, taps = WIDTHS[MULTIPLIER], {}
        x = (pixels.astype(jnp.float32) / 127.5 - 1.0).astype(self.dtype)
        stem = nn.Conv(widths[0], (3, 3), (2, 2), padding="SAME", dtype=self.dtype, name="stem")
        x = nn.relu6(stem(x))
        for i, expansion in enumerate(expansions(self.expansion, self.deep)):
            x = FoldedResidual(
                widths[WIDTH_OF_BLOCK[i]], STRIDES[i], i > 0, self.depthwise, self.dtype,
                expansion=expansion, name=f"block{i}",
            )(x)  # fmt: skip
            if i < self.frozen_blocks:  # each of them: the pyramid reads earlier ones, too
                x = jax.lax.stop_gradient(x)
            if i in TAPS:
                taps[TAPS[i]] = x
        x = PointwiseConv(LATERAL[32], self.dtype, name="deep")(x)
        features = {32: x} if self.deep else {}
        for stride in (16, 8, 4):
            tap = PointwiseConv(LATERAL[stride], self.dtype, name=f"lateral{stride}")(taps[stride])
            merged = tap + (x if x.shape == tap.shape else upsample2(x))
            x = SeparableConv(SMOOTH[stride], self.depthwise, self.dtype, name=f"smooth{stride}")(
                merged
            )
            features[stride] = x
        return features


def expansions(shallow: int, deep: int) -> tuple[int, ...]:
    """The expansion of each block."""
    return (shallow,) * SHALLOW + (deep,) * (DEEP if deep else 0)


def of_name(name: str) -> tuple[int, int]:
    """Both expansions of one of `NAMES`."""
    return EXPANSIONS[NAMES.index(name)]


def build(name: str, model: Any, dtype: Any) -> MobileNetV2Short:
    return MobileNetV2Short(*of_name(name), form(model), model["frozen_blocks"], dtype)
