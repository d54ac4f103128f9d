"""Plain NumPy references, written for reading: fields drawn cell by cell, people grouped by loops.

`scene` makes people and maps to try them on. Nothing here imports bodyjax or jax.
"""

from __future__ import annotations

import numpy as np

# A standing figure of BODY18, in units of its height, y down, the neck at (0, 0).
FIGURE = np.array(
    [
        (0.00, -0.10), (0.00, 0.00), (-0.11, 0.01), (-0.15, 0.17), (-0.16, 0.32), (0.11, 0.01),
        (0.15, 0.17), (0.16, 0.32), (-0.07, 0.31), (-0.08, 0.55), (-0.08, 0.78), (0.07, 0.31),
        (0.08, 0.55), (0.08, 0.78), (-0.03, -0.13), (0.03, -0.13), (-0.07, -0.11), (0.07, -0.11),
    ]
)  # fmt: skip


def scene(
    rng: np.random.Generator, people: int, shape: tuple[int, int], stride: float = 8.0
) -> tuple[np.ndarray, np.ndarray]:
    """Figures of varying size, turn and pose in a picture of `shape` cells.

    Returns xy (people, 18, 2) in input pixels and visible (people, 18): 2, or 0 for about a tenth
    of the joints and for all that lie outside the picture. People may overlap.
    """
    height, width = shape[0] * stride, shape[1] * stride
    size = rng.uniform(0.25, 0.8, people) * height
    turn = rng.normal(0, 0.3, people)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    pose = FIGURE + rng.normal(0, 0.02, (people, 18, 2))
    pose[:, :, 0] *= rng.choice([-1, 1], people)[:, None] * rng.uniform(0.7, 1.3, people)[:, None]
    neck = rng.uniform((0.05 * width, 0.1 * height), (0.95 * width, 0.7 * height), (people, 2))
    xy = np.einsum("pji,ikp->pjk", pose, rotation) * size[:, None, None] + neck[:, None]
    seen = rng.random((people, 18)) > 0.1
    seen &= ((xy >= 0) & (xy <= (width - 1, height - 1))).all(axis=-1)
    return xy, np.where(seen, 2, 0)


def pafs(xy, visible, limbs, shape, stride, width):
    """Fields (H, W, 2L): in each cell the mean of the unit vectors of the limbs that cover it."""
    cells = (np.asarray(xy, float) - (stride - 1) / 2) / stride
    field = np.zeros((*shape, 2 * len(limbs)))
    for row, column, limb in np.ndindex(*shape, len(limbs)):
        vectors = []
        for person, seen in zip(cells, visible, strict=True):
            (first, second) = limbs[limb]
            if not (seen[first] and seen[second]):
                continue
            length = np.linalg.norm(person[second] - person[first])
            if length == 0:
                continue
            unit = (person[second] - person[first]) / length
            offset = np.array([column, row]) - person[first]
            across = unit[0] * offset[1] - unit[1] * offset[0]
            if -1 <= offset @ unit <= length + 1 and abs(across) <= width / stride:
                vectors.append(unit)
        if vectors:
            field[row, column, 2 * limb : 2 * limb + 2] = np.mean(vectors, axis=0)
    return field


def find_peaks(heatmap, threshold):
    """The local maxima of one map (H, W), highest first: a list of (score, x, y), in cells."""
    height, width = heatmap.shape
    padded = np.pad(heatmap, 1, constant_values=-np.inf)
    log = np.log(np.maximum(heatmap, 1e-3))
    found = []
    for y, x in zip(*np.nonzero(heatmap > threshold), strict=True):
        value = heatmap[y, x]
        around = padded[y : y + 3, x : x + 3].ravel()
        if not ((value > around[:4]).all() and (value >= around[5:]).all()):
            continue
        position = [float(x), float(y)]
        if 0 < x < width - 1:
            position[0] += _top(log[y, x - 1], log[y, x], log[y, x + 1])
        if 0 < y < height - 1:
            position[1] += _top(log[y - 1, x], log[y, x], log[y + 1, x])
        found.append((float(value), *position))
    return sorted(found, key=lambda peak: -peak[0])


def _top(before, centre, after):
    curve = before + after - 2 * centre
    return 0.5 * (before - after) / curve if curve < 0 else 0.0


def affinity(starts, ends, field, samples=10, min_paf=0.05, min_hits=0.8):
    """Mean of the field (H, W, 2) along the line of each pair (A, B), 0 where it can be no limb.

    The field is interpolated to half cells, of which the nearest counts.
    """
    height, width, _ = field.shape
    fine = np.zeros((2 * height - 1, 2 * width - 1, 2))
    fine[::2, ::2] = field
    fine[1::2] = (fine[:-1:2] + fine[2::2]) / 2
    fine[:, 1::2] = (fine[:, :-1:2] + fine[:, 2::2]) / 2
    vectors = ends[None] - starts[:, None]
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
    values = []
    for step in np.linspace(0, 1, samples):
        x, y = np.moveaxis(
            np.floor(2 * (starts[:, None] + step * vectors) + 0.5).astype(int), -1, 0
        )
        there = fine[np.clip(y, 0, 2 * height - 2), np.clip(x, 0, 2 * width - 2)]
        values.append((there * units).sum(axis=-1))
    hits, mean = np.mean(np.array(values) > min_paf, axis=0), np.mean(values, axis=0)
    return np.where((hits >= min_hits - 1e-6) & (mean > 0), mean, 0.0)


def group(heatmaps, pafs, limbs, stride, *, threshold=0.1, min_parts=3, min_score=0.2):
    """People of heat maps (H, W, J) and fields (H, W, 2L): arrays (J, 3) of x, y in pixels, score.

    Best first; a joint that was not found has score 0. Peaks are (joint, number) here, a body is a
    set of them.
    """
    heatmaps, pafs = np.asarray(heatmaps, float), np.asarray(pafs, float)
    joints = heatmaps.shape[-1]
    peaks = [find_peaks(heatmaps[..., j], threshold) for j in range(joints)]
    bodies = {(j, k): {(j, k)} for j in range(joints) for k in range(len(peaks[j]))}
    for limb, (first, second) in enumerate(limbs):
        starts, ends = (np.array(peaks[j]).reshape(-1, 3)[:, 1:] for j in (first, second))
        scores = affinity(starts, ends, pafs[..., 2 * limb : 2 * limb + 2])
        while scores.size and scores.max() > 0:
            a, b = np.unravel_index(scores.argmax(), scores.shape)
            scores[a], scores[:, b] = 0, 0
            one, other = bodies[first, int(a)], bodies[second, int(b)]
            if {j for j, _ in one} & {j for j, _ in other}:
                continue  # the same body, or a joint would be there twice
            one |= other
            for member in other:
                bodies[member] = one
    people = []
    for body in {id(body): body for body in bodies.values()}.values():
        person = np.zeros((joints, 3))
        for j, k in body:
            score, x, y = peaks[j][k]
            person[j] = stride * x + (stride - 1) / 2, stride * y + (stride - 1) / 2, score
        if len(body) >= min_parts and person[:, 2].sum() >= min_score * len(body):
            people.append(person)
    return sorted(people, key=lambda person: -person[:, 2].sum())
