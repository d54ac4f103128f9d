"""The surroundings of the movement in a clip: clothes, light, camera, place, drawn without the
class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodyjax.simulate.body import Array, unit
from bodyjax.simulate.render import Camera, Light, Look, look

SKIN = np.array([[0.95, 0.80, 0.70], [0.88, 0.69, 0.55], [0.74, 0.53, 0.38], [0.52, 0.35, 0.24],
                 [0.38, 0.25, 0.18]])  # fmt: skip
HAIR = np.array([[0.06, 0.05, 0.04], [0.22, 0.13, 0.08], [0.42, 0.28, 0.15], [0.75, 0.60, 0.35],
                 [0.60, 0.60, 0.60], [0.45, 0.18, 0.08]])  # fmt: skip


def draw_look(rng: np.random.Generator) -> tuple[Look, dict[str, float]]:
    """Random colours and the cut of the clothes ({"sleeve", "leg"}, see body.solids)."""
    skin = np.clip(SKIN[int(rng.integers(len(SKIN)))] * rng.uniform(0.9, 1.1), 0, 1)
    shirt, trousers = _cloth(rng), _cloth(rng) * rng.uniform(0.5, 1.0)
    gloves = rng.random() < 0.15
    shoe = _cloth(rng) if rng.random() < 0.5 else np.full(3, rng.uniform(0.05, 0.25))
    colours = {
        "skin": skin,
        "hand": np.full(3, 0.92) if gloves else skin,
        "shirt": shirt,
        "trousers": trousers,
        "shoe": shoe,
        "thing": _cloth(rng),
    }
    striped = rng.random() < 0.35
    clothes = {
        "sleeve": float(rng.choice([0.15, 0.55, 0.9, 1.6, 1.95])),
        "leg": float(rng.choice([0.55, 0.9, 1.95, 1.95])),
    }
    hair = HAIR[int(rng.integers(len(HAIR)))] * rng.uniform(0.7, 1.2)
    waves = 2 * np.pi / rng.uniform(60, 220)
    strength = float(rng.uniform(0.2, 0.6)) if striped else 0.0
    return Look(colours, hair, int(rng.integers(3)), waves, strength), clothes


def _cloth(rng: np.random.Generator) -> Array:
    """A colour of cloth: a hue, more or less grey, more or less dark."""
    hue = rng.dirichlet([0.7, 0.7, 0.7])
    grey = rng.uniform(0, 1)
    return np.clip((grey * 0.5 + (1 - grey) * hue / hue.max()) * rng.uniform(0.2, 1.0), 0.04, 0.97)


def draw_light(rng: np.random.Generator, camera: Camera) -> Light:
    """A light from above, anywhere around; warm to cold."""
    turn, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.3)
    world = np.array([np.sin(turn) * np.cos(height), np.sin(height), np.cos(turn) * np.cos(height)])
    warm = rng.normal(0, 0.07)
    colour = np.array([1 + warm, 1.0, 1 - warm]) * rng.uniform(0.75, 1.25)
    return Light(camera.rotation @ world, float(rng.uniform(0.4, 0.75)), colour)


def draw_camera(
    rng: np.random.Generator,
    size: tuple[int, int],
    target: Array,
    extent: float,
    yaw: tuple[float, float],
) -> Camera:
    """A camera that keeps `extent` mm around `target` in the picture. yaw: range, degrees.

    Distance 2.6 to 8 m; the lens follows from it and from how much of the picture the extent
    takes (72 to 98 %)."""
    width, height = size
    distance = float(np.exp(rng.uniform(np.log(2600), np.log(8000)))) * max(1.0, extent / 2400)
    focal = rng.uniform(0.72, 0.98) * height * distance / extent
    pitch = np.radians(rng.uniform(-4, 18))
    slack = (height - focal * extent / distance) / 2
    centre = (
        (width - 1) / 2 + float(rng.uniform(-0.08, 0.08)) * width,
        (height - 1) / 2 + float(rng.uniform(-0.7, 0.7)) * slack,
    )
    return look(
        size,
        target,
        yaw=np.radians(rng.uniform(*yaw)),
        pitch=pitch,
        roll=np.radians(rng.normal(0, 1.2)),
        distance=distance,
        focal=focal,
        centre=centre,
    )


@dataclass(frozen=True)
class Place:
    """A background: picture (H, W, 3) 0-1, depth (H, W) mm (inf is sky), floor (2, H, W) world x
    and z of the floor seen at each pixel (1e9 if there is none)."""

    picture: Array
    depth: Array
    floor: Array


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Array:
    """Smooth random field (H, W) of 0-1: `cells` random values across, smoothly interpolated."""
    height, width = shape
    rows = max(2, round(cells * height / width))
    grid = rng.random((rows + 1, cells + 1)).astype(np.float32)

    def weights(n: int, count: int) -> tuple[Array, Array]:
        x = np.linspace(0, count - 1e-3, n, dtype=np.float32)
        i = x.astype(np.int32)
        f = x - i
        return i, f * f * (3 - 2 * f)

    (i, u), (j, v) = weights(height, rows), weights(width, cells)
    across = grid[:, j] * (1 - v) + grid[:, j + 1] * v
    return across[i] * (1 - u)[:, None] + across[i + 1] * u[:, None]


def draw_place(rng: np.random.Generator, camera: Camera) -> Place:
    """A room or a street: floor with a pattern in perspective, wall or sky, clutter behind."""
    width, height = camera.size
    x = (np.arange(width) - camera.centre[0]) / camera.focal
    y = (np.arange(height) - camera.centre[1]) / camera.focal
    rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], 1.0), -1) @ camera.rotation
    rays = rays.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        down = -camera.position[1] / rays[..., 1]  # depth of the floor along each ray
        down = np.where((rays[..., 1] < 0) & (down > 0), down, np.inf)
    indoors = rng.random() < 0.5
    # a wall behind the person, across the line of sight or a little turned
    line = unit(camera.position * [1, 0, 1])
    turn = rng.normal(0, 0.25)
    c, s = np.cos(turn), np.sin(turn)
    normal = np.array([c * line[0] + s * line[2], 0, c * line[2] - s * line[0]])
    behind = rng.uniform(1500, 5000) if indoors else rng.uniform(6000, 40000)
    ahead = rays @ normal
    with np.errstate(divide="ignore", invalid="ignore"):
        wall = (-behind - camera.position @ normal) / ahead
    wall = np.where((ahead < 0) & (wall > 0), wall, np.inf)
    on_floor = down < wall
    depth = np.minimum(down, wall)
    near = np.where(on_floor, down, 0.0)
    floor = camera.position[[0, 2]] + rays[..., [0, 2]] * near[..., None]
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = _backdrop(rng, camera, indoors)
    if not indoors:
        # outdoors the wall is a skyline, everything above it sky
        top = _skyline(rng, width)
        above = np.where(on_floor, 0, camera.position[1] + rays[..., 1] * np.minimum(wall, 1e6))
        built = ~on_floor & (above < top[None, :] * rng.uniform(1500, 9000)) & np.isfinite(wall)
        stone = 0.5 * _cloth(rng) + 0.5 * rng.uniform(0.2, 0.7)
        picture[built] = (stone * (0.5 + noise(rng, (height, width), 24)[..., None]))[built]
        depth = np.where(on_floor | built, depth, np.inf)
    picture[on_floor] = _ground(rng, floor, indoors, noise(rng, (height, width), 32))[on_floor]
    horizon = np.argmax(on_floor.any(1)) if on_floor.any() else height
    _clutter(rng, picture, int(horizon), camera)
    floor = np.where(on_floor, np.moveaxis(floor, -1, 0), 1e9)
    grain = noise(rng, (height, width), int(rng.integers(20, 70)))
    picture *= (1 + rng.uniform(0, 0.25) * (grain - 0.5))[..., None]
    return Place(np.clip(picture, 0, 1.2), depth.astype(np.float32), floor.astype(np.float32))


def _backdrop(rng: np.random.Generator, camera: Camera, indoors: bool) -> Array:
    """Wall or sky before anything stands in front of it, (H, W, 3)."""
    width, height = camera.size
    blend = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    if indoors:
        colour = 0.35 + 0.6 * _cloth(rng)
        paint = colour * (1 - blend * rng.uniform(0, 0.4))
        if rng.random() < 0.4:  # wallpaper or panels
            period = rng.uniform(6, 40)
            stripes = np.sin(2 * np.pi * np.arange(width) / period + rng.uniform(0, 6)) > 0
            paint = paint * (1 - rng.uniform(0.05, 0.25) * stripes[None, :, None])
        return np.broadcast_to(paint, (height, width, 3))
    top = np.array([0.35, 0.55, 0.85]) * rng.uniform(0.5, 1.1)
    low = np.array([0.80, 0.85, 0.90]) * rng.uniform(0.6, 1.1)
    sky = top + blend * (low - top)
    cloud = noise(rng, (height, width), int(rng.integers(4, 14)))[..., None]
    return sky + rng.uniform(0, 0.5) * cloud * (0.9 - sky)


def _skyline(rng: np.random.Generator, width: int) -> Array:
    """Heights 0-1 of houses or trees across the picture, (W,)."""
    if rng.random() < 0.5:
        count = int(rng.integers(4, 12))
        return np.repeat(rng.random(count), -(-width // count))[:width]
    return 0.3 + 0.7 * noise(rng, (2, width), int(rng.integers(6, 30)))[0]


def _ground(rng: np.random.Generator, floor: Array, indoors: bool, rough: Array) -> Array:
    """Colour of the floor by its world coordinates (H, W, 2), (H, W, 3)."""
    colour = _cloth(rng) * 0.7 + 0.15
    if not indoors and rng.random() < 0.6:
        colour = np.full(3, rng.uniform(0.25, 0.6))
    other = colour * rng.uniform(0.55, 0.95) + rng.uniform(0, 0.1)
    turn = rng.uniform(0, np.pi)
    near = np.clip(floor, -60000, 60000).astype(np.float32)
    c, s = float(np.cos(turn)), float(np.sin(turn))
    u, v = near[..., 0] * c + near[..., 1] * s, near[..., 1] * c - near[..., 0] * s
    kind, step = int(rng.integers(4)), float(rng.uniform(200, 900))

    def odd(x: Array, period: float) -> Array:
        """Which of the stripes of this width lie at x: True for every second."""
        return (np.floor(x / period).astype(np.int32) & 1).astype(bool)

    if kind == 0:
        mask = odd(u, step) ^ odd(v, step)
    elif kind == 1:  # planks or kerbs
        mask = odd(u, step)
    elif kind == 2:  # a lane mark
        mask = (np.abs(u - step) < 90) & odd(v, 2500)
        other = np.full(3, rng.uniform(0.75, 0.95))
    else:
        mask = np.zeros(u.shape, bool)
    far = np.exp(np.sqrt(u * u + v * v) / -25000)  # patterns fade before they alias
    weight = (mask * far)[..., None]
    return (colour + weight * (other - colour)) * (0.85 + 0.3 * rough[..., None])


def _clutter(rng: np.random.Generator, picture: Array, horizon: int, camera: Camera) -> None:
    """Windows, posters, furniture, cars: boxes and discs behind the person, in place."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(2, 14))):
        w, h = np.exp(rng.uniform(np.log(0.03), np.log(0.4), 2)) * (width, height)
        x = rng.uniform(-0.1, 1) * width
        stands = rng.random() < 0.5
        y = horizon + rng.uniform(-0.02, 0.12) * height - h if stands else rng.uniform(0, horizon)
        x0, x1 = (int(np.clip(v, 0, width)) for v in (x, x + w))
        y0, y1 = (int(np.clip(v, 0, height)) for v in (y, y + h))
        part = picture[y0:y1, x0:x1]
        if not part.size:
            continue
        colour = _cloth(rng) * np.linspace(1, rng.uniform(0.6, 1), y1 - y0)[:, None, None]
        if rng.random() < 0.3:  # a disc, a bush, a lamp
            v = (np.arange(y0, y1) - y)[:, None] / h * 2 - 1
            u = (np.arange(x0, x1) - x)[None, :] / w * 2 - 1
            np.copyto(part, colour, where=(u * u + v * v < 1)[..., None])
            continue
        part[:] = colour
        if rng.random() < 0.5 and min(part.shape[:2]) > 6:  # frame, shelf, window bars
            inner = _cloth(rng)
            bars = int(rng.integers(1, 4))
            edge = max(1, int(0.06 * w))
            for k in range(bars):
                a, b = (x1 - x0) * k // bars + edge, (x1 - x0) * (k + 1) // bars - edge
                part[edge:-edge, a : max(a, b)] = inner


Box = tuple[int, int, int, int]


def shadow(place: Place, spots: Array, camera: Camera, strength: float) -> tuple[Box, Array]:
    """The shade of body parts on the floor: a box (x0, y0, x1, y1) of pixels and the share of light
    that is left there, (h, w).

    spots (N, 4): world x, height above the floor, z and half width, mm. A part throws a soft round
    shade straight down, fainter and wider with its height."""
    ground = np.stack([spots[:, 0], np.zeros(len(spots)), spots[:, 2]], -1)
    view = camera.view(ground)
    wide = 1.6 * spots[:, 3] + 0.25 * np.maximum(spots[:, 1], 0)
    centre = camera.project(view)
    reach = (1.1 * camera.focal * wide / np.maximum(view[:, 2], 300))[:, None]
    size = np.array(camera.size)
    x0, y0 = np.clip(np.floor((centre - reach).min(0)), 0, size).astype(int).tolist()
    x1, y1 = np.clip(np.ceil((centre + reach).max(0)) + 1, 0, size).astype(int).tolist()
    # every second pixel will do for something this soft
    floor_x, floor_z = place.floor[:, y0:y1:2, x0:x1:2]
    light = np.ones(floor_x.shape, np.float32)
    for x, _, z, half, radius in np.column_stack([spots, wide]).tolist():
        near = np.square(floor_x - x)
        near += np.square(floor_z - z)
        near = np.maximum(1 - near * (1 / radius**2), 0)
        light *= 1 - (strength * 1.6 * half / radius) * near * near
    return (x0, y0, x1, y1), light.repeat(2, 0).repeat(2, 1)[: y1 - y0, : x1 - x0]
