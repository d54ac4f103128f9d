"""Joints <-> heat maps and part affinity fields, on the device.

Every function is pure, takes any leading batch dimensions, and works under jit, vmap and grad.
Lengths (`xy`, `sigma`, `width`) are input pixels; `shape` is (H, W) of the map in cells. Maps are
channels-last: heat maps (..., H, W, J), fields (..., H, W, 2L) with x, then y per limb.
Half-precision and integer inputs are computed and returned in float32.

Sources: Cao et al. 2017, "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields"
(heat maps by maximum 3.1, fields 3.3); Zhang et al. 2020, "Distribution-Aware Coordinate
Representation" (DARK, 3.2); Huang et al. 2020, "The Devil is in the Details" (UDP).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bodyjax.errors import ConfigError

Refine = Literal["quarter", "dark", "udp"]

# DARK and UDP smooth the map before they differentiate it (DARK 3.2, "distribution modulation"):
# 11 cells wide, the sigma that OpenCV derives from that width.
_BLUR_CELLS = 11
_BLUR_SIGMA = 0.3 * ((_BLUR_CELLS - 1) / 2 - 1) + 0.8

# People drawn in one fused loop: fewer passes over the maps, yet no large program for a crowd.
_UNROLL = 4

_Sums = tuple[jax.Array, jax.Array, jax.Array]


def cells_to_pixels(cells: ArrayLike, stride: float) -> jax.Array:
    """Positions on a map, in cells, as input pixels: cell g stands for stride*g + (stride - 1)/2.

    Any shape; the same map for x and y. Inverse: `pixels_to_cells`.
    """
    return _float(cells) * stride + (stride - 1) / 2


def pixels_to_cells(xy: ArrayLike, stride: float) -> jax.Array:
    """Input pixels as positions on a map, in cells. Any shape; inverse of `cells_to_pixels`."""
    return (_float(xy) - (stride - 1) / 2) / stride


def heatmaps(
    xy: ArrayLike, visible: ArrayLike, shape: tuple[int, int], stride: float, sigma: float
) -> jax.Array:
    """A Gaussian around each joint, the maximum over the people (Cao et al. 2017, eq. 6 and 7).

    xy (..., P, J, 2) or (J, 2) for one person, input pixels; visible (..., P, J) or (J,), 0: absent
    (its xy may be anything, also NaN). Joints outside the picture still draw their tails. sigma:
    standard deviation in input pixels. Returns (..., H, W, J) in [0, 1], not cut off.
    """
    cells, present = _people(xy, visible, stride)
    scale = sigma / stride
    # exp(-(dx^2 + dy^2)) = exp(-dx^2) exp(-dy^2): H + W exponentials a joint in place of H*W.
    across = jnp.exp(-0.5 * jnp.square(_offsets(shape[1], cells[..., 0]) / scale))
    down = jnp.exp(-0.5 * jnp.square(_offsets(shape[0], cells[..., 1]) / scale))
    down = jnp.where(present[..., None, :], down, 0.0)

    def draw(maps: jax.Array, person: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        across, down = person
        return jnp.maximum(maps, down[..., :, None, :] * across[..., None, :, :]), None

    maps = jnp.zeros((*cells.shape[1:-2], *shape, cells.shape[-2]), cells.dtype)
    return jax.lax.scan(draw, maps, (across, down), unroll=_UNROLL)[0]


def background(heatmaps: ArrayLike) -> jax.Array:
    """1 - maximum over the joints: (..., H, W, J) -> (..., H, W, 1), the map of "no joint here"."""
    return 1.0 - jnp.max(_float(heatmaps), axis=-1, keepdims=True)


def pafs(
    xy: ArrayLike,
    visible: ArrayLike,
    limbs: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    stride: float,
    width: float,
) -> jax.Array:
    """Part affinity fields: on each limb the unit vector from its first joint to its second.

    xy (..., P, J, 2) or (J, 2), visible (..., P, J) or (J,), 0 = absent; limbs: L pairs of joints.
    A limb covers the cells at most `width` input pixels to either side of its line, from one cell
    before its first joint to one cell past its second. If several people cover a cell: the mean of
    their unit vectors (Cao et al. 2017, eq. 9). Limbs with an absent joint or of length 0 draw
    nothing. Returns (..., H, W, 2L), channels 2l and 2l + 1 = x and y of limb l.
    """
    cells, present = _people(xy, visible, stride)
    first, second = _limb_ends(limbs, cells.shape[-2])
    start, end = cells[..., first, :], cells[..., second, :]
    squared = jnp.sum(jnp.square(end - start), axis=-1)
    drawn = present[..., first] & present[..., second] & (squared > 0)
    length = jnp.sqrt(jnp.where(drawn, squared, 1.0))  # the inner where keeps gradients finite
    unit = (end - start) / length[..., None]
    middle = (start + end) / 2
    columns, rows = _offsets(shape[1], middle[..., 0]), _offsets(shape[0], middle[..., 1])
    reach = jnp.where(drawn, length / 2 + 1, -1.0)  # -1: no cell lies within

    def draw(sums: _Sums, person: tuple[jax.Array, ...]) -> tuple[_Sums, None]:
        unit, reach, columns, rows = person
        ux, uy, reach = (
            unit[..., None, None, :, 0],
            unit[..., None, None, :, 1],
            reach[..., None, None, :],
        )
        columns, rows = columns[..., None, :, :], rows[..., :, None, :]
        along, across = ux * columns + uy * rows, ux * rows - uy * columns
        covers = (jnp.abs(along) <= reach) & (jnp.abs(across) <= width / stride)
        x, y, count = sums
        return (x + covers * ux, y + covers * uy, count + covers), None

    zeros = jnp.zeros((*cells.shape[1:-2], *shape, len(first)), cells.dtype)
    lists = (unit, reach, columns, rows)
    x, y, count = jax.lax.scan(draw, (zeros, zeros, zeros), lists, unroll=_UNROLL)[0]
    field = jnp.stack((x, y), axis=-1) / jnp.maximum(count, 1.0)[..., None]
    return field.reshape(*field.shape[:-2], -1)


def decode(
    maps: ArrayLike, stride: float, refine: Refine | None = "dark"
) -> tuple[jax.Array, jax.Array]:
    """The highest point of each map: xy (..., J, 2) in input pixels, score (..., J) = its value.

    maps (..., H, W, J). refine = None: the cell; "quarter": a quarter of a cell towards the higher
    neighbour (Newell et al. 2016), at the edge along the axis whose neighbours exist; "dark":
    Newton step on the logarithm of the smoothed map, second differences over two cells (DARK 3.1),
    at the edge, where neighbours are missing, the cell itself; "udp": the same over one cell, the
    edge repeated (UDP 3.3). A map without a value above 0 holds no joint: its score is <= 0, and xy
    is the cell of its maximum, unrefined.
    """
    maps = _float(maps)
    height, width, _ = maps.shape[-3:]
    flat = jnp.moveaxis(maps, -1, -3).reshape(*maps.shape[:-3], maps.shape[-1], height * width)
    peak = jnp.argmax(flat, axis=-1)
    score = jnp.take_along_axis(flat, peak[..., None], axis=-1)[..., 0]
    x, y = peak % width, peak // width
    cells = jnp.stack((x, y), axis=-1).astype(maps.dtype)
    if refine is not None:
        if refine not in STEPS:
            raise ConfigError(f"unknown refine {refine!r}", hint=f"use one of {[*STEPS]} or None")
        cells = cells + jnp.where((score > 0)[..., None], STEPS[refine](maps, x, y), 0.0)
        # A map of noise may be all but flat, and its step unbounded: stay within a cell of the map.
        cells = jnp.clip(cells, -1.0, jnp.array([width, height], cells.dtype))
    return cells_to_pixels(cells, stride), score


def decode_near(
    maps: ArrayLike, stride: float, refine: Refine = "dark"
) -> tuple[jax.Array, jax.Array]:
    """`decode`, but with the cell itself if the refined position is more than a cell away.

    On a map without a single peak the published steps may lead far off; on one with a peak both
    functions agree.
    """
    cells, score = decode(maps, stride, None)
    xy, _ = decode(maps, stride, refine)
    return jnp.where(is_near((xy - cells) / stride), xy, cells), score


def expected(maps: ArrayLike, stride: float) -> jax.Array:
    """The mean place of each map under the softmax of its cells (soft-argmax), (..., J, 2) input
    pixels; differentiable everywhere. Source: Sun et al., "Integral human pose regression", ECCV
    2018."""
    maps = _float(maps)
    height, width, _ = maps.shape[-3:]
    share = jax.nn.softmax(maps.reshape(*maps.shape[:-3], height * width, -1), axis=-2)
    share = share.reshape(maps.shape)
    x = jnp.einsum("...hwj,w->...j", share, jnp.arange(width, dtype=maps.dtype))
    y = jnp.einsum("...hwj,h->...j", share, jnp.arange(height, dtype=maps.dtype))
    return cells_to_pixels(jnp.stack((x, y), axis=-1), stride)


def read(maps: ArrayLike, xy: ArrayLike, stride: float) -> jax.Array:
    """The value of each map at its own joint, bilinear: maps (..., H, W, J) and xy (..., J, 2)
    input pixels -> (..., J). Beyond the map its edge is repeated."""
    maps, cells = _float(maps), pixels_to_cells(xy, stride)
    height, width, _ = maps.shape[-3:]
    last = jnp.array([width - 1, height - 1], cells.dtype)
    cells = jnp.clip(cells, 0, last)
    low = jnp.clip(jnp.floor(cells), 0, jnp.maximum(last - 1, 0))
    part = cells - low
    x, y = (low[..., i].astype(jnp.int32) for i in (0, 1))
    flat = jnp.moveaxis(maps, -1, -3).reshape(*x.shape, height * width)
    total = jnp.zeros_like(part[..., 0])
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = jnp.minimum(x + dx, width - 1), jnp.minimum(y + dy, height - 1)
        value = jnp.take_along_axis(flat, (row * width + column)[..., None], axis=-1)[..., 0]
        across = part[..., 0] if dx else 1 - part[..., 0]
        down = part[..., 1] if dy else 1 - part[..., 1]
        total += across * down * value
    return total


def is_near(step: jax.Array) -> jax.Array:
    """Whether steps (..., 2) in cells stay within a cell on both axes: (..., 1)."""
    return jnp.all(jnp.abs(step) <= 1, axis=-1, keepdims=True)


def flip_heatmaps(maps: ArrayLike, mirror: Sequence[int]) -> jax.Array:
    """Maps (..., H, W, J) of the mirrored picture as maps of the picture; mirror: its joints."""
    return jnp.flip(jnp.asarray(maps), axis=-2)[..., np.asarray(mirror)]


def flip_pafs(
    pafs: ArrayLike, limbs: Sequence[tuple[int, int]], mirror: Sequence[int]
) -> jax.Array:
    """Fields (..., H, W, 2L) of the mirrored picture as fields of the picture.

    Each limb takes the field of its mirror image, which must be among `limbs`, in either direction.
    """
    pafs = jnp.asarray(pafs)
    pairs = [(int(a), int(b)) for a, b in limbs]
    source, sign = [], []
    for a, b in pairs:
        image = (int(mirror[a]), int(mirror[b]))
        forward = image in pairs
        if not forward and image[::-1] not in pairs:
            raise ConfigError(f"limb {(a, b)} has no mirror image {image} among the limbs")
        source.append(pairs.index(image if forward else image[::-1]))
        sign.append((-1, 1) if forward else (1, -1))
    field = jnp.flip(pafs, axis=-2).reshape(*pafs.shape[:-1], len(pairs), 2)
    field = field[..., np.array(source), :] * np.array(sign, pafs.dtype)
    return field.reshape(pafs.shape)


def _float(values: ArrayLike) -> jax.Array:
    """At least float32: 368 pixels or a squared distance have no room in half precision."""
    values = jnp.asarray(values)
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _people(xy: ArrayLike, visible: ArrayLike, stride: float) -> tuple[jax.Array, jax.Array]:
    """Joints in cells and whether they are there, people first: (P, ..., J, 2), (P, ..., J)."""
    xy, present = _float(xy), jnp.asarray(visible) > 0
    if xy.ndim == 2:
        xy, present = xy[None], present[None]
    if present.shape != xy.shape[:-1]:
        raise ConfigError(f"xy {xy.shape} and visible {present.shape} do not belong together")
    # Absent joints may hold NaN: a product with 0 would keep it, and so would a gradient.
    xy = jnp.where(present[..., None], xy, 0.0)
    return jnp.moveaxis(pixels_to_cells(xy, stride), -3, 0), jnp.moveaxis(present, -2, 0)


def _offsets(size: int, positions: jax.Array) -> jax.Array:
    """Distances from positions (..., J) to the `size` cells of one axis: (..., size, J)."""
    return jnp.arange(size, dtype=positions.dtype)[:, None] - positions[..., None, :]


def _limb_ends(limbs: Sequence[tuple[int, int]], joints: int) -> tuple[np.ndarray, np.ndarray]:
    """First and second joints of the limbs; jax would clamp a wrong index in silence."""
    pairs = np.asarray(limbs, int).reshape(-1, 2)
    if pairs.size and not (pairs.min() >= 0 and pairs.max() < joints):
        raise ConfigError(f"limbs name joints {pairs.min()} to {pairs.max()}, there are {joints}")
    return pairs[:, 0], pairs[:, 1]


def _around(maps: jax.Array, x: jax.Array, y: jax.Array, radius: int) -> jax.Array:
    """Values around cell x, y (..., J) of each map, edges repeated: (..., J, 2r + 1, 2r + 1)."""
    height, width, _ = maps.shape[-3:]
    step = jnp.arange(-radius, radius + 1)
    rows = jnp.clip(y[..., None] + step, 0, height - 1)
    columns = jnp.clip(x[..., None] + step, 0, width - 1)
    flat = jnp.moveaxis(maps, -1, -3).reshape(*x.shape, height * width)
    index = (rows[..., :, None] * width + columns[..., None, :]).reshape(*x.shape, -1)
    values = jnp.take_along_axis(flat, index, axis=-1)
    return values.reshape(*x.shape, 2 * radius + 1, 2 * radius + 1)


def _inside(maps: jax.Array, x: jax.Array, y: jax.Array, margin: int) -> jax.Array:
    """Whether cell x, y is at least `margin` cells from each edge, per axis: (..., J, 2)."""
    height, width, _ = maps.shape[-3:]
    return jnp.stack(
        ((x >= margin) & (x < width - margin), (y >= margin) & (y < height - margin)), axis=-1
    )


def _quarter_step(maps: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    near = _around(maps, x, y, 1)
    slope = jnp.stack(
        (near[..., 1, 2] - near[..., 1, 0], near[..., 2, 1] - near[..., 0, 1]), axis=-1
    )
    return jnp.where(_inside(maps, x, y, 1), 0.25 * jnp.sign(slope), 0.0)


def _dark_step(maps: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    near = jnp.log(jnp.maximum(_around(_blur(maps), x, y, 2), 1e-10))
    near_x, near_y = near[..., 2, :], near[..., :, 2]
    dx, dy = (0.5 * (n[..., 3] - n[..., 1]) for n in (near_x, near_y))
    dxx, dyy = (0.25 * (n[..., 4] - 2 * n[..., 2] + n[..., 0]) for n in (near_x, near_y))
    dxy = 0.25 * (near[..., 3, 3] - near[..., 1, 3] - near[..., 3, 1] + near[..., 1, 1])
    step = _newton(dx, dy, dxx, dyy, dxy)
    return jnp.where(_inside(maps, x, y, 2).all(axis=-1, keepdims=True), step, 0.0)


def _udp_step(maps: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    near = jnp.log(jnp.clip(_around(_blur(maps), x, y, 1), 1e-3, 50.0))
    centre, left, right = near[..., 1, 1], near[..., 1, 0], near[..., 1, 2]
    up, down = near[..., 0, 1], near[..., 2, 1]
    diagonal = near[..., 0, 0] + near[..., 2, 2]
    dxy = 0.5 * (diagonal - left - right - up - down + 2 * centre)
    return _newton(
        0.5 * (right - left),
        0.5 * (down - up),
        right - 2 * centre + left,
        down - 2 * centre + up,
        dxy,
    )


def _newton(
    dx: jax.Array, dy: jax.Array, dxx: jax.Array, dyy: jax.Array, dxy: jax.Array
) -> jax.Array:
    """- Hessian^-1 gradient, the step to the top of a paraboloid (..., 2); 0 on a flat one."""
    epsilon = float(jnp.finfo(jnp.float32).eps)
    dxx, dyy = dxx + epsilon, dyy + epsilon
    determinant = dxx * dyy - jnp.square(dxy)
    curved = jnp.abs(determinant) > 0
    step = jnp.stack((dyy * dx - dxy * dy, dxx * dy - dxy * dx), axis=-1)
    return jnp.where(curved[..., None], -step / jnp.where(curved, determinant, 1.0)[..., None], 0.0)


def _blur(maps: jax.Array) -> jax.Array:
    """Gaussian blur with zeros outside the map, each map scaled back to its old maximum.

    As two products with banded matrices: short on every platform, and a depthwise convolution is
    slow on XLA's CPU.
    """
    height, width, _ = maps.shape[-3:]
    blurred = jnp.einsum("yh,...hwj->...ywj", _band(height), maps, precision="highest")
    blurred = jnp.einsum("xw,...ywj->...yxj", _band(width), blurred, precision="highest")
    top, new_top = (jnp.max(m, axis=(-3, -2), keepdims=True) for m in (maps, blurred))
    return blurred * jnp.where(new_top > 0, top / jnp.where(new_top > 0, new_top, 1.0), 1.0)


def _band(size: int) -> np.ndarray:
    """The matrix that blurs one axis of `size` cells."""
    distance = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (distance / _BLUR_SIGMA) ** 2) * (abs(distance) <= _BLUR_CELLS // 2)
    taps = np.exp(-0.5 * ((np.arange(_BLUR_CELLS) - _BLUR_CELLS // 2) / _BLUR_SIGMA) ** 2)
    return (weights / taps.sum()).astype(np.float32)


STEPS = {"quarter": _quarter_step, "dark": _dark_step, "udp": _udp_step}
"""The refinements of `decode`: maps (..., H, W, J), x and y (..., J) cells -> steps (..., J, 2) in
cells."""
