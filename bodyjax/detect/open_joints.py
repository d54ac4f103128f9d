"""What grouping left over: parts of a body that it broke off, and joints that it did not attach.

Shapes as in grouping.People: P slots of people, J joints; maps (H, W, J). `fill_reach`: how far
from a person's box to look for their joints, in sides of the box.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bodyjax import codec
from bodyjax.grouping import People

Array = jax.Array


def _box(people: People) -> tuple[Array, Array]:
    """Lowest and highest x and y of each person's joints, (P, 2) pixels."""
    there = (people.score > 0)[..., None]
    low = jnp.min(jnp.where(there, people.xy, 1e6), axis=1)
    return low, jnp.max(jnp.where(there, people.xy, -1e6), axis=1)


def _reach(low: Array, high: Array, stride: int, fill_reach: float) -> Array:
    """How far from a person's box to look for their missing joints, (P, 1) pixels."""
    return fill_reach * jnp.max(high - low, axis=-1, keepdims=True) + stride


def without_fragments(people: People, stride: int, fill_reach: float) -> People:
    """The people without those that seem to be part of a better one: no joint in common, and the
    middle within reach of the better one's box. Grouping breaks bodies where a field is weak; the
    joints freed here come back as the better person's guesses.
    """
    found = people.score > 0
    low, high = _box(people)
    reach, middle = _reach(low, high, stride, fill_reach), (low + high) / 2
    near = (middle[:, None] >= low - reach) & (middle[:, None] <= high + reach)
    apart = ~jnp.any(found[:, None] & found[None], axis=-1)
    there = people.person_score > 0
    better = jnp.arange(len(there))[None] < jnp.arange(len(there))[:, None]
    fragment = jnp.any(near.all(-1) & apart & better & there[None], axis=1)
    keep = there & ~fragment
    return People(
        people.xy,
        jnp.where(keep[:, None], people.score, 0.0),
        jnp.where(keep, people.person_score, 0.0),
        keep.sum(dtype=people.count.dtype),
        people.overflow,
    )


def guesses(
    heatmaps: Array, people: People, stride: int, fill_reach: float, fill_threshold: float
) -> tuple[Array, Array]:
    """For each person and joint the best place near the person that no found joint holds: xy
    (P, J, 2) pixels, score (P, J) = the map there, 0 below `fill_threshold` and in empty slots.

    A missing joint is certainly wrong in every measure; a guess is often right if grouping lacked
    only the field between two joints.
    """
    height, width, _ = heatmaps.shape
    columns = codec.cells_to_pixels(jnp.arange(width), stride)
    rows = codec.cells_to_pixels(jnp.arange(height), stride)
    found = people.score > 0
    # A found joint holds the cells within 1.5 cells of it on either axis.
    across = jnp.abs(columns[:, None] - people.xy[:, None, :, 0]) <= 1.5 * stride
    down = jnp.abs(rows[:, None] - people.xy[:, None, :, 1]) <= 1.5 * stride
    across, down = across & found[:, None], down & found[:, None]
    held = jnp.any(down[:, :, None] & across[:, None], axis=0)
    free = jnp.where(held, 0.0, heatmaps)
    low, high = _box(people)
    reach = _reach(low, high, stride, fill_reach)

    def nearness(places: Array, axis: int) -> Array:
        """1 within the person's box, outside a Gaussian of the distance: (P, places)."""
        before = low[:, axis, None] - places
        outside = jnp.maximum(jnp.maximum(before, places - high[:, axis, None]), 0.0)
        return jnp.exp(-0.5 * jnp.square(outside / reach))

    # Rows first, then within the best row: an argmax over whole maps is slow on CPUs.
    near_x = nearness(columns, 0)
    in_row = jnp.max(near_x[:, None, :, None] * free, axis=2)  # (P, H, J)
    y = jnp.argmax(nearness(rows, 1)[..., None] * in_row, axis=1)
    best = free[y, :, jnp.arange(free.shape[-1])]  # (P, J, W)
    x = jnp.argmax(near_x[:, None] * best, axis=-1)
    x, y, score = _top(free, x, y)
    step = jax.vmap(codec.STEPS["quarter"], in_axes=(None, 0, 0))(heatmaps, x, y)
    xy = codec.cells_to_pixels(jnp.stack([x, y], axis=-1) + step, stride)
    there = (score >= fill_threshold) & (people.person_score > 0)[:, None]
    return jnp.where(there[..., None], xy, 0.0), jnp.where(there, score, 0.0)


def _top(maps: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """The highest of the 3x3 cells around cells (P, J) of maps (H, W, J), and its value: the
    weights, which fall with distance, pull the choice off the peak."""
    height, width, joints = maps.shape
    near = jnp.array([(dx, dy) for dy in (0, -1, 1) for dx in (0, -1, 1)])
    columns = jnp.clip(x[..., None] + near[:, 0], 0, width - 1)
    rows = jnp.clip(y[..., None] + near[:, 1], 0, height - 1)
    values = maps[rows, columns, jnp.arange(joints)[:, None]]
    best = jnp.argmax(values, axis=-1, keepdims=True)
    x, y, value = (
        jnp.take_along_axis(part, best, axis=-1)[..., 0] for part in (columns, rows, values)
    )
    return x, y, value
