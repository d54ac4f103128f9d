"""People by their centres alone: what the heads of a network give, without fields.

A centre is a person; each joint is the best cell of its heat map near the regressed place, moved
by the cell's offset (MoveNet's decoding, for several people). Small networks for phones and
browsers have these heads alone; `docs/demo/decode.mjs` does the same in JavaScript.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bodyjax.codec import cells_to_pixels
from bodyjax.detect import centers
from bodyjax.detect.centers import Bodies
from bodyjax.skeleton import Skeleton

Array = jax.Array


class Settings(NamedTuple):
    """max_people: slots. center_threshold: least value of a centre; threshold: of a joint that
    counts as found. reach: sigma, in sides of the person's regressed box, of the distance between
    a joint and its regressed place. same: OKS above which the lesser of two people is dropped."""

    max_people: int = 6
    center_threshold: float = 0.25
    threshold: float = 0.15
    reach: float = 0.4
    same: float = 0.6


def people(
    heatmaps: Array,
    center: Array,
    regress: Array,
    offset: Array,
    skeleton: Skeleton,
    *,
    stride: int,
    settings: Settings | None = None,
) -> Bodies:
    """The people of one picture (use jax.vmap for several), best centre first.

    heatmaps (H, W, J) 0 to 1, center (H, W) 0 to 1, regress and offset (H, W, J, 2) in cells:
    models.pose.Maps of one picture, all joints known to the heads.
    """
    chosen = settings or Settings()
    found = centers.find_centers(center, regress, chosen.max_people, chosen.center_threshold)
    there, joint = found.score > 0, jnp.arange(heatmaps.shape[-1])
    x, y, score = centers.places(heatmaps, found.pose, found.side, there, chosen.reach)
    step = jnp.clip(offset[y, x, joint], -1.5, 1.5)
    cells = jnp.stack([x, y], axis=-1) + step
    order = jnp.arange(len(there))
    there = centers.distinct(centers.alike(cells, skeleton) > chosen.same, there, order)
    order = jnp.argsort(~there, stable=True)
    there = there[order]
    shown = there[:, None]
    score = jnp.where(shown, score[order], 0.0)
    return Bodies(
        jnp.where(shown[..., None], cells_to_pixels(cells[order], stride), 0.0),
        score,
        score > chosen.threshold,
        jnp.where(there, found.score[order], 0.0),
        there,
        found.overflow,
    )
