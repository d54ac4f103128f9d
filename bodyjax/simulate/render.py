"""A perspective camera and a z-buffer of tapered capsules, in NumPy.

Every capsule is drawn as an impostor: inside its screen box each pixel's ray is cut with the solid
exactly, so depth and normals need no mesh. People are drawn at twice the picture's resolution and
averaged; the background is given. Camera frame: x right, y down, z forward, mm. Pixel centres lie
at integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bodyjax.simulate.body import Array, Solid

ABSENT, HIDDEN, SEEN = 0, 1, 2
NEAR = 150.0
"""Nothing nearer than this (mm) is drawn."""
FINE = 2
"""People are drawn at this multiple of the picture's resolution."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: pixels = focal * (x, y) / z + centre, camera point = rotation @ (world -
    position). size is (width, height); rotation (3, 3) has rows right, down, forward."""

    size: tuple[int, int]
    focal: float
    centre: tuple[float, float]
    rotation: Array
    position: Array

    def view(self, points: Array) -> Array:
        """World points (..., 3) in the camera frame, mm."""
        return (points - self.position) @ self.rotation.T

    def project(self, points: Array) -> Array:
        """Camera-frame points (..., 3) to pixels (..., 2); points behind the camera give pixels
        far outside the picture."""
        depth = np.maximum(points[..., 2:], 1.0)
        return self.focal * points[..., :2] / depth + np.asarray(self.centre)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers: matrix K (3x3) and rotation, position (mm, world to camera)."""
        (cx, cy), f = self.centre, self.focal
        return {
            "matrix": [[f, 0.0, cx], [0.0, f, cy], [0.0, 0.0, 1.0]],
            "rotation": self.rotation.tolist(),
            "position": self.position.tolist(),
        }


def look(
    size: tuple[int, int],
    target: Array,
    *,
    yaw: float,
    pitch: float,
    roll: float,
    distance: float,
    focal: float,
    centre: tuple[float, float],
) -> Camera:
    """A camera at `distance` from `target` (world, mm), seen by it at pixel `centre`.

    yaw: radians from the world's front (z) towards its left (x); pitch: the camera's elevation
    above the target; roll: tilt of the picture. A person who faces z with the camera at yaw 0
    looks into it, so the person's left is on the right of the picture."""
    back = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    down = np.cross(-back, right)
    c, s = np.cos(roll), np.sin(roll)
    rows = np.stack([c * right + s * down, c * down - s * right, -back])
    return Camera(size, focal, centre, rows, np.asarray(target, float) + distance * back)


@dataclass(frozen=True)
class Look:
    """How solids are painted: colour (3,) 0-1 per name of Solid.colours; stripes as waves per mm
    along the trunk, with their strength."""

    colours: dict[str, Array]
    hair: Array
    hair_style: int
    stripes: float
    strength: float


@dataclass(frozen=True)
class Light:
    """direction (3,) from the scene towards the light, camera frame; ambient share; colour (3,)."""

    direction: Array
    ambient: float
    colour: Array


class Solids:
    """The capsules of T frames in the camera frame, with everything a ray needs precomputed."""

    def __init__(self, camera: Camera, groups: list[tuple[list[Solid], Look, Array, Array, float]]):
        """groups: one entry per person or thing: its solids, look, trunk's up (T, 3), head frame
        (T, 3, 3) and head size (a number)."""
        rows = [(s, look, up) for solids, look, up, _, _ in groups for s in solids]
        turn = camera.rotation
        a = np.stack([camera.view(s.a) for s, _, _ in rows], 1)
        b = np.stack([camera.view(s.b) for s, _, _ in rows], 1)
        zero = np.zeros_like(rows[0][0].a)
        across = np.stack([zero if s.across is None else s.across @ turn.T for s, _, _ in rows], 1)
        squeeze = np.array([1.0 / s.flat for s, _, _ in rows])[None, :, None]
        self.ra = np.array([s.ra for s, _, _ in rows], np.float32)
        self.rb = np.array([s.rb for s, _, _ in rows], np.float32)
        self.a, self.ba, self.across = a, b - a, across
        # In a space stretched by S = 1 + (k - 1) n n' along n the squeezed capsule is round; with
        # M = S'S = 1 + (k^2 - 1) n n' all of a ray's products are linear or quadratic in (X, Y, 1).
        self.stretch = squeeze**2 - 1.0

        def metric(v: Array) -> Array:
            return v + self.stretch * np.sum(across * v, -1, keepdims=True) * across

        self.m_a, self.m_ba = metric(a), metric(self.ba)
        self.aa = np.sum(self.m_a * a, -1)
        self.baa = np.sum(self.m_ba * a, -1)
        self.baba = np.maximum(np.sum(self.m_ba * self.ba, -1), 1.0)
        self.quadric = (
            np.eye(3) + self.stretch[..., None] * across[..., :, None] * across[..., None, :]
        )
        self.flat = np.array([s.flat != 1.0 for s, _, _ in rows])
        self.boxes = self._boxes(camera, a, b)

        self.owner = np.repeat(np.arange(len(groups)), [len(g[0]) for g in groups])
        first = np.stack([look.colours[s.colours[0]] for s, look, _ in rows])
        second = np.stack([look.colours[s.colours[1]] for s, look, _ in rows])
        shirt = [s.colours[0] == "shirt" and s.cut > 0 for s, _, _ in rows]
        waves = [
            look.stripes if cloth else 0.0 for cloth, (_, look, _) in zip(shirt, rows, strict=True)
        ]
        strength = np.array(
            [look.strength if w else 0.0 for w, (_, look, _) in zip(waves, rows, strict=True)]
        )
        wave = np.stack([w * up @ turn.T for w, (_, _, up) in zip(waves, rows, strict=True)], 1)
        cut = np.array([s.cut for s, _, _ in rows])
        # one table row per solid and frame, gathered once per drawn pixel
        same = np.ones((*a.shape[:2], 1))
        self.table = (
            np.concatenate(
                [
                    *(a, self.ba, across, self.m_ba / self.baba[..., None], wave),
                    *(same * v[:, None] for v in (self.stretch[0, :, 0], cut, strength)),
                    *(same * v for v in (first, second)),
                ],
                axis=-1,
            )
            .astype(np.float32)
            .transpose(0, 2, 1)
        )
        for name in ("m_a", "m_ba", "aa", "baa", "baba", "quadric"):
            setattr(self, name, getattr(self, name).astype(np.float32))
        self.heads = [
            (
                next(i for i, s in enumerate(solids) if s.name == "head")
                + int(np.searchsorted(self.owner, k)),
                look,
                np.einsum("ij,tjk->tik", turn, frame),
                size,
            )
            for k, (solids, look, _, frame, size) in enumerate(groups)
            if any(s.name == "head" for s in solids)
        ]

    def _boxes(self, camera: Camera, a: Array, b: Array) -> Array:
        """Screen boxes (T, N, 4) left, top, right, bottom in fine pixels, clipped; empty boxes for
        anything that reaches behind the near plane."""
        width, height = camera.size
        low = np.full((*a.shape[:2], 2), np.inf)
        high = -low
        nearest = np.full(a.shape[:2], np.inf)
        for end, radius in ((a, self.ra), (b, self.rb)):
            z = np.maximum(end[..., 2] - radius, NEAR)
            nearest = np.minimum(nearest, end[..., 2] - radius)
            # a sphere's outline reaches farther out than its radius over its depth
            reach = (camera.focal * radius / z * 1.15)[..., None]
            spot = camera.project(end)
            low, high = np.minimum(low, spot - reach), np.maximum(high, spot + reach)
        limit = np.array([width, height]) * FINE
        low = np.clip(np.floor((low + 0.5) * FINE), 0, limit)
        high = np.clip(np.ceil((high + 0.5) * FINE), 0, limit)
        box = np.concatenate([low, high], -1).astype(np.int32)
        box[nearest < NEAR] = 0
        return box


Drawn = tuple[tuple[int, int, int, int], Array, Array, Array]


def draw(solids: Solids, frame: int, camera: Camera, light: Light) -> Drawn | None:
    """Draw one frame: box (x0, y0, x1, y1) in pixels, colour (h, w, 3) premultiplied by coverage
    (h, w), depth (h, w) mm of the nearest surface (inf where nothing).

    Returns None if nothing is in the picture."""
    boxes = solids.boxes[frame]
    alive = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).tolist()
    if not len(alive):
        return None
    x0, y0 = boxes[alive, :2].min(0) // FINE * FINE
    x1, y1 = -(-boxes[alive, 2:].max(0) // FINE) * FINE
    (cx, cy), focal = camera.centre, camera.focal
    columns = (((np.arange(x0, x1) + 0.5) / FINE - 0.5 - cx) / focal).astype(np.float32)
    lines = (((np.arange(y0, y1) + 0.5) / FINE - 0.5 - cy) / focal).astype(np.float32)
    depth = np.full((y1 - y0, x1 - x0), np.inf, np.float32)
    which = np.full(depth.shape, -1, np.int16)
    for k in alive:
        left, top, right, bottom = boxes[k] - (x0, y0, x0, y0)
        x, y = columns[None, left:right], lines[top:bottom, None]
        t = _cut(solids, frame, k, x, y)
        here = depth[top:bottom, left:right]
        nearer = t < here
        np.copyto(here, t, where=nearer)
        np.copyto(which[top:bottom, left:right], k, where=nearer)
    # the nearest of a pixel's samples is shaded, all of them count for its coverage
    corners = [(i, j) for i in range(FINE) for j in range(FINE)]
    near, ids = depth[::FINE, ::FINE].copy(), which[::FINE, ::FINE].copy()
    corner = np.zeros(near.shape, np.int8)
    cover = (near < np.inf).astype(np.float32)
    for number, (i, j) in enumerate(corners[1:], 1):
        sample = depth[i::FINE, j::FINE]
        cover += sample < np.inf
        nearer = sample < near
        np.copyto(near, sample, where=nearer)
        np.copyto(ids, which[i::FINE, j::FINE], where=nearer)
        np.copyto(corner, number, where=nearer)
    cover *= 1 / len(corners)
    row, column = np.nonzero(ids >= 0)
    shift_y, shift_x = np.array(corners, np.int64)[corner[row, column]].T
    z = near[row, column]
    points = (columns[column * FINE + shift_x] * z, lines[row * FINE + shift_y] * z, z)
    picture = np.zeros((*near.shape, 3), np.float32)
    picture[row, column] = (_shade(solids, frame, light, points, ids[row, column])).T
    picture *= cover[..., None]
    left, top, right, bottom = (int(v) // FINE for v in (x0, y0, x1, y1))
    return (left, top, right, bottom), picture, cover, near


def _cut(solids: Solids, frame: int, k: int, x: Array, y: Array) -> Array:
    """Depth at which the rays (x, y, 1) first meet solid k; inf where they miss it."""
    ba, a, quad = solids.m_ba[frame, k], solids.m_a[frame, k], solids.quadric[frame, k]
    baba, baa, aa = solids.baba[frame, k], solids.baa[frame, k], solids.aa[frame, k]
    ra, rb = solids.ra[k], solids.rb[k]
    along = (ba[0] * x + ba[2]) + ba[1] * y
    to_a = (a[0] * x + a[2]) + a[1] * y
    square = (quad[0, 0] * x * x + 2 * quad[0, 2] * x + quad[2, 2]) + (
        quad[1, 1] * y * y + 2 * quad[1, 2] * y
    )
    if solids.flat[k]:
        square = square + (2 * quad[0, 1] * x) * y
    # infinite cylinder about the axis, with the radius where the ray passes nearest to the axis
    qa = np.maximum(baba * square - along * along, np.float32(1e-3))
    qb = baa * along - baba * to_a
    if ra == rb:
        radius2 = ra * ra
    else:
        share = np.clip((-baa - qb / qa * along) / baba, 0, 1)
        radius2 = np.square(ra + (rb - ra) * share)
    h = qb * qb - qa * (baba * aa - baa * baa - radius2 * baba)
    t = (-qb - np.sqrt(np.maximum(h, 0))) / qa
    place = t * along - baa
    inside = (place > 0) & (place < baba) & (h > 0)
    # round ends
    first = place < 0.5 * baba
    to_end = np.where(first, to_a, to_a + along)
    bb = aa + 2 * baa + baba
    ends = to_end * to_end - square * np.where(first, aa - ra * ra, bb - rb * rb)
    cap = np.where(ends > 0, (to_end - np.sqrt(np.maximum(ends, 0))) / square, np.inf)
    return np.where(inside, t, cap).astype(np.float32, copy=False)


def _shade(
    solids: Solids, frame: int, light: Light, points: tuple[Array, Array, Array], ids: Array
) -> Array:
    """Colours (3, n) of n surface points x, y, z (camera frame, mm) of the solids `ids`."""
    px, py, pz = points
    t = np.take(solids.table[frame], ids, axis=1)
    qx, qy, qz = px - t[0], py - t[1], pz - t[2]
    share = np.clip(qx * t[9] + qy * t[10] + qz * t[11], 0, 1)
    wave = np.sin(qx * t[12] + qy * t[13] + qz * t[14])
    qx -= share * t[3]
    qy -= share * t[4]
    qz -= share * t[5]
    push = t[15] * (qx * t[6] + qy * t[7] + qz * t[8])
    qx += push * t[6]
    qy += push * t[7]
    qz += push * t[8]
    scale = 1.0 / np.sqrt(qx * qx + qy * qy + qz * qz + 1e-6)
    lx, ly, lz = light.direction.tolist()
    facing = (qx * lx + qy * ly + qz * lz) * scale
    sky = -qy * scale
    shade = light.ambient * (0.85 + 0.15 * sky) + (1 - light.ambient) * np.maximum(facing, 0)
    shade *= 1.0 + t[17] * ((wave > 0) - 0.5) * (share < t[16])
    colour = np.where(share < t[16], t[18:21], t[21:24])
    for k, look, head, size in solids.heads:
        mine = np.flatnonzero(ids == k)
        if len(mine):
            _face(solids, frame, k, look, head[frame], size, points, mine, colour)
    return colour * (shade * light.colour.astype(np.float32)[:, None])


def _face(
    solids: Solids,
    frame: int,
    k: int,
    look: Look,
    head: Array,
    size: float,
    points: tuple[Array, Array, Array],
    mine: Array,
    colour: Array,
) -> None:
    """Paint hair, eyes and mouth on the head's pixels, in place. head has columns left, up, front
    in the camera frame; size is the head's height, mm."""
    a, ba = solids.a[frame, k], solids.ba[frame, k]
    middle = a + ba * (0.16 / 0.30)  # `solids` puts the head's ends at -0.16 and +0.14
    offset = np.stack([p[mine] for p in points]) - middle[:, None]
    left, up, front = (head.T @ offset) / size
    line = (0.24, 0.16, 0.30)[look.hair_style % 3]  # hairline on the forehead
    nape = (-0.10, -0.42, 0.08)[look.hair_style % 3]  # where the hair ends behind
    hair = (up > line + 0.10 * np.abs(left)) | ((front < 0.02) & (up > nape))
    eyes = (np.abs(np.abs(left) - 0.14) < 0.07) & (np.abs(up - 0.04) < 0.035) & (front > 0.1)
    mouth = (np.abs(left) < 0.12) & (np.abs(up + 0.24) < 0.03) & (front > 0.1)
    mine_hair, mine_eyes, mine_mouth = mine[hair], mine[eyes & ~hair], mine[mouth & ~hair]
    colour[:, mine_hair] = look.hair[:, None]
    colour[:, mine_eyes] *= 0.25
    colour[:, mine_mouth] *= np.array([0.75, 0.45, 0.45], np.float32)[:, None]


def visibility(camera: Camera, joints: Array, depth: Array, thickness: Array) -> Array:
    """{0 outside, 1 hidden, 2 seen} of camera-frame joints (T, P, J, 3) against depth (T, H, W) mm.

    thickness (P, J), mm: how far the joint may lie under the surface that shows it."""
    width, height = camera.size
    spot = np.rint(camera.project(joints)).astype(np.int64)
    inside = (spot[..., 0] >= 0) & (spot[..., 0] < width) & (joints[..., 2] > NEAR)
    inside &= (spot[..., 1] >= 0) & (spot[..., 1] < height)
    x, y = np.where(inside, spot[..., 0], 0), np.where(inside, spot[..., 1], 0)
    frame = np.arange(len(depth))[:, None, None]
    seen = depth[frame, y, x] >= joints[..., 2] - thickness
    return np.where(inside, np.where(seen, SEEN, HIDDEN), ABSENT).astype(np.int8)
