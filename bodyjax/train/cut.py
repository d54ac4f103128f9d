"""Weights of a network for phones, cut out of MoveNet's: a start that has seen people.

Hidden channels of an inverted residual are kept by their norm: the root mean square of what a
channel holds on some pictures, times the norm of what the projection makes of it (after Molchanov
et al., "Pruning convolutional neural networks for resource efficient inference", ICLR 2017). The
projection is then fitted to what the whole block gave, by least squares (He et al., "Channel
pruning for accelerating very deep neural networks", ICCV 2017), block after block on what the
narrower network itself gives. The layer `deep`, which stands for the blocks left out, is fitted in
the same way to the pyramid's deepest level.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from bodyjax.models.backbones.layers import PointwiseConv
from bodyjax.models.backbones.mobilenet_v2_fpn import STRIDES, TAPS, FoldedResidual
from bodyjax.models.backbones.mobilenet_v2_short import expansions
from bodyjax.models.resize import upsample2

Array = jax.Array
Tree = dict[str, Any]

RIDGE = 1e-4
"""Of the mean square of the inputs: keeps weights of channels that hardly vary small."""


def short(params: Tree, shallow: int, deep: int, pixels: np.ndarray) -> Tree:
    """Parameters of `MobileNetV2Short` with these expansions from those of `MobileNetV2FPN`
    (multiplier 1.5).

    pixels (N, H, W, 3) in 0..255, H and W multiples of 32: some dozens of pictures like those that
    the network will see.
    """
    layout = expansions(shallow, deep)
    whole = narrow = stem(params["stem"], pixels)
    cut = {name: params[name] for name in params if name.startswith(("stem", "smooth"))}
    cut |= {f"lateral{stride}": params[f"lateral{stride}"] for stride in TAPS.values()}
    for i, expansion in enumerate(layout):
        block, stride = params[f"block{i}"], STRIDES[i]
        after, hidden = residual(block, whole, stride)
        if i:  # the first block has no expansion
            block = _narrowed(block, hidden, after, narrow, stride, expansion)
        whole, narrow = after, residual(block, narrow, stride)[0]
        cut[f"block{i}"] = block
    for i in range(len(layout), len(STRIDES)):
        whole, _ = residual(params[f"block{i}"], whole, STRIDES[i])
    deepest = pointwise(params["lateral32"], nn.relu6(pointwise(params["head"], whole)))
    cut["deep"] = _fitted(narrow, deepest if deep else upsample2(deepest))
    return jax.tree.map(np.asarray, cut)


@jax.jit
def stem(params: Tree, pixels: Array) -> Array:
    """What the first block reads."""
    conv = nn.Conv(params["bias"].shape[0], (3, 3), (2, 2), padding="SAME")
    x: Any = conv.apply({"params": params}, jnp.asarray(pixels, jnp.float32) / 127.5 - 1.0)
    return nn.relu6(x)


@jax.jit
def pointwise(params: Tree, x: Array) -> Array:
    """A 1x1 convolution."""
    y: Any = PointwiseConv(params["bias"].shape[0]).apply({"params": params}, x)
    return y


@partial(jax.jit, static_argnums=2)
def residual(params: Tree, x: Array, stride: int) -> tuple[Array, Array]:
    """What an inverted residual gives, and what its projection reads."""
    module = FoldedResidual(
        params["project"]["bias"].shape[0], stride, "expand" in params, "shifted", jnp.float32,
        expansion=params["depthwise"]["bias"].shape[0] // x.shape[-1],
    )  # fmt: skip
    y, kept = module.apply(
        {"params": params}, x, mutable=["intermediates"],
        capture_intermediates=lambda layer, method: layer.name == "depthwise",
    )  # fmt: skip
    (hidden,) = kept["intermediates"]["depthwise"]["__call__"]
    return y, nn.relu6(hidden)


def _narrowed(
    block: Tree, hidden: Array, aim: Array, x: Array, stride: int, expansion: int
) -> Tree:
    """A published residual, which gave `aim` from these `hidden` channels, with `expansion` of them
    for each channel of x, that the narrow network puts in."""
    size = np.sqrt(np.asarray(jnp.mean(jnp.square(hidden), axis=(0, 1, 2))))
    leads = np.linalg.norm(np.asarray(block["project"]["kernel"])[0, 0], axis=1)
    count = expansion * x.shape[-1]
    kept = np.sort(np.argsort(-size * leads, kind="stable")[:count])
    new = {
        layer: {name: np.asarray(part)[..., kept] for name, part in block[layer].items()}
        for layer in ("expand", "depthwise")
    }
    if aim.shape == x.shape:  # the shortcut carries what the narrow network gave so far
        aim = aim - x
    unfitted = {"kernel": np.asarray(block["project"]["kernel"])[:, :, kept],
                "bias": block["project"]["bias"]}  # fmt: skip
    _, reads = residual({**new, "project": unfitted}, x, stride)
    return {**new, "project": _fitted(reads, aim)}


def _fitted(inputs: Array, aims: Array) -> Tree:
    """The 1x1 convolution from inputs (N, H, W, C) to aims (N, H, W, D) with the least squares."""
    x, y = (np.asarray(a, np.float64).reshape(-1, a.shape[-1]) for a in (inputs, aims))
    middle, aim = x.mean(0), y.mean(0)
    square = (x - middle).T @ (x - middle)
    square[np.diag_indices_from(square)] += RIDGE * len(x) * np.mean(np.square(x - middle))
    kernel = np.linalg.solve(square, (x - middle).T @ (y - aim))
    bias = aim - middle @ kernel
    return {"kernel": kernel[None, None].astype(np.float32), "bias": bias.astype(np.float32)}
