"""A second look: each person found is cut out, enlarged, and looked at alone by another network.

A network that sees a whole picture finds people; one that sees a single person large places their
joints as in top-down methods (Papandreou et al., CVPR 2017). The crop is a square about the
person's joints; if the second look disagrees with the first, the first one's joints stay: the
network may have looked at a neighbour.

P people, J joints. Everything is pure and of fixed shapes; empty slots cost nothing outside vmap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import export, lax

from bodyjax import codec
from bodyjax.detect import centers
from bodyjax.models.pose import Maps

Array = jax.Array

ENLARGED = 1.25
"""Side of the crop, relative to the longer side of the box of the person's joints."""
SURE = 0.05
"""Joints of lower score don't count in the box, unless fewer than three are left."""


class Look(NamedTuple):
    """xy (P, J, 2) pixels and score (P, J) after the second look; taken (P,): whether it replaced
    the first one's joints; mean (P,): its mean joint score, 0 in empty slots; apart (P,): median
    distance from the first one's joints in sides of the crop."""

    xy: Array
    score: Array
    taken: Array
    mean: Array
    apart: Array


export.register_namedtuple_serialization(Look, serialized_name="bodyjax.detect.second_look.Look")


def crop_boxes(xy: Array, score: Array, least: float) -> tuple[Array, Array]:
    """Middle (P, 2) and side (P,) of the square about each person, at least `least` pixels, by
    joints xy (P, J, 2) in pixels and score (P, J); around 0, 0 if there is no joint."""
    sure = score > SURE
    sure = jnp.where(sure.sum(-1, keepdims=True) >= 3, sure, score > 0)[..., None]
    low = jnp.min(jnp.where(sure, xy, jnp.inf), axis=1)
    high = jnp.max(jnp.where(sure, xy, -jnp.inf), axis=1)
    empty = ~sure.any(1)
    low, high = jnp.where(empty, 0.0, low), jnp.where(empty, 0.0, high)
    return 0.5 * (low + high), jnp.maximum(ENLARGED * (high - low).max(-1), least)


def crop(levels: tuple[Array, ...], middle: Array, side: Array, size: int, fill: float) -> Array:
    """The square of a picture as (size, size, 3) float32, bilinear; `fill` beyond the edge.

    levels: the picture (H, W, 3) and the same at half the size, a quarter ...; each is used while
    it is not shrunk by more than two, so that no detail is skipped between samples (the last one
    for anything larger). middle (2,), a pixel's centre being a whole number, and side (): pixels of
    the first level.
    """
    shrink = side / size
    which = jnp.clip(jnp.floor(jnp.log2(jnp.maximum(shrink, 1.0))), 0, len(levels) - 1)

    def cut(level: int) -> Array:
        picture, scale = jnp.asarray(levels[level]).astype(jnp.float32), 2.0**level
        # Pixel centres: pixel p of the first level is (p + 0.5) / scale - 0.5 of this one.
        first = (middle - 0.5 * side + 0.5 * side / size + 0.5) / scale - 0.5
        step = side / size / scale
        places = first[:, None] + step * jnp.arange(size)  # x, y
        rows = _sampled(picture, places[1], fill)
        return jnp.swapaxes(_sampled(jnp.swapaxes(rows, 0, 1), places[0], fill), 0, 1)

    return lax.switch(which.astype(jnp.int32), [lambda k=k: cut(k) for k in range(len(levels))])


def _sampled(picture: Array, places: Array, fill: float) -> Array:
    """Rows of a picture (H, W, 3) at fractional places (S,), linear: (S, W, 3)."""
    last = picture.shape[0] - 1
    low = jnp.floor(places).astype(jnp.int32)
    part = (places - low)[:, None, None]

    def row(number: Array) -> Array:
        inside = ((number >= 0) & (number <= last))[:, None, None]
        return jnp.where(inside, picture[jnp.clip(number, 0, last)], fill)

    return (1 - part) * row(low) + part * row(low + 1)


def single(maps: Maps, stride: int, reach: float) -> tuple[Array, Array]:
    """The one person in the middle of a picture: xy (J, 2) pixels, score (J,).

    maps: heatmaps (H, W, J), center (H, W), regress and offset (H, W, J, 2). The centre map,
    weighted with a Gaussian around the middle of the picture, is highest at the person's; each
    joint is the best cell near its regressed place (`centers.places`), moved by its offset.
    """
    heatmaps, center = maps.heatmaps, maps.center
    assert center is not None
    assert maps.regress is not None
    assert maps.offset is not None
    height, width = center.shape

    def near(count: int) -> Array:
        return jnp.exp(-0.5 * jnp.square((jnp.arange(count) - (count - 1) / 2) / (count / 3)))

    best = jnp.argmax(center * near(height)[:, None] * near(width))
    y, x = best // width, best % width
    pose = jnp.stack([x, y]).astype(jnp.float32) + maps.regress[y, x]
    side = jnp.maximum((pose.max(0) - pose.min(0)).max(), 2.0)
    columns, rows, score = centers.places(
        heatmaps, pose[None], side[None], jnp.ones(1, bool), reach
    )
    step = jnp.clip(maps.offset[rows[0], columns[0], jnp.arange(heatmaps.shape[-1])], -1.5, 1.5)
    cells = jnp.stack([columns, rows], axis=-1)[0] + step
    return codec.cells_to_pixels(cells, stride), score[0]


def between(
    xy: Array, score: Array, joints: tuple[int, ...], ends: tuple[int, ...]
) -> tuple[Array, Array]:
    """xy (J, 2), score (J,) with these joints put midway between both `ends`, with the lower of
    their scores: the neck lies between the shoulders by definition, and needs no map of its own."""
    for joint in joints:
        a, b = ends
        xy = xy.at[joint].set(0.5 * (xy[a] + xy[b]))
        score = score.at[joint].set(jnp.minimum(score[a], score[b]))
    return xy, score


UNSURE = 0.5
"""Mean joint score below which a crop is also looked at turned."""


def turned(
    see: Callable[[Array], tuple[Array, Array]],
) -> Callable[[Array], tuple[Array, Array]]:
    """`see` at the best of the turns by 0, 90, 180 and 270 degrees, by the mean joint score; if the
    upright crop is already certain, only that one is used. Inverted people are rare in training."""

    def best(crop: Array) -> tuple[Array, Array]:
        upright = see(crop)

        def every() -> tuple[Array, Array]:
            last = crop.shape[0] - 1
            found = lax.map(see, jnp.stack([jnp.rot90(crop, turn) for turn in (1, 2, 3)]))
            x, y = found[0][..., 0], found[0][..., 1]
            # rot90 is anticlockwise: after one turn, new x = old y and new y = last - old x.
            back = jnp.stack(
                [
                    jnp.stack([last - y[0], x[0]], -1),
                    jnp.stack([last - x[1], last - y[1]], -1),
                    jnp.stack([y[2], last - x[2]], -1),
                ]
            )
            xy = jnp.concatenate([upright[0][None], back])
            score = jnp.concatenate([upright[1][None], found[1]])
            top = jnp.argmax(score.mean(-1))
            return xy[top], score[top]

        return lax.cond(upright[1].mean() < UNSURE, every, lambda: upright)

    return best


def look(
    see: Callable[[Array], tuple[Array, Array]],
    picture: tuple[Array, ...],
    xy: Array,
    score: Array,
    there: Array,
    *,
    size: int,
    least: float,
    fill: float,
    agree: float,
) -> Look:
    """The second look at people xy (P, J, 2), score (P, J) of a picture's levels (`crop`).

    see: crop (size, size, 3) -> joints (J, 2) in the crop's pixels and their scores (J,). there
    (P,): slots that hold a person. agree: joints are replaced if their median distance from the
    first look's, over joints scored above `SURE` there, stays below this share of the crop's side.
    Without any such joint there is nothing to compare: the first joints stay, and `taken` and
    `apart` tell the person score, which is close to 0 for such people.
    """
    middle, side = crop_boxes(xy, score, least)

    def person(one: tuple[Array, ...]) -> tuple[Array, ...]:
        xy, score, middle, side = one
        seen, sure = see(crop(picture, middle, side, size, fill))
        # Pixel centres: place q of the crop is (q + 0.5) / size of the square.
        place = middle + ((seen + 0.5) / size - 0.5) * side
        apart = jnp.sqrt(jnp.sum(jnp.square(place - xy), -1)) / side
        apart = jnp.nanmedian(jnp.where(score > SURE, apart, jnp.nan))
        apart = jnp.where(jnp.isfinite(apart), apart, 1.0)
        taken = apart < agree
        return (
            jnp.where(taken, place, xy),
            jnp.where(taken, sure, score),
            taken,
            sure.mean(),
            apart,
        )

    def nobody(one: tuple[Array, ...]) -> tuple[Array, ...]:
        xy, score, *_ = one
        return xy, score, jnp.bool_(False), jnp.float32(0), jnp.float32(1)

    slots = (there, (xy, score, middle, side))
    return Look(*lax.map(lambda slot: lax.cond(slot[0], person, nobody, slot[1]), slots))
