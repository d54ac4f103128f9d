"""Multi-stage pose networks: pictures to heat maps and part affinity fields.

The published form (CMU-Pose, Cao et al. CVPR 2017; CN 114581953 B) refines both maps over six
stages; the light form does the same with few, narrow layers for CPUs and phones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import export

from bodyjax.models.backbones import Backbone
from bodyjax.models.backbones.layers import (
    Norm,
    PointwiseConv,
    SeparableConv,
    SqueezeExcite,
    conv,
)
from bodyjax.models.backbones.mobilenet_v2_fpn import MobileNetV2FPN
from bodyjax.models.backbones.mobilenet_v2_short import MobileNetV2Short
from bodyjax.models.resize import upsample2

Array = jax.Array


class Maps(NamedTuple):
    """Outputs of every stage, the last is the result.

    heatmaps: (S, B, H, W, J + 1), the last channel is the background; pafs: (S, B, H, W, 2 L).
    Networks with CenterNet-style heads (`CenterPose`) also give: center (B, H, W), the probability
    that a person's middle is there; regress (B, H, W, J, 2), from a person's middle to its joints;
    offset (B, H, W, J, 2), from a joint's cell to the joint; x, y in cells from the centre of the
    cell in question. Others: None.
    """

    heatmaps: Array
    pafs: Array
    center: Array | None = None
    regress: Array | None = None
    offset: Array | None = None


# An exported network can be written to a file.
export.register_namedtuple_serialization(Maps, serialized_name="bodyjax.models.pose.Maps")


class Branch(nn.Module):
    """A stack of 3x3 or 7x7 convolutions with ReLU, then the 1x1 output without one.

    `widths` and `kernels` name each hidden convolution.
    """

    outputs: int
    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for i, (width, kernel) in enumerate(zip(self.widths, self.kernels, strict=True)):
            x = nn.Conv(width, (kernel, kernel), dtype=self.dtype, name=f"conv{i + 1}")(x)
            x = nn.relu(x)
        name = f"conv{len(self.widths) + 1}"
        return nn.Conv(self.outputs, (1, 1), dtype=self.dtype, name=name)(x)


class PublishedStages(nn.Module):
    """Stage 1: five convolutions per branch; stages 2 to T: seven, 7x7, on the features and both
    outputs of the stage before (CMU-Pose figure 3)."""

    joints: int
    limbs: int
    stages: int = 6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array, train: bool) -> Maps:
        del train
        heatmaps: list[Array] = []
        pafs: list[Array] = []
        x = features
        for stage in range(1, self.stages + 1):
            widths = (128, 128, 128, 512) if stage == 1 else (128,) * 6
            kernels = (3, 3, 3, 1) if stage == 1 else (7, 7, 7, 7, 7, 1)

            two = (("heatmaps", self.joints + 1, heatmaps), ("pafs", 2 * self.limbs, pafs))
            for name, outputs, made in two:
                branch = Branch(outputs, widths, kernels, self.dtype, name=f"stage{stage}_{name}")
                made.append(branch(x).astype(jnp.float32))
            x = jnp.concatenate([features, heatmaps[-1], pafs[-1]], axis=-1)
        return Maps(jnp.stack(heatmaps), jnp.stack(pafs))


class LightStages(nn.Module):
    """Few narrow stages; both maps of a stage come from one trunk of 3x3 convolutions."""

    joints: int
    limbs: int
    stages: int = 2
    width: int = 96
    layers: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array, train: bool) -> Maps:
        x, heatmaps, pafs = features, [], []
        for stage in range(1, self.stages + 1):
            for layer in range(self.layers):
                name = f"stage{stage}_conv{layer + 1}"
                x = conv(self.width, 3, dtype=self.dtype, name=name)(x)
                x = nn.relu(Norm(dtype=self.dtype, name=f"{name}_bn")(x, train))
            out = nn.Conv(
                self.joints + 1 + 2 * self.limbs, (1, 1), dtype=self.dtype,
                name=f"stage{stage}_maps",
            )(x).astype(jnp.float32)  # fmt: skip
            heatmaps.append(out[..., : self.joints + 1])
            pafs.append(out[..., self.joints + 1 :])
            x = jnp.concatenate([features, x, out.astype(self.dtype)], axis=-1)
        return Maps(jnp.stack(heatmaps), jnp.stack(pafs))


class Pyramid(nn.Module):
    """Merges features of strides 32, 16 and 8 (and 4) from the deepest up (Lin et al., Feature
    Pyramid Networks, CVPR 2017); most of the work is done at stride 16, where maps are small.

    reduction: that of squeeze and excitation on the features before they are merged; 0: none.
    standardise: a norm without parameters on every feature first, for backbones whose channels
    differ a thousandfold in scale."""

    stride: int = 8
    widths: tuple[int, int, int, int] = (64, 96, 192, 192)
    reduction: int = 0
    standardise: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: dict[int, Array], train: bool) -> Array:
        def layer(x: Array, width: int, kernel: int, name: str) -> Array:
            x = conv(width, kernel, dtype=self.dtype, name=name)(x)
            return nn.relu(Norm(dtype=self.dtype, name=f"{name}_bn")(x, train))

        if self.standardise:
            features = {
                stride: nn.BatchNorm(
                    not train, momentum=0.97, use_bias=False, use_scale=False, dtype=self.dtype,
                    name=f"standard{stride}",
                )(x)
                for stride, x in features.items()
                if stride >= self.stride
            }  # fmt: skip
        if self.reduction:
            features = {
                stride: SqueezeExcite(self.reduction, dtype=self.dtype, name=f"se{stride}")(x)
                for stride, x in features.items()
                if stride >= self.stride
            }
        at = dict(zip((4, 8, 16, 32), self.widths, strict=True))
        x = layer(features[32], at[32], 3, "deep")
        x = jnp.concatenate([upsample2(x), features[16]], axis=-1)
        x = layer(x, at[16], 1, "merge16")
        x = x + layer(layer(x, at[16], 3, "middle1"), at[16], 3, "middle2")
        x = layer(jnp.concatenate([upsample2(x), features[8]], axis=-1), at[8], 1, "merge8")
        if self.stride == 4:
            x = layer(jnp.concatenate([upsample2(x), features[4]], axis=-1), at[4], 1, "merge4")
        return x


class MultiStagePose(nn.Module):
    """Pictures (B, H, W, 3) in 0..255 -> Maps at `stride` (8 or 4); H, W multiples of `cell`.

    `backbone` gives features by stride. With stride-32 features (EfficientNet-lite0) a pyramid
    merges them; otherwise (SE-ResNet, VGG) two 3x3 convolutions reduce the features at stride 8 to
    256 and 128 channels, as in CMU-Pose, and stride 4 upsamples those. `light` takes `LightStages`
    instead of the published ones, with `width` channels in `layers` convolutions each; `pyramid`
    are the widths of `Pyramid` at strides 4, 8, 16 and 32, `reduction` its squeeze and excitation.
    """

    backbone: Backbone
    joints: int = 18
    limbs: int = 19
    stride: int = 8
    stages: int = 6
    light: bool = False
    width: int = 96
    layers: int = 2
    pyramid: tuple[int, int, int, int] = (64, 96, 192, 192)
    reduction: int = 0
    dtype: Any = jnp.float32

    @property
    def cell(self) -> int:
        """Pixels of the largest stride: 32 with a pyramid, otherwise 8."""
        return max(self.backbone.strides)

    @nn.compact
    def __call__(self, pixels: Array, train: bool = False) -> Maps:
        features = self.backbone(pixels, train)
        if 32 in features:
            merge = Pyramid(
                self.stride, self.pyramid, self.reduction, not self.backbone.normed,
                dtype=self.dtype, name="pyramid",
            )  # fmt: skip
            x = merge(features, train)
        else:
            x = features[8]
            for i, width in enumerate((128, 96) if self.light else (256, 128)):
                x = nn.Conv(width, (3, 3), dtype=self.dtype, name=f"reduce{i + 1}")(x)
                x = nn.relu(x)
            if self.stride == 4:
                x = upsample2(x)
        if self.light:
            stages: nn.Module = LightStages(
                self.joints, self.limbs, self.stages, self.width, self.layers, dtype=self.dtype,
                name="stages",
            )  # fmt: skip
        else:
            stages = PublishedStages(
                self.joints, self.limbs, self.stages, dtype=self.dtype, name="stages"
            )
        return stages(x, train)


class Head(nn.Module):
    """MoveNet's form of a head: depthwise 3x3, 1x1 to 96 with ReLU, 1x1."""

    outputs: int
    form: str = "shifted"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = SeparableConv(96, self.form, self.dtype, name="hidden")(x)
        return PointwiseConv(self.outputs, self.dtype, name="out")(x).astype(jnp.float32)


class CenterPose(nn.Module):
    """MoveNet's heads at stride 4, plus stages for affinity fields, which the heads lack.

    Pictures (B, H, W, 3) in 0..255 -> Maps at stride 4; H, W multiples of `cell`. The heads
    heatmap, center, regress and offset know `published` joints (COCO's 17); `order` names for each
    of our joints its channel there, -1: none. The stages (`LightStages` on a `Pyramid` at stride
    8, as system E joins them) give heat maps and fields of all joints, upsampled to stride 4; their
    last heat map serves the joints that the heads don't know, of which regression is the mean of
    the `between` joints (the neck: both shoulders).
    Maps.heatmaps holds the stages' maps, then the heads': S + 1 in all; Maps.pafs the S stages'.
    stages = 0: the heads alone (`heads_alone`), as phones run them.
    """

    backbone: MobileNetV2FPN | MobileNetV2Short
    order: tuple[int, ...]
    between: tuple[int, int]
    limbs: int = 19
    published: int = 17
    stages: int = 2
    width: int = 64
    layers: int = 2
    pyramid: tuple[int, int, int, int] = (64, 96, 112, 96)
    reduction: int = 0
    dtype: Any = jnp.float32

    stride = 4

    @property
    def cell(self) -> int:
        """Pixels of the largest stride."""
        return max(self.backbone.strides)

    @property
    def in_order(self) -> bool:
        """Whether our joints are the heads' own: then nothing is picked, which costs exported
        networks a step for each joint."""
        return self.order == tuple(range(self.published))

    def setup(self) -> None:
        form, dtype = self.backbone.depthwise, self.dtype
        if self.stages:
            self.trunk = Pyramid(8, self.pyramid, self.reduction, True, dtype=dtype, name="pyramid")
            self.fields = LightStages(
                len(self.order), self.limbs, self.stages, self.width, self.layers, dtype=dtype,
                name="stages",
            )  # fmt: skip
        self.heatmap = Head(self.published, form, dtype)
        self.center = Head(1, form, dtype)
        self.regress = Head(2 * self.published, form, dtype)
        self.offset = Head(2 * self.published, form, dtype)

    def __call__(self, pixels: Array, train: bool = False) -> Maps:
        if not self.stages:
            return self.heads_alone(pixels)
        features = self.backbone(pixels, train)
        coarse = self.fields(self.trunk(features, train), train)
        stages = [upsample2(stage) for stage in coarse.heatmaps]
        maps = self.by_heads(features[4], jnp.clip(stages[-1], 0.0, 1.0))
        fields = jnp.stack([upsample2(stage) for stage in coarse.pafs])
        return maps._replace(heatmaps=jnp.stack([*stages, *maps.heatmaps]), pafs=fields)

    def heads_alone(self, pixels: Array) -> Maps:
        """The outputs of the heads, without the stages and their time: S = 1 heat map, no fields (L
        = 0), and nothing (0) in the channels that the heads don't know."""
        features = self.backbone(pixels, False)
        return self.by_heads(features[4], jnp.zeros((1, 1, 1, len(self.order))))

    def by_heads(self, features: Array, rest: Array) -> Maps:
        """Maps of the heads with S = 1 and no fields; `rest` (B, H, W, J) has the joints that the
        heads don't know."""
        known = nn.sigmoid(self.heatmap(features))
        if not self.in_order:
            joints = [
                known[..., c] if c >= 0 else jnp.broadcast_to(rest[..., j], known.shape[:-1])
                for j, c in enumerate(self.order)
            ]
            known = jnp.stack(joints, axis=-1)
        ground = 1.0 - jnp.max(known, axis=-1, keepdims=True)
        heat = jnp.concatenate([known, ground], axis=-1)[None]
        return Maps(
            heat,
            jnp.zeros((*heat.shape[:-1], 0)),
            nn.sigmoid(self.center(features)[..., 0]),
            self.of_joints(self.regress(features), fill=True),
            self.of_joints(self.offset(features), fill=False),
        )

    def of_joints(self, places: Array, *, fill: bool) -> Array:
        """(B, H, W, 2 x published), y before x from the corner of the cell, as (B, H, W, J, 2), x
        before y from its centre. Joints without a channel: the mean of `between`, or 0."""
        table = places.reshape(*places.shape[:-1], self.published, 2)[..., ::-1] - 0.5
        if self.in_order:
            return table
        middle = 0.5 * (table[..., self.between[0], :] + table[..., self.between[1], :])
        rest = middle if fill else jnp.zeros_like(middle)
        joints = [table[..., c, :] if c >= 0 else rest for c in self.order]
        return jnp.stack(joints, axis=-2)
