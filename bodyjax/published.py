"""Published backbone weights as variables of ours, by a documented map of names.

Convolutions (out, in / groups, h, w) become (h, w, in / groups, out); batch norms are split into
parameters (scale, bias) and statistics (mean, var).
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax.errors import CheckpointError

Tree = dict[str, Any]

# EfficientNet-lite0: name there -> name here, below `_blocks.N` and `blockN`.
LITE0_BLOCK = {
    "_expand_conv": "expand", "_bn0": "bn0", "_depthwise_conv": "depthwise", "_bn1": "bn1",
    "_project_conv": "project", "_bn2": "bn2",
}  # fmt: skip
LITE0_TOP = {"_conv_stem": "stem", "_bn0": "stem_bn"}


def read(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, float32; CheckpointError if it is missing or not one."""
    if not Path(path).is_file():
        raise CheckpointError("no such file of weights", file=path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name], np.float32) for name in file.files}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"not an .npz file of arrays ({error})", file=path) from None


def efficientnet_lite0(arrays: dict[str, np.ndarray]) -> tuple[Tree, Tree]:
    """(params, batch_stats) of models.backbone.EfficientNetLite0; its head (1280) is left out."""
    params: Tree = {}
    statistics: Tree = {}
    for name, value in arrays.items():
        *path, leaf = name.split(".")
        if path[0] == "_blocks":
            where = (f"block{path[1]}", LITE0_BLOCK[path[2]])
        elif path[0] in LITE0_TOP and len(path) == 1:
            where = (LITE0_TOP[path[0]],)
        else:
            continue
        put(params, statistics, where, leaf, value)
    return params, statistics


def put(
    params: Tree, statistics: Tree, where: tuple[str, ...], leaf: str, value: np.ndarray
) -> None:
    """Stores one array of a torch state dict under its place here."""
    norm = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    if value.ndim == 4:
        tree, name, value = params, "kernel", value.transpose(2, 3, 1, 0)
    elif leaf in norm:
        where = (*where, "norm")
        tree, name = (statistics if leaf.startswith("running") else params), norm[leaf]
    else:
        raise CheckpointError(f"what is {leaf!r} of {'/'.join(where)}?")
    for part in where:
        tree = tree.setdefault(part, {})
    tree[name] = np.ascontiguousarray(value)
