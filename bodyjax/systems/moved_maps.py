"""Stored maps of a teacher in the student's picture: changed on the device like the picture.

A teacher saw each picture once, on its own canvas. The student sees it turned, scaled, moved and
perhaps mirrored; the maps follow by the same 2x3 matrix, from the canvas' pixels to the student's.
People have the teacher's peaks at the scale of its canvas: in a picture twice as large they are
twice as wide.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bodyjax import codec
from bodyjax.skeleton import Skeleton

Array = jax.Array


class MapForm(NamedTuple):
    """Pixels per cell of stored maps, and the side of their canvas in pixels."""

    stride: int
    side: int


class Moved(NamedTuple):
    """Maps in the student's cells: heatmaps (B, H, W, J), pafs (B, H, W, 2L), and seen (B, H, W, 1)
    bool, the cells that lie in the teacher's canvas; elsewhere the teacher says nothing."""

    heatmaps: Array
    pafs: Array
    seen: Array


def moved(
    maps: Array, matrix: Array, bones: Skeleton, form: MapForm, shape: tuple[int, int], stride: int
) -> Moved:
    """Maps (B, h, w, J + 2L) of canvases, heat maps and fields of `bones`, in pictures of (H, W)
    `shape` cells of `stride` pixels. matrix (B, 2, 3): from a canvas' pixels to the picture's; a
    turn, a scale, a shift and perhaps a mirror image, which swaps left and right joints.

    Values between cells are interpolated linearly in both directions. Fields turn with the picture
    and keep their length.
    """
    matrix = jnp.asarray(matrix, jnp.float32)
    maps, matrix = unmirrored(jnp.asarray(maps), matrix, bones, form.side)
    turn = matrix[:, :, :2]
    scale = jnp.sqrt(determinant(turn))[:, None, None]
    rows, columns = (codec.cells_to_pixels(jnp.arange(n), stride) for n in shape)
    places = jnp.stack(jnp.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    # The inverse of scale x rotation is its transpose over the square of the scale.
    back = jnp.swapaxes(turn, 1, 2) / jnp.square(scale)
    source = jnp.einsum("bij,bnj->bni", back, places - matrix[:, None, :, 2])
    cells = codec.pixels_to_cells(source, form.stride)
    last = jnp.array([maps.shape[2], maps.shape[1]]) - 0.5
    seen = ((cells >= -0.5) & (cells <= last)).all(-1)
    values = jax.vmap(between)(maps, cells).reshape(len(maps), *shape, -1)
    joints = len(bones.joints)
    fields = values[..., joints:].reshape(*values.shape[:3], -1, 2)
    fields = jnp.einsum("bij,bhwlj->bhwli", turn / scale, fields)
    return Moved(
        values[..., :joints],
        fields.reshape(*values.shape[:3], -1),
        seen.reshape(len(maps), *shape, 1),
    )


def unmirrored(
    maps: Array, matrix: Array, bones: Skeleton, side: int
) -> tuple[Array, Array]:  # fmt: skip
    """The same, with canvases mirrored if the matrix mirrors; afterwards no matrix mirrors."""
    joints = len(bones.joints)
    flipped = [
        codec.flip_heatmaps(maps[..., :joints], bones.mirror),
        codec.flip_pafs(maps[..., joints:], bones.limbs, bones.mirror),
    ]
    first, second, shift = matrix[..., 0], matrix[..., 1], matrix[..., 2]
    after = jnp.stack([-first, second, shift + (side - 1) * first], axis=-1)
    mirrors = determinant(matrix[:, :, :2]) < 0
    return (
        jnp.where(mirrors[:, None, None, None], jnp.concatenate(flipped, axis=-1), maps),
        jnp.where(mirrors[:, None, None], after, matrix),
    )


def determinant(turn: Array) -> Array:
    """The determinants of matrices (B, 2, 2)."""
    return turn[:, 0, 0] * turn[:, 1, 1] - turn[:, 0, 1] * turn[:, 1, 0]


def between(maps: Array, places: Array) -> Array:
    """Values of maps (h, w, C) at places (N, 2), x and y in cells: (N, C) float32. Beyond the first
    and the last cell the nearest one counts."""
    height, width, channels = maps.shape
    flat = maps.reshape(-1, channels)
    inside = jnp.clip(places, 0, jnp.array([width - 1, height - 1]))
    low = jnp.clip(jnp.floor(inside), 0, jnp.array([max(width - 2, 0), max(height - 2, 0)]))
    share = inside - low
    column, row = low.astype(jnp.int32).T
    across, down = min(1, width - 1), min(1, height - 1) * width
    total = jnp.zeros((len(places), channels), jnp.float32)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        weight = jnp.where(jnp.array([dx, dy]) == 1, share, 1 - share).prod(-1)
        cell = row * width + column + dx * across + dy * down
        total = total + weight[:, None] * flat[cell].astype(jnp.float32)
    return total
