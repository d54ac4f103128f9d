"""Published backbone weights as variables of ours, by a documented map of names.

The weights are an .npz of the arrays of a torch state dict, under the names they have there.
Convolutions (out, in / groups, h, w) become (h, w, in / groups, out), matrices (out, in) become
(in, out), batch norms are split into parameters (scale, bias) and statistics (mean, var).

| there | here, below params/backbone (statistics: batch_stats/backbone) |
|---|---|
| VGG19 of torchvision: features.0, 2, 5, 7, 10, 12, 14, 16, 19, 21 | conv1_1, 1_2, 2_1, ... 4_2 |
| ResNet of torchvision: conv1, bn1 | conv1, bn1 |
| layerG.N.conv1, bn1, conv2, bn2, conv3, bn3 (G = 1, 2, 3) | layerG_N/conv1, bn1, ... |
| layerG.N.downsample.0, downsample.1 | layerG_N/shortcut, shortcut_bn |
| layerG.N.se.fc.0, se.fc.2 (SE-ResNet, moskomule/senet.pytorch) | layerG_N/se/squeeze, se/excite |
| EfficientNet-lite0: _conv_stem, _bn0 | stem, stem_bn |
| _blocks.N._expand_conv, _bn0, _depthwise_conv, _bn1, _project_conv, _bn2 | blockN/expand, ... |
| MoveNet (norms folded, already in our layout): backbone/X, fpn/X | X |
| heatmap/X, center/X, regress/X, offset/X | the same, beside params/backbone |

Left out: what lies behind the features that are used (VGG19 from conv4_3 on, ResNet's layer4, the
classifiers, EfficientNet's head, MoveNet's boxes) and batch norm's counts of batches. Any other
name is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax.errors import CheckpointError

Tree = dict[str, Any]
Weights = Mapping[str, np.ndarray]

VGG19 = {
    0: "conv1_1", 2: "conv1_2", 5: "conv2_1", 7: "conv2_2", 10: "conv3_1", 12: "conv3_2",
    14: "conv3_3", 16: "conv3_4", 19: "conv4_1", 21: "conv4_2",
}  # fmt: skip
RESNET_TOP = {"conv1": "conv1", "bn1": "bn1"}
RESNET_BLOCK = {
    "conv1": "conv1", "bn1": "bn1", "conv2": "conv2", "bn2": "bn2", "conv3": "conv3", "bn3": "bn3",
    "downsample.0": "shortcut", "downsample.1": "shortcut_bn",
    "se.fc.0": "se/squeeze", "se.fc.2": "se/excite",
}  # fmt: skip
LITE0_BLOCK = {
    "_expand_conv": "expand", "_bn0": "bn0", "_depthwise_conv": "depthwise", "_bn1": "bn1",
    "_project_conv": "project", "_bn2": "bn2",
}  # fmt: skip
LITE0_TOP = {"_conv_stem": "stem", "_bn0": "stem_bn"}

NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def read(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, float32; CheckpointError if it is missing or not one."""
    if not Path(path).is_file():
        raise CheckpointError("no such file of weights", file=path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name], np.float32) for name in file.files}
    except Exception as error:  # zip, zlib and NumPy each have their own
        raise CheckpointError(f"not an .npz file of arrays ({error})", file=path) from None


def vgg19(arrays: Weights) -> tuple[Tree, Tree]:
    """(params, batch_stats) of models.backbone.VGG19 from torchvision's vgg19."""

    def place(layer: str) -> str | None:
        kind, _, number = layer.partition(".")
        if kind == "classifier" or (kind == "features" and int(number) > max(VGG19)):
            return None
        return VGG19[int(number)] if kind == "features" else _unknown(layer)

    return _moved(arrays, place)


def resnet(arrays: Weights) -> tuple[Tree, Tree]:
    """(params, batch_stats) of models.backbone.SEResNet from torchvision's resnet50 or resnet101,
    or an SE-ResNet of the same layout. Plain ResNets say nothing about squeeze and excitation."""

    block = r"layer([123])\.(\d+)\.(.+)"
    place = _of_blocks(RESNET_TOP, block, RESNET_BLOCK, r"layer\1_\2", r"fc|layer4\..*")
    return _moved(arrays, place)


def efficientnet_lite0(arrays: Weights) -> tuple[Tree, Tree]:
    """(params, batch_stats) of models.backbone.EfficientNetLite0."""

    block = r"_blocks\.(\d+)\.(\w+)"
    place = _of_blocks(LITE0_TOP, block, LITE0_BLOCK, r"block\1", "_conv_head|_bn1|_fc")
    return _moved(arrays, place)


HEADS = ("heatmap", "center", "regress", "offset")
"""Of MoveNet; its box_scale and box_offset are not used."""


def movenet(arrays: Weights) -> tuple[Tree, Tree]:
    """(params, {}) of models.mobilenet.MobileNetV2FPN and of the heads of models.pose.CenterPose,
    these under their names beside the backbone's."""
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
            _unknown(name)
        if where[-1] not in ("kernel", "bias"):
            _unknown(name)
        tree = params
        for step in where[:-1]:
            tree = tree.setdefault(step, {})
            if not isinstance(tree, dict):
                _unknown(name)
        tree[where[-1]] = value
    return params, {}


def network(arrays: Weights) -> tuple[Tree, Tree, Tree]:
    """(params, batch_stats of the backbone, params of the heads by name) of the published network
    whose names these are; CheckpointError if none's."""
    first = {"features.0.weight": vgg19, "layer1.0.conv1.weight": resnet}
    first |= {"_conv_stem.weight": efficientnet_lite0, "backbone/stem/kernel": movenet}
    for name, build in first.items():
        if name in arrays:
            params, statistics = build(arrays)
            heads = {head: params.pop(head) for head in HEADS if head in params}
            return params, statistics, heads
    raise CheckpointError(
        "not the weights of a backbone that is known", hint=f"one has {', '.join(first)}"
    )


def _unknown(layer: str) -> str:
    raise CheckpointError(f"no place is known for {layer!r}", hint="see bodyjax/published.py")


def _of_blocks(
    top: Mapping[str, str], block: str, inside: Mapping[str, str], where: str, behind: str
) -> Callable[[str], str | None]:
    """The `place` of a network of blocks, for `_moved`.

    top: names of the layers outside of blocks; block: pattern of a block's layer, whose last group
    is a name of `inside` and whose others `where` takes up; behind: pattern of what is left out.
    """

    def place(layer: str) -> str | None:
        if layer in top:
            return top[layer]
        if re.fullmatch(behind, layer):
            return None
        found = re.fullmatch(block, layer)
        name = inside.get(found.groups()[-1]) if found else None
        return f"{found.expand(where)}/{name}" if found and name else _unknown(layer)

    return place


def _moved(arrays: Weights, place: Callable[[str], str | None]) -> tuple[Tree, Tree]:
    """Every array under its place here; `place` gives None for layers that are left out."""
    params: Tree = {}
    statistics: Tree = {}
    norms = {name.rpartition(".")[0] for name in arrays if name.endswith(".running_mean")}
    for name, value in arrays.items():
        layer, _, leaf = name.rpartition(".")
        path = place(layer)
        if path is None or leaf == "num_batches_tracked":
            continue
        where, tree = path.split("/"), params
        if layer in norms:
            where.append("norm")
            tree = statistics if leaf.startswith("running") else params
            leaf = NORM.get(leaf, "")
        elif leaf == "weight" and value.ndim in (2, 4):
            leaf = "kernel"
            value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        elif leaf != "bias":
            leaf = ""
        if not leaf:
            raise CheckpointError(f"no place is known for {name!r} of shape {value.shape}")
        for part in where:
            tree = tree.setdefault(part, {})
        tree[leaf] = np.ascontiguousarray(value)
    return params, statistics
