"""Pinhole cameras on the device: pixels to rays, a view that looks straight at a person, and back.

A camera is (..., 4): focal lengths x and y, principal point x and y, in pixels whose centres are
whole numbers. Its axes are x right, y down, z forward. Every function takes any leading dimensions
and works under jit, vmap and grad.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Array = jax.Array

FIELD_OF_VIEW = 50.0
"""Degrees across the longer side of a picture whose camera is not known: a phone's main lens has
60 to 70, a portrait lens 25 to 35."""


class View(NamedTuple):
    """A person as an ideal camera sees them that looks straight at their joints.

    xy (..., J, 2): joints on the plane z = 1, relative to their weighted mean, divided by `size`;
    size (...,): root mean square distance from that mean, a measure of the angle that the person
    takes up; turn (..., 3, 3): rows are the ideal camera's axes in those of the real one.
    """

    xy: Array
    size: Array
    turn: Array


def assumed(size: tuple[int, int], field_of_view: float = FIELD_OF_VIEW) -> np.ndarray:
    """The camera (4,) of a picture of (height, width) `size`, if nothing is known about it: square
    pixels, the principal point in the middle, `field_of_view` degrees across the longer side."""
    height, width = size
    focal = max(size) / 2 / math.tan(math.radians(field_of_view) / 2)
    return np.array([focal, focal, (width - 1) / 2, (height - 1) / 2], np.float32)


def plane(xy: ArrayLike, camera: ArrayLike) -> Array:
    """Pixels (..., J, 2) of a camera (..., 4) as places on the plane z = 1."""
    xy, camera = jnp.asarray(xy, jnp.float32), jnp.asarray(camera, jnp.float32)
    return (xy - camera[..., None, 2:]) / camera[..., None, :2]


def project(xyz: ArrayLike, camera: ArrayLike) -> Array:
    """Joints (..., J, 3) in front of a camera (..., 4) in its pixels, (..., J, 2). What lies behind
    the camera gets a pixel far outside the picture."""
    xyz, camera = jnp.asarray(xyz, jnp.float32), jnp.asarray(camera, jnp.float32)
    depth = jnp.maximum(xyz[..., 2:], 1e-3)
    return xyz[..., :2] / depth * camera[..., None, :2] + camera[..., None, 2:]


def straight(xy: ArrayLike, weight: ArrayLike, camera: ArrayLike) -> View:
    """The person with joints xy (..., J, 2), in pixels of a camera (..., 4), seen straight on.

    weight (..., J): how much each joint counts in middle and size; joints of weight 0 may hold
    anything. Without any joint the view is empty: xy 0, size 1, the real camera's axes.
    """
    weight = jnp.maximum(jnp.asarray(weight, jnp.float32), 0.0)
    there = (weight > 0)[..., None]
    total = jnp.sum(weight, axis=-1, keepdims=True)
    share = (weight / jnp.where(total > 0, total, 1.0))[..., None]
    places = plane(jnp.where(there, jnp.asarray(xy, jnp.float32), 0.0), camera)
    places = jnp.where(there, places, 0.0)
    turn = towards(jnp.sum(share * places, axis=-2))
    rays = jnp.concatenate([places, jnp.ones_like(places[..., :1])], axis=-1)
    seen = jnp.sum(turn[..., None, :, :] * rays[..., None, :], axis=-1)
    # A joint beside or behind the ideal camera would have no place on its plane.
    seen = seen[..., :2] / jnp.maximum(seen[..., 2:], 0.05)
    seen = jnp.where(there, seen - jnp.sum(share * seen, axis=-2, keepdims=True), 0.0)
    square = jnp.sum(share[..., 0] * jnp.sum(jnp.square(seen), axis=-1), axis=-1)
    some = square > 1e-12
    size = jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), 1.0)
    return View(seen / size[..., None, None], size, turn)


def towards(place: Array) -> Array:
    """The axes (..., 3, 3), as rows, of a camera that looks at a place (..., 2) on the plane z = 1,
    its x axis level with that plane's."""
    forward = jnp.concatenate([place, jnp.ones_like(place[..., :1])], axis=-1)
    forward = forward / jnp.linalg.norm(forward, axis=-1, keepdims=True)
    x, _, z = jnp.moveaxis(forward, -1, 0)
    right = jnp.stack([z, jnp.zeros_like(z), -x], axis=-1)
    right = right / jnp.linalg.norm(right, axis=-1, keepdims=True)
    return jnp.stack([right, jnp.cross(forward, right), forward], axis=-2)


def turned(xyz: ArrayLike, turn: Array) -> Array:
    """Joints (..., J, 3) in the axes of `turn` (..., 3, 3)."""
    return jnp.sum(turn[..., None, :, :] * jnp.asarray(xyz)[..., None, :], axis=-1)


def turned_back(xyz: ArrayLike, turn: Array) -> Array:
    """The inverse of `turned`."""
    return turned(xyz, jnp.swapaxes(turn, -1, -2))
