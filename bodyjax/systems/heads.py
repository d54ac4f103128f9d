"""Losses of CenterNet-style heads: heat map, centre, regression, offsets.

Zhou et al., "Objects as Points", 2019, section 5 (human pose); MoveNet has the same heads. Labels
are drawn on the device from a batch's joints, with its masks (systems.pose).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bodyjax import codec, losses
from bodyjax.contract import Batch
from bodyjax.models.pose import Maps

Array = jax.Array

SIGMA = 5.6
"""Sigma of the peaks in input pixels: MoveNet's are 1.3 to 1.5 cells of 4 pixels wide."""
CENTER_SIGMA = 8.0
WEIGHTS = {"heatmap": 1.0, "center": 1.0, "regress": 0.1, "offset": 1.0}
"""Weights of the terms; Zhou et al. use 0.1 for sizes, which are in cells like the regression."""


def head_losses(maps: Maps, batch: Batch, known: tuple[bool, ...], stride: int) -> dict[str, Array]:
    """The weighted terms by name. known: the joints (J,) for which the heads have a channel."""
    assert maps.center is not None
    assert maps.regress is not None
    assert maps.offset is not None
    height, width = maps.center.shape[1:3]
    taught = jnp.array(known) & batch["joint_mask"][:, None]  # (B, 1, J)
    there = (batch["visible"] > 0) & taught  # (B, P, J)
    cells = codec.pixels_to_cells(jnp.where(there[..., None], batch["xy"], 0.0), stride)
    area = batch["area_mask"][..., None]

    heat = drawn(cells, there, (height, width), stride, SIGMA)
    joint_mask = area * (jnp.array(known) & batch["joint_mask"])[:, None, None]
    middle, counted = middles(cells, there)
    centers = drawn(middle[:, :, None], counted[..., None], (height, width), stride, CENTER_SIGMA)

    at_middle, inside = sampled(maps.regress, middle)  # (B, P, J, 2)
    towards = cells - jnp.round(middle)[:, :, None]
    holds = sampled(area, middle)[0]  # (B, P, 1)
    regress_mask = (holds * (there & (inside & counted)[..., None]))[..., None]
    joint_cells = jnp.round(cells)
    own, within = own_offsets(maps.offset, joint_cells)
    holds = sampled(area, joint_cells.reshape(len(cells), -1, 2))[0].reshape(there.shape)
    offset_mask = (holds * (there & within))[..., None]
    terms = {
        "heatmap": losses.focal(maps.heatmaps[-1][..., :-1], heat, joint_mask),
        "center": losses.focal(maps.center[..., None], centers, area),
        "regress": losses.masked_l1(at_middle, towards, regress_mask),
        "offset": losses.masked_l1(own, cells - joint_cells, offset_mask),
    }
    return {name: WEIGHTS[name] * term for name, term in terms.items()}


def taught_losses(
    maps: Maps, teacher: Maps, sure: Array | None = None
) -> dict[str, Array]:  # fmt: skip
    """The same terms against another network's heads (with the same joints and strides): cells and
    joints without a label learn from it, so that nothing is forgotten there.

    Heat maps and centres by `losses.soft_focal`, divided by the number of peaks like the label's;
    regression where the teacher sees a middle, offsets where it sees a joint. sure (B,): the
    weight of each picture, 1 by default; regression and offsets take it among each other alone.
    """
    teacher = jax.tree.map(jax.lax.stop_gradient, teacher)
    assert maps.center is not None
    assert maps.regress is not None
    assert maps.offset is not None
    assert teacher.center is not None
    assert teacher.regress is not None
    assert teacher.offset is not None
    if sure is None:
        sure = jnp.ones(teacher.center.shape[0])
    row = sure[:, None, None]
    known, heat = maps.heatmaps[-1][..., :-1], teacher.heatmaps[-1][..., :-1]
    at_middle = (row * teacher.center * (teacher.center > SEEN))[..., None, None]
    at_joint = (row[..., None] * heat * (heat > SEEN))[..., None]
    terms = {
        "heatmap": losses.soft_focal(known, heat, row[..., None]),
        "center": losses.soft_focal(maps.center, teacher.center, row),
        "regress": losses.masked_l1(maps.regress, teacher.regress, at_middle),
        "offset": losses.masked_l1(maps.offset, teacher.offset, at_joint),
    }
    return {name: WEIGHTS[name] * term for name, term in terms.items()}


SEEN = 0.1
"""A teacher's value below which it sees nothing to regress from."""


def middles(cells: Array, there: Array) -> tuple[Array, Array]:
    """The mean of a person's joints (B, P, 2), and whether it has three or more (B, P)."""
    count = there.sum(-1)
    total = jnp.where(there[..., None], cells, 0.0).sum(-2)
    return total / jnp.maximum(count, 1)[..., None], count >= 3


def drawn(cells: Array, there: Array, shape: tuple[int, int], stride: int, sigma: float) -> Array:
    """Gaussians around the nearest cells, exactly 1 there: (B, H, W, J)."""
    xy = codec.cells_to_pixels(jnp.round(cells), stride)
    return codec.heatmaps(xy, there, shape, stride, sigma)


def sampled(field: Array, places: Array) -> tuple[Array, Array]:
    """field (B, H, W, ...) in the cells nearest to places (B, P, 2): (B, P, ...), and whether these
    lie on the map."""
    height, width = field.shape[1:3]
    x, y = (jnp.round(places[..., axis]).astype(jnp.int32) for axis in (0, 1))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    rows, columns = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
    return jax.vmap(lambda f, r, c: f[r, c])(field, rows, columns), inside


def own_offsets(field: Array, places: Array) -> tuple[Array, Array]:
    """field (B, H, W, J, 2) of each joint in its own cell, places (B, P, J, 2): the same shape, and
    whether the cell lies on the map."""
    height, width, joints = field.shape[1:4]
    x, y = (places[..., axis].astype(jnp.int32) for axis in (0, 1))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    rows, columns = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
    joint = jnp.arange(joints)
    return jax.vmap(lambda f, r, c: f[r, c, joint])(field, rows, columns), inside
