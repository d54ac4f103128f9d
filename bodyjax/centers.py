"""People by their centres: what regression knows about which person a joint belongs to.

Networks with heads of CenterNet's form (Zhou et al., "Objects as Points", 2019, section 5) give,
beside heat maps, the places that are the middle of a person and from there a guess at each joint.
The guess is coarse, and the fields are exact but break where bodies are cut, hidden or in pieces:
`grouping.group_centers` takes both as evidence. All lengths here are in cells of the map.

J joints, L limbs, C centres, K peaks a joint.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array

WINDOW = 5
"""Cells on a side in which a centre must be the highest (MoveNet takes 5)."""


class Centers(NamedTuple):
    """Middles of people, best first: score (C,), 0 = none; pose (C, J, 2) the regressed joints in
    cells; side (C,) the longer side of their box, at least 2 cells; overflow: more than C."""

    score: Array
    pose: Array
    side: Array
    overflow: Array


def find_centers(center: Array, regress: Array, count: int, threshold: float) -> Centers:
    """The `count` highest local maxima of center (H, W) above `threshold`, with their poses from
    regress (H, W, J, 2)."""
    height, width = center.shape
    pad = WINDOW // 2
    padded = jnp.pad(center, pad, constant_values=-jnp.inf)
    rows = jnp.stack([padded[:, d : d + width] for d in range(WINDOW)]).max(0)
    highest = jnp.stack([rows[d : d + height] for d in range(WINDOW)]).max(0)
    found = jnp.where((center >= highest) & (center > threshold), center, 0.0).reshape(-1)
    score, index = lax.top_k(found, min(count, found.size))
    y, x = index // width, index % width
    pose = jnp.stack([x, y], axis=-1).astype(jnp.float32)[:, None] + regress[y, x]
    box = pose.max(1) - pose.min(1)
    missing = count - len(score)
    score, pose = jnp.pad(score, (0, missing)), jnp.pad(pose, ((0, missing), (0, 0), (0, 0)))
    side = jnp.maximum(jnp.pad(box.max(-1), (0, missing)), 2.0)
    return Centers(score, pose, side, jnp.maximum(jnp.sum(found > 0) - count, 0))


def agreement(centers: Centers, cells: Array, score: Array, reach: float) -> Array:
    """How well each peak fits each centre's regressed joint: (J, C, K) in 0..1.

    cells (J, K, 2), score (J, K), 0 = no peak. A Gaussian of the distance with a sigma of `reach`
    times the person's side, 0 beyond three sigmas and where there is no centre or no peak.
    """
    apart = jnp.sum(jnp.square(centers.pose.swapaxes(0, 1)[:, :, None] - cells[:, None]), axis=-1)
    squared = apart / jnp.square(reach * centers.side)[None, :, None]
    there = (score > 0)[:, None] & (centers.score > 0)[None, :, None]
    return jnp.where(there & (squared < 9.0), jnp.exp(-0.5 * squared), 0.0)


def supported(fit: Array, affinity: Array, limbs: np.ndarray, trust: float) -> Array:
    """`fit` (J, C, K) with what the fields add: a peak fits a centre also as far as a field leads
    from it to a neighbouring joint's peak that does.

    affinity (L, K, K) of limbs' peaks (grouping.pair_affinity), in 0..1. Returns
    (1 - trust) * fit + trust * the best product over limbs and neighbours.
    """
    link = jnp.clip(affinity, 0.0, 1.0)
    first, second = limbs[:, 0], limbs[:, 1]
    # (L, C, K): the best neighbour at the other end, for the first and the second joint's peaks.
    of_first = jnp.max(fit[second][:, :, None, :] * link[:, None], axis=-1)
    of_second = jnp.max(fit[first][:, :, :, None] * link[:, None], axis=-2)
    best = jnp.zeros_like(fit)
    best = best.at[first].max(of_first).at[second].max(of_second)
    return (1 - trust) * fit + trust * best


def places(heatmaps: Array, pose: Array, side: Array, reach: float) -> tuple[Array, Array, Array]:
    """For each person and joint the cell where the map, weighted with a Gaussian around the
    regressed place, is highest: x, y (P, J) and the map's value there (MoveNet's own decoding).

    heatmaps (H, W, J), pose (P, J, 2), side (P,); sigma: `reach` x side.
    """
    height, width, _ = heatmaps.shape
    sigma = (reach * side)[:, None, None]
    across = jnp.exp(-0.5 * jnp.square((jnp.arange(width) - pose[..., :1]) / sigma))  # (P, J, W)
    down = jnp.exp(-0.5 * jnp.square((jnp.arange(height) - pose[..., 1:]) / sigma))

    def best(across: Array, down: Array) -> tuple[Array, Array]:
        """Rows first, then within the best row: an argmax over whole maps is slow on CPUs."""
        in_row = jnp.max(across.T[None] * heatmaps, axis=1)  # (H, J)
        y = jnp.argmax(down.T * in_row, axis=0)
        row = heatmaps[y, :, jnp.arange(heatmaps.shape[-1])]  # (J, W)
        return jnp.argmax(across * row, axis=-1), y

    x, y = lax.map(lambda pair: best(*pair), (across, down))
    return x, y, heatmaps[y, x, jnp.arange(heatmaps.shape[-1])]
