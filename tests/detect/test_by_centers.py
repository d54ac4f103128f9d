"""People by centres alone: every person once, joints at their places, middles computed."""

import jax
import numpy as np
import pytest

from bodyjax.detect import by_centers, canvas
from bodyjax.detect.settings import Settings
from bodyjax.errors import ConfigError
from bodyjax.models.pose import Maps
from bodyjax.skeleton import COCO17
from tests import centers_reference as reference

SHAPE, STRIDE = (24, 24), 4
SETTINGS = by_centers.Settings(max_people=4)


def scene(*middles, size=14.0):
    """Maps of upright people about these places in cells, and their joints (P, 17, 2) in cells."""
    xy = np.stack([reference.FIGURE * size + (x, y - 0.3 * size) for x, y in middles])
    visible = np.ones(xy.shape[:2], bool)
    maps = reference.draw(xy, visible, list(COCO17.limbs), SHAPE).maps()
    heat, _, *rest = (np.asarray(part, np.float32) for part in maps)
    return (heat[..., :17], *rest), xy


@pytest.fixture(scope="module")
def people():
    """The people of maps, by one compiled program."""
    return jax.jit(lambda *maps: by_centers.people(*maps, COCO17, stride=STRIDE, settings=SETTINGS))


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


def test_two_centres_of_one_person_are_one_person(people):
    maps, _ = scene((12, 12))
    heat, center, regress, offset = (part.copy() for part in maps)
    y, x = np.unravel_index(center.argmax(), center.shape)
    center[y + 4, x] = 0.6
    regress[y + 4, x] = regress[y, x] - (0, 4)
    found = jax.device_get(people(heat, center, regress, offset))
    assert found.there.sum() == 1
    assert found.center[0] == pytest.approx(center[y, x])


def test_a_network_of_heads_alone_is_read_by_its_centres():
    """The detector's own decoding of such maps is this one, and it can't group by fields."""
    maps, xy = scene((6, 12), (17, 12))
    heat, center, regress, offset = maps
    alone = Maps(heat, heat[..., :0], center, regress, offset)
    found = canvas.detections(alone, COCO17, STRIDE, Settings(center_threshold=0.25))
    assert (np.asarray(found.person_score) > 0).sum() == 2
    pixels = STRIDE * xy + (STRIDE - 1) / 2
    near = np.abs(np.asarray(found.xy)[:2, None] - pixels).max((2, 3))
    assert near.min(1).max() < 1.0
    with pytest.raises(ConfigError, match="gives no fields"):
        canvas.detections(alone, COCO17, STRIDE, Settings(by_fields=True))


def test_a_map_without_centres_has_nobody(people):
    maps, _ = scene((12, 12))
    found = jax.device_get(people(maps[0], 0 * maps[1], *maps[2:]))
    assert not found.there.any()
