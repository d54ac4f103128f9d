"""From canvases to people: mirror and scales of all maps, the second look in its canvas, settings.

The network here finds dots by their colour and says the maps of CenterPose's form about them.
"""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import detect, skeleton
from bodyjax.detect import canvas, person_score
from bodyjax.errors import ConfigError
from bodyjax.models.pose import CenterPose, Maps
from bodyjax.skeleton import COCO17

SIZE, STRIDE = 64, 4
FOUR = skeleton.make("four", "nose neck middle foot", "nose-neck neck-middle middle-foot")
COLOURS = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)])


def colours(image):
    """How red, green, blue and yellow each pixel is, grey being none of them: (..., 4)."""
    red, green, blue = (image[..., c] for c in range(3))
    high, low = jnp.maximum, jnp.minimum
    parts = (red - high(green, blue), green - high(red, blue), blue - high(red, green),
             low(red, green) - blue)  # fmt: skip
    return jnp.maximum(jnp.stack(parts, -1), 0.0)


def dots(variables, image):
    """Perfect maps (B = 1) of the one person whose joints are the centroids of the colours, moved
    by variables (2,) pixels. Where there is no colour: nobody."""
    light = colours(image.astype(jnp.float32))[0]
    height, width = light.shape[:2]
    grid = jnp.stack(jnp.meshgrid(jnp.arange(width), jnp.arange(height)), -1)
    total = light.sum((0, 1))
    xy = (light[..., None] * grid[:, :, None]).sum((0, 1)) / jnp.maximum(total, 1e-6)[:, None]
    cells = (xy + variables - (STRIDE - 1) / 2) / STRIDE
    there = (total > 500).astype(jnp.float32)
    cell = jnp.stack(jnp.meshgrid(*(jnp.arange(n // STRIDE) for n in (width, height))), -1)
    away = cells - cell[:, :, None]
    heat = 0.9 * there * jnp.exp(-0.5 * jnp.square(away).sum(-1))
    middle = jnp.square(cells.mean(0) - cell).sum(-1)
    center = 0.8 * there.min() * jnp.exp(-0.5 * middle)
    heat = jnp.concatenate([heat, 1 - heat.max(-1, keepdims=True)], -1)
    pafs = jnp.zeros((*center.shape, 6))
    return Maps(heat[None, None], pafs[None, None], *(one[None] for one in (center, away, away)))


MODEL: Any = CenterPose(backbone=SimpleNamespace(strides=(4, 32)), order=(), between=(0, 1))
DOTS: Any = SimpleNamespace(bones=FOUR, model=MODEL, maps=dots, heads=dots)


def picture(places, shape, sigma):
    y, x = np.mgrid[: shape[0], : shape[1]]
    out = np.zeros((*shape, 3))
    for (px, py), colour in zip(places, COLOURS, strict=True):
        dot = np.exp(-0.5 * ((x - px) ** 2 + (y - py) ** 2) / sigma**2)
        out += 255 * dot[..., None] * colour
    return np.round(out.clip(0, 255)).astype(np.uint8)


# ---- mirror and scales


def random_maps(rng, bones=COCO17):
    joints, limbs = len(bones.joints), len(bones.limbs)
    shapes = ((joints,), (2 * limbs,), (), (joints, 2), (joints, 2))
    return Maps(*(jnp.asarray(rng.normal(size=(2, 5, 7, *s)), jnp.float32) for s in shapes))


def test_mirrored_twice_is_the_same():
    maps = random_maps(np.random.default_rng(0))
    once = canvas.mirrored(maps, COCO17)
    jax.tree.map(np.testing.assert_array_equal, canvas.mirrored(once, COCO17), maps)
    assert all(np.asarray(a != b).any() for a, b in zip(once, maps, strict=True))
    fields = Maps(maps.heatmaps, maps.pafs)
    assert canvas.mirrored(fields, COCO17)[2:] == (None, None, None)


def test_mirrored_maps_say_where_the_mirrored_joints_are():
    maps = random_maps(np.random.default_rng(1))
    back = canvas.mirrored(maps, COCO17)
    left, right = COCO17.index("left_wrist"), COCO17.index("right_wrist")
    for y, x in ((0, 0), (2, 3), (4, 6)):
        assert float(back.center[1, y, x]) == float(maps.center[1, y, 6 - x])
        for ours, theirs in ((back.regress, maps.regress), (back.offset, maps.offset)):
            # x + regression is a place; its mirror image is 6 - that.
            place = x + float(ours[1, y, x, left, 0])
            other = 6 - x + float(theirs[1, y, 6 - x, right, 0])
            assert place == pytest.approx(6 - other, abs=1e-5)
            assert float(ours[1, y, x, left, 1]) == float(theirs[1, y, 6 - x, right, 1])


def symmetric(variables, image):
    """Maps that turn with the mirror: all from brightness; left joints lie right of a middle."""
    light = image.astype(jnp.float32).mean(-1)
    cells = (light.shape[1] // STRIDE, STRIDE)
    light = light.reshape(1, *cells, *cells).mean((2, 4)) / 255
    joints = len(COCO17.joints)
    side = [name.startswith("left") * 1.0 - name.startswith("right") for name in COCO17.joints]
    low = np.minimum(np.arange(joints), COCO17.mirror) / 4 - 2
    move = jnp.stack([jnp.array(side) * 3, low], -1)
    regress = jnp.broadcast_to(move, (*light.shape, joints, 2)) * variables
    heat = jnp.repeat(light[..., None], joints + 1, -1)
    # A limb from left to right is its own mirror image, backwards: its x stays.
    across = np.array([COCO17.mirror[a] == b for a, b in COCO17.limbs])
    pafs = light[..., None, None] * jnp.stack([across, ~across], -1)
    pafs = pafs.reshape(*light.shape, -1)
    return Maps(heat[None], pafs[None], light, regress, 0.1 * regress)


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0)])
def test_a_symmetric_network_sees_the_same_with_and_without_the_mirror(scales):
    system: Any = SimpleNamespace(bones=COCO17, model=MODEL, maps=symmetric)
    y, x = np.mgrid[:SIZE, :SIZE]
    lights = (np.exp(-((x - a) ** 2 + (y - b) ** 2) / 80) for a, b in ((20, 30), (44.5, 28)))
    image = np.repeat((200 * sum(lights))[..., None], 3, -1).astype(np.float32)

    def both(image):
        chosen = canvas.Settings(size=SIZE, scales=scales)
        mirror = canvas.Settings(size=SIZE, scales=scales, flip=True)
        return [canvas.averaged_maps(system, 1.0, image, one) for one in (chosen, mirror)]

    plain, flipped = jax.jit(both)(image)
    for ours, theirs in zip(flipped, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def people(maps):
        return canvas.detections(maps, COCO17, STRIDE, canvas.Settings(size=SIZE))

    if scales == (1.0,):
        found = [jax.jit(people)(maps) for maps in (plain, flipped)]
        assert int(found[0].count) > 0
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), *found)


@pytest.mark.parametrize("cells", [12, 6, 18])
def test_regression_and_offsets_grow_with_the_cells(cells):
    """Cells that all point at one place do so at every size: place g is 2 g + 0.5 at twice."""
    target = np.array([5.3, 6.8])
    y, x = np.mgrid[:12, :12]
    away = (target - np.stack([x, y], -1))[None, :, :, None]
    maps = Maps(*(jnp.zeros((1, 12, 12, n)) for n in (1, 2)), jnp.zeros((1, 12, 12)), away, away)
    out = canvas.resized(maps, cells)
    y, x = np.mgrid[:cells, :cells]
    expected = (target + 0.5) * cells / 12 - 0.5 - np.stack([x, y], -1)
    for part in (out.regress, out.offset):
        np.testing.assert_allclose(part[0, 1:-1, 1:-1, 0], expected[1:-1, 1:-1], atol=1e-4)
    assert canvas.resized(Maps(*maps[:2]), cells)[2:] == (None, None, None)


# ---- the second look

PLACES = np.array([(61.3, 32.2), (66.9, 50.5), (58.2, 68.1), (70.4, 91.7)])
SETTINGS = canvas.Settings(size=SIZE, second_size=SIZE)


@pytest.fixture(scope="module")
def looking():
    return jax.jit(canvas.second_predictor(DOTS, DOTS, SETTINGS))


def moved(first, second=(0.0, 0.0)):
    return {"first": jnp.array(first), "second": jnp.array(second)}


def one(found):
    """The only person of Detections: joints and scores."""
    assert int(found.count) == 1
    assert (np.asarray(found.person_score) > 0).tolist() == [True] + [False] * 19
    return np.asarray(found.xy[0]), np.asarray(found.score[0])


@pytest.mark.parametrize("error", [(0.0, 0.0), (1.5, -1.0)])
def test_the_second_look_is_right_in_the_pixels_of_its_canvas(looking, error):
    image = picture(PLACES, (2 * SIZE, 2 * SIZE), 2.5)
    found = looking(moved(error), image)
    xy, score = one(found)
    assert np.abs(xy - PLACES).max() < 0.15
    assert (score > 0.5).all()
    assert found.found[0].all()
    assert found.evidence.shape == (20, len(person_score.SECOND))
    assert float(found.evidence[0, person_score.SECOND.index("taken")]) == 1
    # The maxima are those of the first look, in the same pixels.
    assert np.abs(np.asarray(found.maxima_xy) - PLACES - 2 * np.array(error)).max() < 0.5


def test_the_first_joints_are_in_the_same_pixels_where_they_stay(looking):
    """The second network is off by half its crop: nobody believes it."""
    image = picture(PLACES, (2 * SIZE, 2 * SIZE), 2.5)
    found = looking(moved((0.0, 0.0), (30.0, 0.0)), image)
    xy, _ = one(found)
    assert np.abs(xy - PLACES).max() < 0.5
    assert float(found.evidence[0, person_score.SECOND.index("taken")]) == 0


def test_nobody_is_looked_at_in_an_empty_canvas(looking):
    found = looking(moved((0.0, 0.0)), np.full((2 * SIZE, 2 * SIZE, 3), 90, np.uint8))
    assert int(found.count) == 0
    assert not np.asarray(found.person_score).any()
    assert not np.asarray(found.score).any()
    assert np.isfinite(found.evidence).all()
    assert np.isfinite(found.xy).all()


def test_people_are_followed_until_they_are_lost():
    follow = jax.jit(canvas.follower(DOTS, SETTINGS))
    xy, score = np.zeros((3, 4, 2), np.float32), np.zeros((3, 4), np.float32)
    xy[1], score[1] = PLACES + np.array([2.0, -1.5]), 0.8
    person = np.array([0, 0.7, 0], np.float32)
    image = picture(PLACES, (2 * SIZE, 2 * SIZE), 2.5)
    found = follow(moved((0.0, 0.0)), image, xy, score, person)
    assert np.abs(np.asarray(found.xy[1]) - PLACES).max() < 0.15
    np.testing.assert_allclose(found.person_score, person)
    assert int(found.count) == 1
    gone = follow(moved((0.0, 0.0)), np.zeros_like(image), xy, score, person)
    assert not np.asarray(gone.person_score).any()
    assert not np.asarray(gone.score).any()


def test_halves_are_means_of_four_pixels():
    image = np.arange(4 * 6 * 3, dtype=np.float32).reshape(4, 6, 3)
    half = canvas.halved(jnp.asarray(image))
    assert half.shape == (2, 3, 3)
    np.testing.assert_allclose(half[1, 2], image[2:4, 4:6].mean((0, 1)))


# ---- pictures of odd sizes


@pytest.mark.parametrize("flip", [False, True])
def test_pictures_of_odd_width_are_mirrored_in_place(flip):
    detector = detect.make(DOTS, jnp.zeros(2), canvas.Settings(size=SIZE, flip=flip))
    for shape in ((97, 65), (51, 33), (64, 63), (33, 101)):
        places = np.array([(0.4, 0.25), (0.55, 0.4), (0.45, 0.6), (0.6, 0.8)]) * shape[::-1]
        scale = max(shape) / SIZE
        found = detect.detect(detector, picture(places, shape, 1.8 * scale))
        assert len(found.xy) == 1
        assert found.found.all()
        assert np.abs(found.xy[0] - places).max() < 0.3 * scale


# ---- settings


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"size": 8}, "size"),
        ({"second_size": 100}, "second_size"),
        ({"second_size": 0}, "second_size"),
        ({"scales": [1.0, -1.0]}, "scales"),
        ({"refine": None}, "refine"),
        ({"min_person": 1.5}, "min_person"),
        ({"min_person": float("nan")}, "min_person"),
        ({"ranking": [1.0, 2.0]}, "ranking"),
        ({"ranking_second": [1.0]}, "ranking_second"),
        ({"secondsize": 64}, "secondsize"),
    ],
)
def test_settings_that_are_none_are_told_in_one_line(fields, place):
    with pytest.raises(ConfigError, match=f"detect.{place}: ") as caught:
        canvas.merged(fields)
    assert "\n" not in str(caught.value)
