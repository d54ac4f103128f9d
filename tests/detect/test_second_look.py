"""The second look: crops to the pixel, joints back in place, turns, and when the first stay."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from PIL import Image

from bodyjax import codec
from bodyjax.detect import second_look
from bodyjax.models.pose import Maps

FILL = 128.0
CUT = jax.jit(
    lambda levels, middle, side: second_look.crop(levels, middle, side, 24, FILL),
)


def picture(seed=0, shape=(40, 56)):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (*shape, 3)).astype(np.float32)


def halves(image):
    """The picture at full, half and quarter size."""
    out = [image]
    for _ in range(2):
        out.append(0.25 * sum(out[-1][y::2, x::2] for y in (0, 1) for x in (0, 1)))
    return tuple(out)


def bilinear(image, x, y):
    """The value at a fractional place, pixel by pixel; FILL outside."""
    total, (height, width) = np.zeros(3), image.shape[:2]
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            weight = (1 - abs(y - row)) * (1 - abs(x - column))
            inside = 0 <= row < height and 0 <= column < width
            total += weight * (image[row, column] if inside else FILL)
    return total


def reference_crop(levels, middle, side, size):
    """Crop by the definition: pixel q shows the place middle - side / 2 + (q + 0.5) side / size of
    the plane in which pixel p covers p - 0.5 to p + 0.5."""
    level = 0
    while level < len(levels) - 1 and side / size >= 2 ** (level + 1):
        level += 1
    out = np.zeros((size, size, 3))
    for row, column in np.ndindex(size, size):
        place = np.array(middle) - side / 2 + (np.array([column, row]) + 0.5) * side / size
        x, y = (place + 0.5) / 2**level - 0.5
        out[row, column] = bilinear(levels[level], x, y)
    return out


def test_a_crop_at_the_scale_of_the_picture_is_a_part_of_it():
    levels = halves(picture())
    # Pixels 10 to 33 across, 5 to 28 down: their middle lies between two pixels.
    cut = CUT(levels, jnp.array([21.5, 16.5]), jnp.float32(24))
    np.testing.assert_allclose(cut, levels[0][5:29, 10:34], atol=1e-3)


@pytest.mark.parametrize("level", [1, 2])
def test_smaller_levels_are_used_where_pixels_would_be_skipped(level):
    levels = halves(picture(1, (96, 96)))
    side = 24.0 * 2**level
    middle = np.array([40.0, 44.0]) + side / 2 - 0.5 - 40 % 2**level
    cut = CUT(levels, jnp.asarray(middle, jnp.float32), jnp.float32(side))
    x, y = (int(v) // 2**level for v in (40 - 40 % 2**level, 44 - 40 % 2**level))
    expected = np.full((24, 24, 3), FILL)
    part = levels[level][y : y + 24, x : x + 24]
    expected[: part.shape[0], : part.shape[1]] = part
    np.testing.assert_allclose(cut, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("middle", "side"),
    [
        ((20.3, 17.8), 11.0),
        ((27.5, 19.5), 47.9),
        ((27.5, 19.5), 48.0),
        ((30.2, 9.1), 70.0),
        ((1.0, 38.0), 20.0),
        ((54.0, 2.0), 100.0),
        ((200.0, -90.0), 30.0),
    ],
)
def test_crop_is_bilinear_and_filled_beyond_the_edge(middle, side):
    levels = halves(picture(2))
    cut = CUT(levels, jnp.array(middle), jnp.float32(side))
    np.testing.assert_allclose(cut, reference_crop(levels, middle, side, 24), atol=0.02)


def test_enlarging_is_that_of_pil():
    image = picture(3, (24, 24))
    levels = halves(image)
    cut = np.asarray(second_look.crop(levels, jnp.array([11.5, 11.5]), jnp.float32(8), 24, FILL))
    theirs = np.stack(
        [
            np.asarray(
                Image.fromarray(image[..., c]).resize((24, 24), Image.BILINEAR, (8, 8, 16, 16))
            )
            for c in range(3)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(cut[2:-2, 2:-2], theirs[2:-2, 2:-2], atol=0.02)


def test_crop_boxes():
    xy = np.zeros((4, 5, 2), np.float32)
    score = np.zeros((4, 5), np.float32)
    xy[0] = [(10, 20), (50, 30), (20, 100), (300, 300), (0, 0)]
    score[0] = (0.9, 0.5, 0.3, 0.04, 0.0)  # an unsure joint and an absent one don't count
    xy[1] = [(10, 20), (50, 30), (20, 100), (0, 0), (0, 0)]
    score[1] = (0.9, 0.5, 0.01, 0.0, 0.0)  # with fewer than three sure ones all count
    xy[2], score[2] = (40, 41), 0.9  # all at one place
    middle, side = second_look.crop_boxes(xy, score, 32.0)
    np.testing.assert_allclose(middle, [(30, 60), (30, 60), (40, 41), (0, 0)])
    np.testing.assert_allclose(side, [100, 100, 32, 32])
    assert second_look.ENLARGED == 1.25


# ---- look, with a network that knows where dots are


DOTS = 4
SAMPLED = 0.06
"""Pixels by which the centroid of a dot's samples differs from the dot; places are exact."""


def dot_picture(places, shape=(96, 128), sigma=1.3):
    """Joint j of DOTS is a smooth dot in its own colour; black elsewhere."""
    colours = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0))
    y, x = np.mgrid[: shape[0], : shape[1]]
    out = np.zeros((*shape, 3))
    for (px, py), colour in zip(places, colours, strict=True):
        dot = np.exp(-0.5 * ((x - px) ** 2 + (y - py) ** 2) / sigma**2)
        out += 255 * dot[..., None] * np.array(colour)
    return out.astype(np.float32)


def see_dots(crop, upright=False):
    """The centroid of each colour: joints (DOTS, 2), scores. upright: unsure where the first dot is
    not the highest."""
    red, green, blue = (crop[..., c] for c in range(3))
    both = jnp.minimum(red, green)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(crop.shape[1]), jnp.arange(crop.shape[0])), -1)

    def centroid(map_):
        total = jnp.maximum(map_.sum(), 1e-6)
        return (map_[..., None] * grid).sum((0, 1)) / total

    xy = jnp.stack([centroid(map_) for map_ in (red - both, green - both, blue, both)])
    sure = jnp.full(DOTS, 0.9)
    if upright:
        sure = jnp.where((xy[0, 1] < xy[1:, 1].min() - 5).all(), 0.9, 0.1) * jnp.ones(DOTS)
    return xy, sure


def looking(see, **options):
    chosen = {"size": 64, "least": 8.0, "fill": 0.0, "agree": 0.25} | options
    return functools.partial(second_look.look, see, **chosen)


LOOK = jax.jit(looking(see_dots))
PLACES = np.array([(60.2, 20.7), (48.5, 44.1), (71.9, 47.3), (58.8, 66.6)])


def guess(places=PLACES, slots=3, error=2.0):
    """A first look that is off, in the second of some slots."""
    xy = np.zeros((slots, DOTS, 2), np.float32)
    xy[1] = places + error * np.array([(1, -1), (-1, 1), (1, 1), (-1, -1)])
    score = np.zeros((slots, DOTS), np.float32)
    score[1] = 0.5
    return xy, score, score.any(-1)


def test_joints_come_back_in_place_and_empty_slots_stay():
    xy, score, there = guess()
    looked = LOOK(halves(dot_picture(PLACES)), xy, score, there)
    np.testing.assert_allclose(looked.xy[1], PLACES, atol=SAMPLED)
    np.testing.assert_allclose(looked.score[1], 0.9)
    assert looked.taken.tolist() == [False, True, False]
    np.testing.assert_allclose(looked.mean, [0, 0.9, 0], rtol=1e-5)
    side = float(second_look.crop_boxes(xy, score, 8.0)[1][1])
    np.testing.assert_allclose(looked.apart, [1, np.sqrt(8) / side, 1], rtol=0.02)
    for row in (0, 2):
        assert not np.asarray(looked.xy[row]).any()
        assert not np.asarray(looked.score[row]).any()


@pytest.mark.parametrize("at", [(31.5, 31.5), (0.0, 63.0), (12.25, -3.5)])
def test_places_of_a_crop_map_back_exactly(at):
    """A network that always says the same place of the crop."""

    def see(crop):
        return jnp.broadcast_to(jnp.array(at, jnp.float32), (DOTS, 2)), jnp.full(DOTS, 0.9)

    xy, score, there = guess()
    middle, side = (np.asarray(part[1], float) for part in second_look.crop_boxes(xy, score, 8.0))
    looked = looking(see, agree=9.0)(halves(dot_picture(PLACES)), xy, score, there)
    expected = middle - side / 2 + (np.array(at) + 0.5) * side / 64
    np.testing.assert_allclose(looked.xy[1], np.broadcast_to(expected, (DOTS, 2)), atol=0.01)


def test_where_the_second_look_disagrees_the_first_joints_stay():
    xy, score, there = guess(error=0.0)
    xy[1] += (25, 0)
    xy[1, 0, 1] -= 20  # the crop still holds the dots
    looked = LOOK(halves(dot_picture(PLACES)), xy, score, there)
    assert not looked.taken.any()
    np.testing.assert_array_equal(looked.xy, xy)
    np.testing.assert_array_equal(looked.score, score)
    assert float(looked.apart[1]) > 0.25
    assert float(looked.mean[1]) == pytest.approx(0.9)


def test_joints_that_the_first_look_was_unsure_of_have_no_say():
    xy, score, there = guess(error=0.0)
    xy[1, :2] += 30
    score[1, :2] = 0.01
    levels = halves(dot_picture(PLACES))
    looked = looking(see_dots, agree=0.05)(levels, xy, score, there)
    assert looked.taken.tolist() == [False, True, False]
    score[1] = 0.01  # nobody to agree with: the first joints stay
    looked = looking(see_dots, agree=0.05)(levels, xy, score, there)
    assert not looked.taken.any()
    np.testing.assert_array_equal(looked.xy, xy)
    assert float(looked.apart[1]) == 1


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_turned_people_are_seen_upright(turns):
    """The picture turned: a network that knows dots only when the first is on top."""
    image = dot_picture(PLACES, (128, 128))
    x, y = PLACES.T
    places = [(x, y), (y, 127 - x), (127 - x, 127 - y), (127 - y, x)][turns]
    places = np.stack(places, -1)
    image = np.ascontiguousarray(np.rot90(image, turns))
    xy, score, there = guess(places)
    looked = TURNED(halves(image), xy, score, there)
    assert bool(looked.taken[1])
    np.testing.assert_allclose(looked.xy[1], places, atol=SAMPLED)
    np.testing.assert_allclose(looked.score[1], 0.9)


TURNED = jax.jit(looking(second_look.turned(functools.partial(see_dots, upright=True))))


def test_the_upright_look_alone_is_taken_where_it_is_sure():
    def see(crop):
        """Surest when turned, by the pixel in the corner."""
        sure = jnp.where(crop[0, 0, 0] > 0, 0.6, 0.9)
        return jnp.full((DOTS, 2), crop[0, 0, 0]), jnp.full(DOTS, sure)

    crop = np.zeros((8, 8, 3), np.float32)
    crop[0, 0] = 5
    xy, score = second_look.turned(see)(jnp.asarray(crop))
    np.testing.assert_allclose(score, 0.6)
    assert float(xy[0, 0]) == 5


def test_jit_vmap_and_export_are_the_same():
    pictures = [dot_picture(PLACES), dot_picture(PLACES + np.array([5, -3]))]
    stacked = tuple(np.stack(level) for level in zip(*map(halves, pictures), strict=True))
    xy, score, there = guess()
    lists = tuple(np.stack([part, part]) for part in (xy, score, there))
    look = looking(second_look.turned(see_dots))
    many = jax.jit(jax.vmap(look))(stacked, *lists)
    program = export.export(jax.jit(look), platforms=["cpu", "cuda", "tpu"])(
        halves(pictures[0]), xy, score, there
    )
    loaded = export.deserialize(program.serialize())
    for i, image in enumerate(pictures):
        one = LOOK(halves(image), xy, score, there)
        again = loaded.call(halves(image), xy, score, there)
        assert isinstance(again, second_look.Look)
        for name in second_look.Look._fields:
            for other in (getattr(many, name)[i], getattr(again, name)):
                np.testing.assert_allclose(getattr(one, name), other, atol=1e-3, err_msg=name)


# ---- single


def test_single_is_the_person_in_the_middle():
    """Two people's maps, one at the side with a higher centre."""
    rng = np.random.default_rng(5)
    places = rng.uniform(-4, 4, (2, DOTS, 2)) + np.array([(12, 11), (3, 4)])[:, None]
    y, x = np.mgrid[:24, :24]
    grid = np.stack([x, y], -1).astype(float)
    heat, offset = np.zeros((24, 24, DOTS)), np.zeros((24, 24, DOTS, 2))
    center, regress = np.zeros((24, 24)), np.zeros((24, 24, DOTS, 2))
    for person, (middle, score) in zip(places, (((12, 11), 0.7), ((3, 4), 0.9)), strict=True):
        for j in range(DOTS):
            dot = np.exp(-0.5 * ((grid - person[j]) ** 2).sum(-1))
            offset[..., j, :] = np.where(
                (dot > heat[..., j])[..., None], person[j] - grid, offset[..., j, :]
            )
            heat[..., j] = np.maximum(heat[..., j], dot)
        center[middle[1], middle[0]] = score
        regress[middle[1], middle[0]] = person + rng.normal(0, 0.5, (DOTS, 2)) - middle
    parts = (jnp.asarray(part, jnp.float32) for part in (center, regress, offset))
    maps = Maps(jnp.asarray(heat, jnp.float32), jnp.zeros((24, 24, 2)), *parts)
    xy, score = jax.jit(lambda maps: second_look.single(maps, 4, 0.25))(maps)
    np.testing.assert_allclose(xy, codec.cells_to_pixels(places[0], 4), atol=1e-3)
    assert (np.asarray(score) > 0.75).all()


def test_the_neck_lies_between_the_shoulders_and_is_as_sure_as_the_less_sure_one():
    xy = jnp.array([[0.0, 0.0], [9.0, 9.0], [4.0, 2.0], [8.0, 6.0]])
    score = jnp.array([0.9, 0.0, 0.3, 0.8])
    found, sure = second_look.between(xy, score, (1,), (2, 3))
    np.testing.assert_allclose(found, [[0, 0], [6, 4], [4, 2], [8, 6]])
    np.testing.assert_allclose(sure, [0.9, 0.3, 0.3, 0.8], rtol=1e-6)
    alone = second_look.between(xy, score, (), ())
    assert alone[0] is xy
    assert alone[1] is score
