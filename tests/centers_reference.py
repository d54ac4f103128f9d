"""A plain NumPy reference of grouping by centres, written for reading, and scenes to try it on.

Peaks and the line integral of fields come from `grouping_reference`, which is as independent.
Nothing here imports bodyjax or jax. All lengths are cells of the map.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tests import grouping_reference as plain

# A standing figure of COCO17, in units of its height, y down, the neck at (0, 0).
BODY18_OF_COCO17 = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
FIGURE = plain.FIGURE[list(BODY18_OF_COCO17)]
WINDOW = 5


@dataclass
class Scene:
    """heatmaps (H, W, J), pafs (H, W, 2L), center (H, W), regress and offset (H, W, J, 2); the
    truth: xy (P, J, 2) cells, visible (P, J) bool, middle (P, 2) cells."""

    heatmaps: np.ndarray
    pafs: np.ndarray
    center: np.ndarray
    regress: np.ndarray
    offset: np.ndarray
    xy: np.ndarray
    visible: np.ndarray
    middle: np.ndarray

    def maps(self) -> tuple[np.ndarray, ...]:
        parts = self.heatmaps, self.pafs, self.center, self.regress, self.offset
        return tuple(np.asarray(part, np.float32) for part in parts)


def draw(
    xy: np.ndarray,
    visible: np.ndarray,
    limbs: list[tuple[int, int]],
    shape: tuple[int, int],
    *,
    centred: np.ndarray | None = None,
    sigma: float = 1.0,
    width: float = 1.0,
) -> Scene:
    """Perfect maps of people at xy (P, J, 2) in cells; centred (P,): who has a centre."""
    height, column = shape
    people, joints = xy.shape[:2]
    y, x = np.mgrid[:height, :column].astype(float)
    grid = np.stack([x, y], -1)
    heat = np.zeros((*shape, joints))
    offset = np.zeros((*shape, joints, 2))
    fields, count = np.zeros((*shape, len(limbs), 2)), np.zeros((*shape, len(limbs), 1))
    center, regress = np.zeros(shape), np.zeros((*shape, joints, 2))
    middle = np.zeros((people, 2))
    nearest = np.full(shape, np.inf)
    for p in range(people):
        seen = visible[p]
        for j in np.flatnonzero(seen):
            value = np.exp(-0.5 * ((grid - xy[p, j]) ** 2).sum(-1) / sigma**2)
            higher = value > heat[..., j]
            heat[..., j] = np.where(higher, value, heat[..., j])
            offset[..., j, :] = np.where(higher[..., None], xy[p, j] - grid, offset[..., j, :])
        for limb, (a, b) in enumerate(limbs):
            length = np.linalg.norm(xy[p, b] - xy[p, a])
            if not (seen[a] and seen[b]) or length == 0:
                continue
            unit = (xy[p, b] - xy[p, a]) / length
            away = grid - xy[p, a]
            along, across = away @ unit, unit[0] * away[..., 1] - unit[1] * away[..., 0]
            covers = (along >= -1) & (along <= length + 1) & (abs(across) <= width)
            fields[..., limb, :] += covers[..., None] * unit
            count[..., limb, 0] += covers
        trunk = xy[p][seen] if seen.any() else xy[p]
        middle[p] = np.round(trunk.mean(0)).clip(0, np.array([column, height]) - 1)
        far = ((grid - middle[p]) ** 2).sum(-1)
        closer = far < nearest
        nearest = np.where(closer, far, nearest)
        guess = xy[p] - grid[..., None, :]
        regress = np.where(closer[..., None, None], guess, regress)
        if centred is None or centred[p]:
            center = np.maximum(center, 0.9 * np.exp(-0.5 * far / 1.5**2))
    pafs = (fields / np.maximum(count, 1)).reshape(*shape, -1)
    return Scene(heat, pafs, center, regress, offset, xy, visible, middle)


def figures(
    rng: np.random.Generator, people: int, shape: tuple[int, int], crowd: bool
) -> tuple[np.ndarray, np.ndarray]:
    """People of varying size and turn, in cells: xy (P, 17, 2), visible (P, 17) bool."""
    size = rng.uniform(0.3, 0.9, people) * shape[0]
    turn = rng.normal(0, 0.4, people)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    pose = FIGURE + rng.normal(0, 0.02, (people, *FIGURE.shape))
    low, high = ((0.35, 0.2), (0.65, 0.4)) if crowd else ((0.1, 0.1), (0.9, 0.6))
    neck = rng.uniform(low, high, (people, 2)) * (shape[1], shape[0])
    xy = np.einsum("pji,ikp->pjk", pose, rotation) * size[:, None, None] + neck[:, None]
    seen = rng.random((people, 17)) > 0.15
    seen &= ((xy >= 0) & (xy <= (shape[1] - 1, shape[0] - 1))).all(axis=-1)
    return xy, seen


def scene(rng: np.random.Generator, limbs: list[tuple[int, int]], shape: tuple[int, int]) -> Scene:
    """A random scene, noisy as maps of a network are: nobody to a crowd, some without a centre,
    some fields broken."""
    people, crowd = int(rng.integers(0, 9)), rng.random() < 0.25
    xy, visible = figures(rng, people, shape, crowd)
    out = draw(xy, visible, limbs, shape, centred=rng.random(people) > 0.2)

    def noise(part: np.ndarray, scale: float) -> np.ndarray:
        return rng.normal(0, scale, part.shape)

    strength = rng.uniform(0.3, 1.0, out.heatmaps.shape[-1])
    out.heatmaps = abs(out.heatmaps * strength + noise(out.heatmaps, 0.02))
    broken = np.repeat(rng.random(len(limbs)) > 0.2, 2)
    out.pafs = out.pafs * broken * rng.uniform(0.3, 1.0) + noise(out.pafs, 0.03)
    out.center = abs(out.center * rng.uniform(0.2, 1.0) + noise(out.center, 0.015))
    out.regress = out.regress + noise(out.regress, 0.8)
    out.offset = out.offset + noise(out.offset, 0.1)
    return out


# ---- the reference


@dataclass
class Person:
    """xy (J, 2) cells, score (J,), found (J,) bool; center: score of the middle or 0."""

    xy: np.ndarray
    score: np.ndarray
    found: np.ndarray
    center: float


@dataclass
class Result:
    people: list[Person] = field(default_factory=list)
    overflow: int = 0


def find_centers(center, regress, count, threshold):
    """[(score, pose (J, 2), side)], best first, of equal ones the first in reading order; how many
    were left out."""
    found = []
    padded = np.pad(center, WINDOW // 2, constant_values=-np.inf)
    for y, x in np.argwhere(center > threshold):
        around, value = padded[y : y + WINDOW, x : x + WINDOW].ravel(), center[y, x]
        before, after = around[: WINDOW**2 // 2], around[WINDOW**2 // 2 + 1 :]
        if (value > before).all() and (value >= after).all():
            pose = regress[y, x] + (x, y)
            side = max(*(pose.max(0) - pose.min(0)), 2.0)
            found.append((float(value), pose, float(side)))
    found.sort(key=lambda one: -one[0])
    return found[:count], max(len(found) - count, 0)


def agreement(middles, peaks, reach):
    """fit[j][c][k] of each peak (score, x, y) of each joint with each middle."""
    fit = [np.zeros((len(middles), len(of_joint))) for of_joint in peaks]
    for j, of_joint in enumerate(peaks):
        for c, (_, pose, side) in enumerate(middles):
            for k, (_, x, y) in enumerate(of_joint):
                squared = ((pose[j, 0] - x) ** 2 + (pose[j, 1] - y) ** 2) / (reach * side) ** 2
                if squared < 9:
                    fit[j][c, k] = np.exp(-0.5 * squared)
    return fit


def ownership(middles, peaks, near):
    """share[j][c][k]: which part of a peak belongs to a middle, by Gaussians of the distance."""
    share = [np.zeros((len(middles), len(of_joint))) for of_joint in peaks]
    for j, of_joint in enumerate(peaks):
        for k, (_, x, y) in enumerate(of_joint):
            logs = []
            for score, pose, side in middles:
                squared = ((pose[j, 0] - x) ** 2 + (pose[j, 1] - y) ** 2) / (near * side) ** 2
                logs.append(np.log(score) - 0.5 * squared)
            for c, value in enumerate(logs):
                share[j][c, k] = 1 / sum(np.exp(min(other - value, 500.0)) for other in logs)
    return share


def supported(fit, links, limbs, trust):
    """(1 - trust) x fit + trust x the best fit of a neighbour times the field that leads to it."""
    best = [np.zeros_like(one) for one in fit]
    for (a, b), link in zip(limbs, links, strict=True):
        for c in range(len(fit[a])):
            for k in range(link.shape[0]):
                for m in range(link.shape[1]):
                    led = min(max(link[k, m], 0.0), 1.0)
                    best[a][c, k] = max(best[a][c, k], fit[b][c, m] * led)
                    best[b][c, m] = max(best[b][c, m], fit[a][c, k] * led)
    return [(1 - trust) * one + trust * more for one, more in zip(fit, best, strict=True)]


def place(heatmap, pose, side, reach):
    """x, y of the cell where the map (H, W), weighted around pose (2,), is highest."""
    y, x = np.mgrid[: heatmap.shape[0], : heatmap.shape[1]]
    squared = ((x - pose[0]) ** 2 + (y - pose[1]) ** 2) / (reach * side) ** 2
    best = int(np.argmax(np.exp(-0.5 * squared) * heatmap))
    return best % heatmap.shape[1], best // heatmap.shape[1]


def oks(one, other, sigmas):
    """OKS of two poses (J, 2), with the smaller one's area."""
    area = min(max(0.53 * float(np.prod(p.max(0) - p.min(0))), 1.0) for p in (one, other))
    total = 0.0
    for j, sigma in enumerate(sigmas):
        squared = ((one[j] - other[j]) ** 2).sum()
        total += np.exp(-squared / (2 * area * (2 * sigma) ** 2))
    return total / len(sigmas)


def pairs(scores):
    """Greedy one to one pairs (row, column) of a table, the best first."""
    left = np.array(scores, float)
    while left.size and left.max() > 0:
        a, b = np.unravel_index(left.argmax(), left.shape)
        left[a], left[:, b] = 0, 0
        yield int(a), int(b)


def group(maps, limbs, sigmas, chosen) -> Result:
    """The people of maps (Scene.maps); chosen: settings as bodyjax names them."""
    heatmaps, pafs, center, regress, offset = (np.asarray(part, float) for part in maps)
    joints, slots = heatmaps.shape[-1], chosen.max_peaks
    every = [plain.find_peaks(heatmaps[..., j], chosen.threshold) for j in range(joints)]
    peaks = [of_joint[:slots] for of_joint in every]
    middles, overflow = find_centers(center, regress, slots, chosen.center_threshold)
    overflow += sum(len(of_joint) - len(kept) for of_joint, kept in zip(every, peaks, strict=True))

    cells = [np.array(of_joint).reshape(-1, 3)[:, 1:] for of_joint in peaks]
    links = [
        plain.affinity(
            cells[a], cells[b], pafs[..., 2 * n : 2 * n + 2], chosen.samples, chosen.min_paf,
            chosen.min_hits,
        )
        for n, (a, b) in enumerate(limbs)
    ]  # fmt: skip
    fit, share = agreement(middles, peaks, chosen.reach), ownership(middles, peaks, chosen.near)
    fit = [one * part for one, part in zip(fit, share, strict=True)]
    fit = supported(fit, links, limbs, chosen.trust)

    # A body is a set of (joint, number); a middle is ("middle", number).
    bodies = {("middle", c): {("middle", c)} for c in range(len(middles))}
    bodies |= {(j, k): {(j, k)} for j in range(joints) for k in range(len(peaks[j]))}

    def join(one, other):
        first, second = bodies[one], bodies[other]
        if {kind for kind, _ in first} & {kind for kind, _ in second}:
            return
        first |= second
        for member in second:
            bodies[member] = first

    for j in range(joints):
        root = np.sqrt(np.array([score for score, _, _ in peaks[j]]))
        good = np.where(fit[j] > chosen.min_fit, fit[j] * root, 0.0)
        for c, k in pairs(good):
            join(("middle", c), (j, k))
    for (a, b), link in zip(limbs, links, strict=True):
        for k, m in pairs(link):
            join((a, k), (b, m))

    ranked = []
    for body in {id(body): body for body in bodies.values()}.values():
        members = dict(body)
        middle = members.pop("middle", None)
        if middle is None and len(members) < chosen.min_parts:
            continue
        crude = sum(peaks[j][k][0] for j, k in members.items()) / joints
        crude += 0.0 if middle is None else middles[middle][0]
        ranked.append((crude, members, middle))
    ranked.sort(key=lambda one: -one[0])

    keep, kept = 2 * chosen.max_people, []
    for _, members, middle in ranked[:keep]:
        person = finished(members, middle, peaks, middles, heatmaps, offset, chosen)
        if all(oks(person.xy, better.xy, sigmas) <= chosen.same for better in kept):
            kept.append(person)
    beyond = len(kept) + len(ranked[keep:]) - chosen.max_people
    return Result(kept[: chosen.max_people], overflow + max(beyond, 0))


def finished(members, middle, peaks, middles, heatmaps, offset, chosen) -> Person:
    """A body with a place for every joint."""
    joints = heatmaps.shape[-1]
    own = np.array([peaks[j][k][1:] for j, k in members.items()]).reshape(-1, 2)
    if middle is not None:
        center, pose, side = middles[middle]
    else:
        center, low, high = 0.0, own.min(0), own.max(0)
        pose = np.broadcast_to((low + high) / 2, (joints, 2))
        side = max(2 * (high - low).max(), 2.0)
    xy, score = np.zeros((joints, 2)), np.zeros(joints)
    found = np.array([j in members for j in range(joints)])
    for j in range(joints):
        if j in members:
            score[j], *xy[j] = peaks[j][members[j]]
        else:
            x, y = place(heatmaps[..., j], pose[j], side, chosen.fill_reach)
            xy[j] = np.array([x, y]) + np.clip(offset[y, x, j], -1.5, 1.5)
            score[j] = heatmaps[y, x, j]
    return Person(xy, score, found, float(center))
