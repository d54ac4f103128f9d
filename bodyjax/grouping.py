"""Heat maps and affinity fields -> people, inside the compiled program.

Bottom-up grouping of Cao et al. 2017 ("Realtime Multi-Person 2D Pose Estimation using Part Affinity
Fields", 3.4 and 3.5) with fixed shapes: peaks by non-maximum suppression, the line integral of the
field for every pair of peaks that a limb could join, a greedy assignment per limb, and the assembly
of the limbs into people. Unlike in the paper, two separately started parts of one body are merged
as soon as a limb joins them and no joint would occur twice.

J joints, L limbs, K = max_peaks, P = max_people. No scatter and no loop over peaks: on XLA's CPU
both cost more than the all-pairs comparisons used here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jax.typing import ArrayLike

from bodyjax.codec import cells_to_pixels
from bodyjax.errors import ConfigError
from bodyjax.skeleton import Skeleton


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class People:
    """The people of one picture, best first, in P slots.

    xy (P, J, 2): input pixels, where score > 0. score (P, J): value of the heat map at the joint, 0
    = joint not found. person_score (P,): sum of the joints' scores / J, 0 = empty slot. count:
    people found, at most P. overflow: peaks beyond max_peaks of a joint plus people beyond
    max_people, which were left out; 0 = nothing was left out.
    """

    xy: jax.Array
    score: jax.Array
    person_score: jax.Array
    count: jax.Array
    overflow: jax.Array


export.register_pytree_node_serialization(
    People,
    serialized_name="bodyjax.grouping.People",
    serialize_auxdata=lambda _: b"",  # all fields are arrays
    deserialize_auxdata=lambda _: (),
)


class Peaks(NamedTuple):
    """Local maxima, highest first: cells (J, K, 2) x, y; score (J, K), 0 = no peak; overflow."""

    cells: jax.Array
    score: jax.Array
    overflow: jax.Array


@dataclass(frozen=True)
class Settings:
    """How peaks are assembled into people.

    max_people, max_peaks: slots for people, and for the peaks of each joint. threshold: least value
    of a peak. A pair of peaks can be a limb if the field, projected on the line between them,
    exceeds `min_paf` at no less than `min_hits` of `samples` points. A person has at least
    `min_parts` joints, with a mean score of at least `min_score`.
    """

    max_people: int = 20
    max_peaks: int = 16
    threshold: float = 0.1
    min_paf: float = 0.05
    min_hits: float = 0.8
    samples: int = 10
    min_parts: int = 3
    min_score: float = 0.2


def group(
    heatmaps: ArrayLike,
    pafs: ArrayLike,
    skeleton: Skeleton,
    *,
    stride: float,
    settings: Settings | None = None,
    **fields: Any,
) -> People:
    """The people of one picture (use jax.vmap for several).

    heatmaps (H, W, J), or (H, W, J + 1) with the background last, which is not used; pafs (H, W,
    2L), channels 2l and 2l + 1 = x and y of limb l of the skeleton. `fields` of Settings override
    those of `settings`: group(..., max_people=4). A joint that no limb joins to another belongs to
    nobody.
    """
    chosen = replace(settings or Settings(), **fields)
    heatmaps, pafs, limbs = checked(heatmaps, pafs, skeleton)
    peaks = find_peaks(heatmaps, chosen.max_peaks, chosen.threshold)
    affinity = pair_affinity(peaks, pafs, limbs, chosen.samples, chosen.min_paf, chosen.min_hits)
    owner = assemble(limbs, assign(affinity), heatmaps.shape[-1])
    return _people(peaks, owner, stride, chosen.max_people, chosen.min_parts, chosen.min_score)


def checked(
    heatmaps: ArrayLike, pafs: ArrayLike, skeleton: Skeleton
) -> tuple[jax.Array, jax.Array, np.ndarray]:
    """Heat maps (H, W, J) without background and fields (H, W, 2L) in float32, limbs (L, 2).

    Raises ConfigError if they are another skeleton's: indices are not checked later.
    """
    heat, field = (jnp.asarray(a).astype(jnp.float32) for a in (heatmaps, pafs))
    joints, limbs = len(skeleton.joints), np.asarray(skeleton.limbs, int).reshape(-1, 2)
    if heat.ndim != 3 or heat.shape[-1] not in (joints, joints + 1):
        raise ConfigError(f"heat maps {heat.shape} for {joints} joints: (H, W, J or J + 1)")
    if field.shape != (*heat.shape[:2], 2 * len(limbs)):
        raise ConfigError(f"fields {field.shape} for {len(limbs)} limbs: (H, W, 2L)")
    return heat[..., :joints], field, limbs


def find_peaks(heatmaps: jax.Array, max_peaks: int, threshold: float) -> Peaks:
    """The `max_peaks` highest local maxima (of 3x3 cells) of each map (H, W, J), sub-pixel.

    Among equal neighbours the first in reading order is the peak. The position is the top of the
    parabola through the logarithms of the peak and its two neighbours on an axis: exact for a
    Gaussian; across the edge of the map, where a neighbour is missing, the cell itself.
    """
    height, width, joints = heatmaps.shape
    padded = jnp.pad(heatmaps, ((1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)

    def shifted(dy: int, dx: int) -> jax.Array:
        return lax.slice(padded, (1 + dy, 1 + dx, 0), (1 + dy + height, 1 + dx + width, joints))

    peak = heatmaps > threshold
    for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1)):
        peak &= (heatmaps > shifted(dy, dx)) & (heatmaps >= shifted(-dy, -dx))
    found = jnp.where(peak, heatmaps, 0.0)

    # Two peaks are never neighbours: of 2x2 cells at most one is a peak, a quarter is to be sorted.
    found = jnp.pad(found, ((0, height % 2), (0, width % 2), (0, 0)))
    rows, columns = (height + 1) // 2, (width + 1) // 2
    blocks = found.reshape(rows, 2, columns, 2, joints)
    code = jnp.arange(4).reshape(1, 2, 1, 2, 1)
    place = jnp.max(jnp.where(blocks > 0, code, 0), axis=(1, 3)).reshape(-1, joints)
    blocks = jnp.max(blocks, axis=(1, 3)).reshape(-1, joints).T
    count = jnp.sum(blocks > 0, axis=-1)
    keep = min(max_peaks, rows * columns)
    score, block = lax.top_k(blocks, keep)
    joint = jnp.arange(joints)[:, None]
    place = place[block, joint]
    y, x = 2 * (block // columns) + place // 2, 2 * (block % columns) + place % 2
    y, x = jnp.minimum(y, height - 1), jnp.minimum(x, width - 1)

    flat = heatmaps.reshape(-1)

    def value(y: jax.Array, x: jax.Array) -> jax.Array:
        index = (jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)) * joints + joint
        return jnp.log(jnp.maximum(flat.at[index].get(mode="promise_in_bounds"), 1e-3))

    centre = value(y, x)
    step_x = _parabola(value(y, x - 1), centre, value(y, x + 1))
    step_y = _parabola(value(y - 1, x), centre, value(y + 1, x))
    step_x = jnp.where((x > 0) & (x < width - 1), step_x, 0.0)
    step_y = jnp.where((y > 0) & (y < height - 1), step_y, 0.0)
    cells = jnp.stack((x + step_x, y + step_y), axis=-1)
    missing = max_peaks - keep
    if missing:
        cells = jnp.pad(cells, ((0, 0), (0, missing), (0, 0)))
        score = jnp.pad(score, ((0, 0), (0, missing)))
    return Peaks(cells, score, jnp.sum(jnp.maximum(count - max_peaks, 0)))


def _parabola(before: jax.Array, centre: jax.Array, after: jax.Array) -> jax.Array:
    """Where the parabola through three neighbours, the middle one highest, has its top."""
    curve = before + after - 2 * centre
    return jnp.where(curve < 0, 0.5 * (before - after) / jnp.where(curve < 0, curve, 1.0), 0.0)


def pair_affinity(
    peaks: Peaks, pafs: jax.Array, limbs: np.ndarray, samples: int, min_paf: float, min_hits: float
) -> jax.Array:
    """The line integral of a limb's field between all its pairs of peaks (Cao et al. 2017, eq. 10).

    The field is sampled to the nearest half cell. Returns (L, K, K): the mean of the field along
    the line, 0 if the pair can't be a limb.
    """
    height, width, channels = pafs.shape
    first, second = limbs[:, 0], limbs[:, 1]
    start, end = peaks.cells[first][:, :, None], peaks.cells[second][:, None]  # (L, K, 1 | 1, K, 2)
    vector = end - start
    length = jnp.sqrt(jnp.sum(jnp.square(vector), axis=-1))
    unit = vector / jnp.maximum(length, 1e-6)[..., None]
    along = jnp.linspace(0.0, 1.0, samples)

    def half_cell(axis: int, size: int) -> jax.Array:
        place = start[..., axis, None] + vector[..., axis, None] * along
        return jnp.clip(jnp.floor(2 * place + 0.5).astype(jnp.int32), 0, 2 * size - 2)

    x, y = half_cell(0, width), half_cell(1, height)
    cell = ((2 * (y % 2) + x % 2) * height + y // 2) * width + x // 2
    index = cell * channels + 2 * jnp.arange(len(limbs))[:, None, None, None]
    flat = _between_cells(pafs).reshape(-1)
    field_x = flat.at[index].get(mode="promise_in_bounds")
    field_y = flat.at[index + 1].get(mode="promise_in_bounds")
    projected = field_x * unit[..., 0, None] + field_y * unit[..., 1, None]
    hits = jnp.mean(projected > min_paf, axis=-1, dtype=jnp.float32)
    mean = jnp.mean(projected, axis=-1)
    possible = (peaks.score[first] > 0)[:, :, None] & (peaks.score[second] > 0)[:, None]
    possible &= (hits >= min_hits - 1e-6) & (mean > 0)
    return jnp.where(possible, mean, 0.0)


def _between_cells(pafs: jax.Array) -> jax.Array:
    """The field at each cell, half a cell right of it, below, and both: (4, H, W, 2L).

    A limb's field is 2 or 3 cells wide: the nearest cell alone would miss it, and interpolation at
    each sample would gather four times as much.
    """
    right = jnp.concatenate((pafs[:, 1:], pafs[:, -1:]), axis=1)
    across = 0.5 * (pafs + right)
    rows = jnp.stack((pafs, across))
    below = jnp.concatenate((rows[:, 1:], rows[:, -1:]), axis=1)
    return jnp.concatenate((rows, 0.5 * (rows + below)))


def assign(affinity: jax.Array) -> jax.Array:
    """Greedy assignment: the best pair first, then the best of the rest (Cao et al. 2017, 3.4).

    affinity (L, K, K), 0 = impossible. Returns (L, K): for each first peak its second, -1 = none. A
    pair that is the best of its row and of its column is in the greedy solution whatever the rest
    does, so all such pairs are taken at once: a few rounds instead of K steps.
    """
    size = affinity.shape[-1]
    row, column = jnp.arange(size)[:, None], jnp.arange(size)

    def unfinished(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jnp.any(state[0] > 0)

    def take(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        left, partner = state
        best = (left > 0) & (left == jnp.max(left, axis=-1, keepdims=True))
        best &= left == jnp.max(left, axis=-2, keepdims=True)
        # Among equals the first column of a row, then the first row of a column.
        best &= column == jnp.min(jnp.where(best, column, size), axis=-1, keepdims=True)
        best &= row == jnp.min(jnp.where(best, row, size), axis=-2, keepdims=True)
        partner = jnp.maximum(partner, jnp.max(jnp.where(best, column, -1), axis=-1))
        used = jnp.any(best, axis=-1, keepdims=True) | jnp.any(best, axis=-2, keepdims=True)
        return jnp.where(used, 0.0, left), partner

    start = affinity, jnp.full(affinity.shape[:2], -1)
    return lax.while_loop(unfinished, take, start)[1]


def assemble(limbs: np.ndarray, partner: jax.Array, joints: int) -> jax.Array:
    """Limbs into bodies, limb after limb; returns (J, K): the body of each peak.

    Each peak starts as its own body, named by its number j * K + k. A limb joins the bodies of its
    two peaks unless a joint would occur twice. Within one limb the order does not matter: a body
    has at most one peak of a joint, so it takes part in at most one union.
    """
    size = partner.shape[-1]
    number = jnp.arange(joints * size).reshape(joints, size)
    words = -(-joints // 32)
    bit = np.zeros((joints, 1, words), np.uint32)
    for j in range(joints):
        bit[j, 0, j // 32] = 1 << (j % 32)
    holds = jnp.broadcast_to(jnp.asarray(bit), (joints, size, words))  # a body's joints, as bits

    def join(
        state: tuple[jax.Array, jax.Array], limb: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        body, holds = state
        first, second, partner = limb
        other = jnp.maximum(partner, 0)
        body_a, holds_a = body[first], holds[first]
        body_b, holds_b = body[second][other], holds[second][other]
        fits = (partner >= 0) & jnp.all(holds_a & holds_b == 0, axis=-1)
        body_a, body_b = (jnp.where(fits, b, -1) for b in (body_a, body_b))
        member = (body[..., None] == body_a) | (body[..., None] == body_b)  # (J, K, K)
        joined = jnp.any(member, axis=-1)
        body = jnp.where(joined, jnp.max(jnp.where(member, body_a, -1), axis=-1), body)
        union = jnp.max(jnp.where(member[..., None], holds_a | holds_b, jnp.uint32(0)), axis=-2)
        holds = jnp.where(joined[..., None], union, holds)
        return (body, holds), None

    limb_list = jnp.asarray(limbs[:, 0]), jnp.asarray(limbs[:, 1]), partner
    return lax.scan(join, (number, holds), limb_list)[0][0]


def _people(
    peaks: Peaks, body: jax.Array, stride: float, slots: int, min_parts: int, min_score: float
) -> People:
    """Bodies that are people, best first, in `slots` slots."""
    joints, size = body.shape
    number = jnp.arange(joints * size)
    member = (body.reshape(-1) == number[:, None]) & (peaks.score.reshape(-1) > 0)
    parts = jnp.sum(member, axis=-1)
    total = jnp.sum(jnp.where(member, peaks.score.reshape(-1), 0.0), axis=-1)
    person = (parts >= min_parts) & (total >= min_score * parts) & (parts > 0)
    found = jnp.sum(person)
    keep = min(slots, joints * size)
    total, name = lax.top_k(jnp.where(person, total, 0.0), keep)
    filled = total > 0
    belongs = (body == name[:, None, None]) & filled[:, None, None] & (peaks.score > 0)  # (P, J, K)
    peak = jnp.argmax(belongs, axis=-1)
    here = jnp.any(belongs, axis=-1)
    joint = jnp.arange(joints)
    xy = cells_to_pixels(peaks.cells[joint, peak], stride)
    xy = jnp.where(here[..., None], xy, 0.0)
    score = jnp.where(here, peaks.score[joint, peak], 0.0)
    if keep < slots:
        empty = slots - keep
        xy, score = jnp.pad(xy, ((0, empty), (0, 0), (0, 0))), jnp.pad(score, ((0, empty), (0, 0)))
        total = jnp.pad(total, (0, empty))
    overflow = peaks.overflow + jnp.maximum(found - slots, 0)
    return People(xy, score, total / joints, jnp.minimum(found, slots), overflow)
