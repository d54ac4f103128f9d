"""People by centres alone: every person once, joints at their places, middles computed."""

import jax
import numpy as np
import pytest

from bodyjax.detect import by_centers
from bodyjax.skeleton import BODY18, COCO17, convert
from tests import centers_reference as reference

SHAPE, STRIDE = (24, 24), 4
NECK, SHOULDERS = 1, (5, 2)
SETTINGS = by_centers.Settings(max_people=4)


def scene(*middles, size=14.0):
    """Maps of upright people about these places in cells, and their joints (P, 18, 2) in cells."""
    xy = np.stack([reference.FIGURE * size + (x, y - 0.3 * size) for x, y in middles])
    xy = convert(xy, np.full(xy.shape[:2], 2), COCO17, BODY18)[0]
    visible = np.ones(xy.shape[:2], bool)
    maps = reference.draw(xy, visible, list(BODY18.limbs), SHAPE).maps()
    heat, _, *rest = (np.asarray(part, np.float32) for part in maps)
    heat = heat[..., :18].copy()
    heat[..., NECK] = 0.0
    return (heat, *rest), xy


@pytest.fixture(scope="module")
def people():
    """The people of maps, by one compiled program."""
    return jax.jit(
        lambda *maps: by_centers.people(
            *maps, BODY18, stride=STRIDE, middles={NECK: SHOULDERS}, settings=SETTINGS
        )
    )


def test_each_person_is_found_once_where_they_are(people):
    maps, xy = scene((6, 12), (17, 12))
    found = jax.device_get(people(*maps))
    assert found.there.sum() == 2
    assert found.overflow == 0
    pixels = STRIDE * xy + (STRIDE - 1) / 2
    near = np.abs(found.xy[:2, None] - pixels).max((2, 3))
    assert near.min(1).max() < 1.0
    assert sorted(near.argmin(1)) == [0, 1]
    assert found.found[:2].all()
    assert (found.xy[2:] == 0).all()


def test_the_neck_lies_between_the_shoulders_with_the_lower_score(people):
    maps, _ = scene((12, 12))
    maps[0][..., SHOULDERS[0]] *= 0.5
    found = jax.device_get(people(*maps))
    np.testing.assert_allclose(found.xy[0, NECK], found.xy[0, SHOULDERS, :].mean(0), atol=1e-4)
    assert found.score[0, NECK] == found.score[0, SHOULDERS[0]] < found.score[0, SHOULDERS[1]]


def test_two_centres_of_one_person_are_one_person(people):
    maps, _ = scene((12, 12))
    heat, center, regress, offset = (part.copy() for part in maps)
    y, x = np.unravel_index(center.argmax(), center.shape)
    center[y + 4, x] = 0.6
    regress[y + 4, x] = regress[y, x] - (0, 4)
    found = jax.device_get(people(heat, center, regress, offset))
    assert found.there.sum() == 1
    assert found.center[0] == pytest.approx(center[y, x])


def test_a_map_without_centres_has_nobody(people):
    maps, _ = scene((12, 12))
    found = jax.device_get(people(maps[0], 0 * maps[1], *maps[2:]))
    assert not found.there.any()


def test_the_middles_of_a_network_are_those_that_it_has_no_channel_for():
    assert by_centers.middles((0, -1, 2, 1), (1, 2)) == {1: (3, 2)}
