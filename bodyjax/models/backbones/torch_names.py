"""Arrays of a torch state dict, under the names they have there, as variables of ours.

Convolutions (out, in / groups, h, w) become (h, w, in / groups, out), matrices (out, in) become
(in, out), batch norms are split into parameters (scale, bias) and statistics (mean, var). Batch
norm's counts of batches are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from bodyjax.errors import CheckpointError
from bodyjax.models.backbones import Arrays, Tree, Weights, unknown

NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def of_blocks(
    top: Mapping[str, str], block: str, inside: Mapping[str, str], where: str, behind: str
) -> Callable[[str], str | None]:
    """The `place` of a network of blocks, for `moved`.

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
        return f"{found.expand(where)}/{name}" if found and name else unknown(layer)

    return place


def moved(arrays: Arrays, place: Callable[[str], str | None]) -> Weights:
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
    return Weights(params, statistics, {})
