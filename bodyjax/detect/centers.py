"""People by their centres: which person a joint belongs to, by regression.

Networks with CenterNet-style heads (Zhou et al., "Objects as Points", 2019, section 5) predict,
besides heat maps, the middle of each person and, from there, a guess at each joint. The guess is
coarse; the fields are exact but break where bodies are cut, hidden or in pieces. `group` uses both
as evidence. All lengths here are in cells of the map, except those of its result.

J joints, L limbs, C centres, K peaks a joint.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from bodyjax import grouping
from bodyjax.codec import cells_to_pixels
from bodyjax.errors import ConfigError
from bodyjax.skeleton import AREA_OF_BOX, COCO17, COCO_SIGMAS, Skeleton, common_name

Array = jax.Array

WINDOW = 5
"""Side, in cells, of the window in which a centre must be the highest (MoveNet takes 5)."""
FLOOR = 1e-6
"""Added to heat maps in the search for a joint: in a map that is 0 all around, nearer cells win."""


class Centers(NamedTuple):
    """Middles of people, best first: score (C,), 0 = none; pose (C, J, 2) the regressed joints in
    cells; side (C,) the longer side of their box, at least 2 cells; overflow: more than C."""

    score: Array
    pose: Array
    side: Array
    overflow: Array


def find_centers(center: Array, regress: Array, count: int, threshold: float) -> Centers:
    """The `count` highest local maxima of center (H, W) above `threshold`, with their poses from
    regress (H, W, J, 2). Among equal ones in a window the first in reading order is the maximum:
    two middles of one person would share its peaks."""
    height, width = center.shape
    pad = WINDOW // 2
    padded = jnp.pad(center, pad, constant_values=-jnp.inf)
    rows = jnp.stack([padded[:, d : d + width] for d in range(WINDOW)]).max(0)
    across = [rows[d : d + height] for d in range(WINDOW)]
    left = [padded[pad : pad + height, d : d + width] for d in range(pad)]
    earlier, highest = jnp.stack([*across[:pad], *left]).max(0), jnp.stack(across).max(0)
    top = (center > threshold) & (center > earlier) & (center >= highest)
    found = jnp.where(top, center, 0.0).reshape(-1)
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
    times the person's side, 0 beyond three sigmas and if there is no centre or no peak.
    """
    apart = jnp.sum(jnp.square(centers.pose.swapaxes(0, 1)[:, :, None] - cells[:, None]), axis=-1)
    squared = apart / jnp.square(reach * centers.side)[None, :, None]
    there = (score > 0)[:, None] & (centers.score > 0)[None, :, None]
    return jnp.where(there & (squared < 9.0), jnp.exp(-0.5 * squared), 0.0)


def ownership(centers: Centers, cells: Array, near: float) -> Array:
    """To which centre a peak belongs, by distance alone: (J, C, K), summing to 1 over the centres.

    cells (J, K, 2). The share that each centre has of Gaussians with a sigma of `near` times the
    side, weighted with the centres' scores: far from all others a centre owns everything nearby, so
    `agreement` may reach far if nobody else is near.
    """
    apart = jnp.sum(jnp.square(centers.pose.swapaxes(0, 1)[:, :, None] - cells[:, None]), axis=-1)
    squared = apart / jnp.square(near * centers.side)[None, :, None]
    weight = jnp.log(jnp.maximum(centers.score, 1e-6))[None, :, None]
    known = (centers.score > 0)[None, :, None]
    return jax.nn.softmax(jnp.where(known, weight - 0.5 * squared, -1e9), axis=1)


def supported(fit: Array, affinity: Array, limbs: np.ndarray, trust: float) -> Array:
    """`fit` (J, C, K) with the evidence of the fields: a peak also fits a centre to the extent that
    a field leads from it to a neighbouring joint's peak that fits.

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


def places(
    heatmaps: Array, pose: Array, side: Array, there: Array, reach: float
) -> tuple[Array, Array, Array]:
    """For each person and joint the cell where the map, weighted with a Gaussian around the
    regressed place, is highest: x, y (P, J) and the map's value there (MoveNet's own decoding).

    heatmaps (H, W, J), pose (P, J, 2), side (P,); there (P,): slots that hold a person; the others
    get cell 0, 0 and cost nothing outside vmap. sigma: `reach` x side. If the map is empty
    (`FLOOR`) for about five sigmas around: the cell nearest to the regressed place.
    """
    height, width, _ = heatmaps.shape
    floored = jnp.maximum(heatmaps, FLOOR)
    sigma = (reach * side)[:, None, None]

    def nearness(count: int, place: Array) -> Array:
        """(P, J, count), 1 at the nearest cell: far outside the map all would underflow to 0."""
        squared = jnp.square((jnp.arange(count) - place) / sigma)
        return jnp.exp(-0.5 * (squared - squared.min(-1, keepdims=True)))

    across, down = nearness(width, pose[..., :1]), nearness(height, pose[..., 1:])

    def best(slot: tuple[Array, Array]) -> tuple[Array, Array]:
        """Rows first, then within the best row: an argmax over whole maps is slow on CPUs."""
        across, down = slot
        in_row = jnp.max(across.T[None] * floored, axis=1)  # (H, J)
        y = jnp.argmax(down.T * in_row, axis=0)
        row = floored[y, :, jnp.arange(floored.shape[-1])]  # (J, W)
        return jnp.argmax(across * row, axis=-1), y

    def nobody(slot: tuple[Array, Array]) -> tuple[Array, Array]:
        none = jnp.zeros(slot[0].shape[0], int)
        return none, none

    slots = (there, (across, down))
    x, y = lax.map(lambda slot: lax.cond(slot[0], best, nobody, slot[1]), slots)
    return x, y, heatmaps[y, x, jnp.arange(heatmaps.shape[-1])]


class Settings(NamedTuple):
    """How people are assembled; lengths are in sides of the person's regressed box.

    max_people, max_peaks: slots; centres have as many as the peaks of a joint. threshold: least
    value of a peak, center_threshold of a centre. reach: sigma of the distance between a peak and
    the regressed joint (`agreement`); near: by which centres compete for a peak (`ownership`);
    fill_reach: by which joints without a peak take the best cell (`places`). trust: share of the
    fields in a peak's fit (`supported`); min_fit: least fit. min_paf, min_hits, samples: of limbs
    (grouping.group). min_parts: the fewest joints of a body without a centre. same: OKS between two
    people above which the lesser one is dropped.
    """

    max_people: int = 20
    max_peaks: int = 24
    threshold: float = 0.1
    center_threshold: float = 0.05
    reach: float = 0.4
    near: float = 0.15
    fill_reach: float = 0.4
    trust: float = 0.5
    min_fit: float = 0.05
    min_paf: float = 0.15
    min_hits: float = 0.8
    samples: int = 10
    min_parts: int = 5
    same: float = 0.6


class Bodies(NamedTuple):
    """People in P slots (max_people, or fewer if there can't be that many peaks), best first by a
    crude score, without duplicates.

    xy (P, J, 2) pixels and score (P, J), the value of the map there, for every joint: found (P, J)
    if a peak was attached, otherwise the best place near the regressed joint. center (P,): score of
    the person's middle, 0 if fields alone assembled it; there (P,): slots that hold a person;
    overflow: peaks, centres and people beyond their slots.
    """

    xy: Array
    score: Array
    found: Array
    center: Array
    there: Array
    overflow: Array


export.register_namedtuple_serialization(Bodies, serialized_name="bodyjax.detect.centers.Bodies")


def group(
    heatmaps: Array,
    pafs: Array,
    center: Array,
    regress: Array,
    offset: Array,
    skeleton: Skeleton,
    *,
    stride: int,
    settings: Settings | None = None,
) -> Bodies:
    """The people of one picture (use jax.vmap for several) by fields, centres and regression.

    heatmaps (H, W, J) or (H, W, J + 1), pafs (H, W, 2L), center (H, W), regress and offset (H, W,
    J, 2): models.pose.Maps of one picture. Each centre takes for each joint the free peak that fits
    it best; then limbs join the peaks that are left, to people or into bodies of their own. Raises
    ConfigError for maps of another skeleton.
    """
    chosen = settings or Settings()
    joints, slots = len(skeleton.joints), chosen.max_peaks
    heatmaps, pafs, limbs = grouping.checked(heatmaps, pafs, skeleton)
    center, regress, offset = (
        jnp.asarray(part).astype(jnp.float32) for part in (center, regress, offset)
    )
    cells = heatmaps.shape[:2]
    if center.shape != cells or {regress.shape, offset.shape} != {(*cells, joints, 2)}:
        what = f"centres {center.shape}, regression {regress.shape}, offsets {offset.shape}"
        raise ConfigError(f"{what} for {joints} joints: (H, W), (H, W, J, 2) twice")
    peaks = grouping.find_peaks(heatmaps, slots, chosen.threshold)
    affinity = grouping.pair_affinity(
        peaks, pafs, limbs, chosen.samples, chosen.min_paf, chosen.min_hits
    )
    middles = find_centers(center, regress, slots, chosen.center_threshold)
    fit = agreement(middles, peaks.cells, peaks.score, chosen.reach)
    fit = fit * ownership(middles, peaks.cells, chosen.near)
    fit = supported(fit, affinity, limbs, chosen.trust)
    fit = jnp.where(fit > chosen.min_fit, fit * jnp.sqrt(peaks.score)[:, None], 0.0)
    # The centre is one joint more, with a limb to every other, and these limbs come first.
    rays = np.stack([np.full(joints, joints), np.arange(joints)], axis=1)
    partner = jnp.concatenate([grouping.assign(fit), grouping.assign(affinity)])
    body = grouping.assemble(np.concatenate([rays, limbs]), partner, joints + 1)
    return _bodies(heatmaps, offset, peaks, middles, body, skeleton, stride, chosen)


def _bodies(
    heatmaps: Array, offset: Array, peaks: grouping.Peaks, middles: Centers, body: Array,
    skeleton: Skeleton, stride: int, chosen: Settings,
) -> Bodies:  # fmt: skip
    """Numbered bodies (J + 1, K) as people, with their missing joints filled in."""
    joints = body.shape[0] - 1
    number = jnp.arange(body.size)[:, None]
    seen = peaks.score.reshape(-1) > 0
    member = (body[:joints].reshape(-1) == number) & seen
    parts = member.sum(-1)
    total = jnp.where(member, peaks.score.reshape(-1), 0.0).sum(-1)
    mine = (body[joints] == number) & (middles.score > 0)
    which = jnp.where(mine.any(-1), jnp.argmax(mine, axis=-1), -1)
    person = (which >= 0) | (parts >= chosen.min_parts)
    crude = total / joints + jnp.where(which >= 0, middles.score[which], 0.0)
    keep = min(2 * chosen.max_people, body.size)  # twice: duplicates are dropped below
    _, name = lax.top_k(jnp.where(person, crude, 0.0), keep)
    there, which = person[name], which[name]

    belongs = (body[:joints] == name[:, None, None]) & (peaks.score > 0) & there[:, None, None]
    peak, found, joint = jnp.argmax(belongs, -1), belongs.any(-1), jnp.arange(joints)
    cells = peaks.cells[joint, peak]
    low = jnp.min(jnp.where(found[..., None], cells, jnp.inf), axis=1)
    high = jnp.max(jnp.where(found[..., None], cells, -jnp.inf), axis=1)
    low, high = (jnp.where(found.any(-1)[:, None], end, 0.0) for end in (low, high))
    # Without a centre nothing is regressed: the whole box is as likely.
    known = which >= 0
    pose = jnp.where(known[:, None, None], middles.pose[which], (0.5 * (low + high))[:, None])
    box = jnp.maximum(2 * (high - low).max(-1), 2.0)
    side = jnp.where(known, middles.side[which], box)
    x, y, value = places(heatmaps, pose, side, there, chosen.fill_reach)
    step = jnp.clip(offset[y, x, joint], -1.5, 1.5)
    cells = jnp.where(found[..., None], cells, jnp.stack([x, y], -1) + step)
    score = jnp.where(found, peaks.score[joint, peak], value)
    center = jnp.where(known, middles.score[which], 0.0)

    there = distinct(alike(cells, skeleton) > chosen.same, there, jnp.arange(keep))
    order = jnp.argsort(~there, stable=True)[: chosen.max_people]
    people = jnp.sum(there) + jnp.maximum(jnp.sum(person) - keep, 0)
    there = there[order]
    shown = there[:, None]
    overflow = peaks.overflow + middles.overflow + jnp.maximum(people - chosen.max_people, 0)
    return Bodies(
        jnp.where(shown[..., None], cells_to_pixels(cells[order], stride), 0.0),
        jnp.where(shown, score[order], 0.0),
        found[order] & shown,
        jnp.where(there, center[order], 0.0),
        there,
        overflow,
    )


def distinct(same: Array, there: Array, order: Array) -> Array:
    """`there` (P,) without those who are the `same` (P, P) as somebody before them in `order` (P,),
    the numbers of the slots, best first. Greedy: a dropped person drops nobody else."""
    rank = jnp.argsort(order)

    def step(i: Array, on: Array) -> Array:
        slot = order[i]
        return on.at[slot].set(on[slot] & ~jnp.any(same[slot] & on & (rank < i)))

    return lax.fori_loop(0, len(order), step, there)


def alike(xy: Array, skeleton: Skeleton) -> Array:
    """OKS between all pairs of people (P, J, 2), with the smaller one's area: (P, P).

    Duplicates of one person are near 1; area: that of the joints' box (AREA_OF_BOX).
    """
    size = xy.max(1) - xy.min(1)
    area = jnp.maximum(AREA_OF_BOX * size[:, 0] * size[:, 1], 1.0)
    sigmas = jnp.asarray(joint_sigmas(skeleton))
    apart = jnp.sum(jnp.square(xy[:, None] - xy[None]), axis=-1)
    scale = 8 * jnp.square(sigmas) * jnp.minimum(area[:, None], area)[..., None]
    return jnp.exp(-apart / scale).mean(-1)


def joint_sigmas(skeleton: Skeleton) -> np.ndarray:
    """OKS sigma of each joint (J,): the skeleton's own, otherwise COCO's by name; joints that COCO
    lacks get a shoulder's."""
    if skeleton.sigmas is not None:
        return np.asarray(skeleton.sigmas, np.float32)
    known = dict(zip(COCO17.joints, COCO_SIGMAS, strict=True))
    names = (common_name(joint) for joint in skeleton.joints)
    return np.array([known.get(name, 0.079) for name in names], np.float32)
