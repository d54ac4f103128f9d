"""Hints of a teacher: the features of a student's backbone, through a 1x1 convolution, should be
the teacher's at the same stride.

Romero et al., "FitNets: Hints for thin deep nets", ICLR 2015, section 2.2. The maps of a detector
are empty nearly everywhere, its features are not: a hint says something in every cell, labelled or
not. The convolutions start as the identity, so a student cut out of its teacher (train.cut) starts
from what it has. They are no part of the network: `systems.teaching.of_network` leaves them out.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from bodyjax.contract import Variables

Array = jax.Array
Features = dict[int, Any]
"""By stride: (B, h, w, C) of a backbone."""

PART = "hints"
"""Of the parameters."""
EPSILON = 1e-6


def shapes(network: Any, pixels: Any) -> Features:
    """The shapes of what the backbone of a network gives for pixels (B, H, W, 3)."""
    key = jax.random.key(0)
    found: Any = jax.eval_shape(network.backbone.init_with_output, key, pixels)[0]
    return dict(found)


def init(student: Features, teacher: Features) -> dict[str, Any]:
    """The convolutions by stride, for features or shapes of both: at each stride that both have,
    from the student's channels to as many of the teacher's first ones (a pyramid's come before the
    taps that it was made of)."""
    found = {}
    for stride in sorted(student.keys() & teacher.keys()):
        ours = student[stride].shape[-1]
        theirs = min(ours, teacher[stride].shape[-1])
        found[str(stride)] = {"kernel": jnp.eye(ours, theirs), "bias": jnp.zeros(theirs)}
    return found


def loss(
    params: dict[str, Any], student: Features, teacher: Features, sure: Array | float = 1.0
) -> Array:
    """The mean over cells and channels of the squared distances, each channel in units of the
    variance that the teacher's has in this batch; the sum over strides. sure (B,): the weight of
    each picture. No gradient flows into the teacher."""
    total = jnp.float32(0)
    for stride, conv in params.items():
        aim = teacher[int(stride)][..., : conv["bias"].shape[0]]
        aim = jax.lax.stop_gradient(aim.astype(jnp.float32))
        ours = student[int(stride)].astype(jnp.float32) @ conv["kernel"] + conv["bias"]
        spread = aim.var(axis=(0, 1, 2)) + EPSILON
        each = jnp.mean(jnp.square(ours - aim) / spread, axis=(1, 2, 3))
        total = total + jnp.mean(sure * each)
    return total


def with_features(network: Any, variables: Variables, image: Array, **how: Any) -> Any:
    """What `network.apply(variables, image, **how)` gives, as (outputs, other collections), and the
    features of its backbone."""
    mutable = [*how.pop("mutable", ()), "intermediates"]

    def of_backbone(module: Any, method: str) -> bool:
        return module.name == "backbone" and method == "__call__"

    maps, rest = network.apply(
        variables, image, mutable=mutable, capture_intermediates=of_backbone, **how
    )
    kept = dict(rest)
    (features,) = kept.pop("intermediates")["backbone"]["__call__"]
    return maps, kept, features
