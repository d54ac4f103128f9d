"""Agreement of a student with itself on neighbouring frames of clips without labels.

Two frames that follow each other show nearly the same, so their heat maps should, too; no label is
needed for that (consistency under perturbations: Sajjadi et al., NeurIPS 2016, section 3, with the
next frame in place of a random change). A student that says nothing agrees with itself best, so
this is a term beside a teacher's, never alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from bodyjax.contract import Batch, Variables
from bodyjax.models.pose import Maps

Array = jax.Array

SHARE = 4
"""One row in so many of a batch is compared, those that have a neighbour first: each costs the
student another look."""


def compared(known: Array) -> Array:
    """The rows (K,) of a batch to compare, K = B / `SHARE`, at least 1; known (B,): which rows have
    a neighbour."""
    count = max(1, known.shape[0] // SHARE)
    rows: Array = jax.lax.top_k(known.astype(jnp.float32), count)[1]
    return rows


def of_frames(network: Any, variables: Variables, batch: Batch, maps: Maps) -> Array:
    """`loss` of the last heat maps of some rows, `maps` as the network gave them in training, and
    those of their neighbours, which it looks at now."""
    known = batch["neighbour_known"]
    rows = compared(known)
    others, _ = network.apply(
        variables, batch["neighbour"][rows], train=True, mutable=["batch_stats"]
    )
    one, other = (stages.heatmaps[-1][..., :-1] for stages in (maps, others))
    return loss(one[rows], other, known[rows].astype(jnp.float32))


def loss(one: Array, other: Array, known: Array) -> Array:
    """The squared distance of two heat maps (K, h, w, J) over cells and joints, relative to the
    mean of their squared sizes, at least 1; the mean over the rows that are known (K,), 0 if there
    are none. Gradients flow into both maps, none into the size."""
    apart = jnp.sum(jnp.square(one - other), axis=(1, 2, 3))
    size = 0.5 * jnp.sum(jnp.square(one) + jnp.square(other), axis=(1, 2, 3))
    each = apart / jnp.maximum(jax.lax.stop_gradient(size), 1.0)
    return jnp.sum(each * known) / jnp.maximum(jnp.sum(known), 1.0)
