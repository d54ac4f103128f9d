"""Lifters from pictures at use: crops around people, places carried back, and time."""

from __future__ import annotations

import numpy as np
import pytest

from bodyjax import lift
from bodyjax.errors import ConfigError
from bodyjax.lift import crops
from bodyjax.lift.motions import Motion
from bodyjax.skeleton import COCO17
from tests.picture_sets import knowing

LENS = np.array([300.0, 320.0, 40.0, 30.0], np.float32)


def brightest(variables, image, camera, height):
    """A network that finds every joint at the middle of what is bright in the crop, in space where
    the crop's camera sees it `height` away; the other joints hang below the first."""
    light = np.asarray(image, float)[..., 0]
    light = np.where(light > 128, light, 0.0)
    rows, columns = np.indices(light.shape[1:])
    total = light.sum((1, 2))
    x, y = ((light * part).sum((1, 2)) / total for part in (columns, rows))
    ray = np.stack([(x - camera[:, 2]) / camera[:, 0], (y - camera[:, 3]) / camera[:, 1]], -1)
    place = np.concatenate([ray, np.ones_like(ray[:, :1])], -1) * np.asarray(height)[:, None]
    spread = place[:, None] + np.linspace(0, 1600, 17)[:, None] * [0, 1, 0]
    return spread, np.repeat(np.stack([x, y], -1)[:, None], 17, 1), np.ones((len(x), 17))


SEEING = crops.Crops(64, 0.8, brightest)


def spotted(*places, size=(60, 80)):
    """A picture with a bright square of 5 pixels about each place (x, y)."""
    picture = np.zeros((*size, 3), np.uint8)
    for x, y in places:
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    return picture


def test_joints_in_a_crop_are_places_of_the_picture_and_rays_of_its_camera():
    places = np.array([[20, 25], [60, 40], [12, 50]])
    box = np.concatenate([places - [8, 6], places + np.array([8, 12])], 1)
    lens, tall = np.tile(LENS, (3, 1)), np.array([1000.0, 1500, 2000])
    seen = crops.by_boxes(SEEING, None, spotted(*places), box, lens, tall)
    np.testing.assert_allclose(seen.xy, places[:, None].repeat(17, 1), atol=0.15)
    rays = np.concatenate([(places - LENS[2:]) / LENS[:2], np.ones((3, 1))], 1)
    np.testing.assert_allclose(seen.xyz[:, 0], rays * tall[:, None], atol=1.5)
    none = crops.by_boxes(SEEING, None, spotted(), box[:0], lens[:0], tall[:0])
    assert none.xyz.shape == (0, 17, 3)


def test_people_are_looked_at_where_their_joints_are_and_nobody_is_nan():
    lifter = lift.Lifter(None, None, knowing({}), crops=SEEING)
    rng = np.random.default_rng(0)
    place = np.array([30, 28])
    xy = place + rng.uniform(-8, 8, (2, 17, 2))
    score = np.ones((2, 17))
    score[1] = 0
    found = lift.poses(lifter, xy, score, camera=LENS, height=1600, picture=spotted(place))
    ray = np.append((place - LENS[2:]) / LENS[:2], 1)
    np.testing.assert_allclose(found[0, 0], ray * 1600, atol=1.5)
    assert np.isnan(found[1]).all()
    with pytest.raises(ConfigError, match="joints alone are not enough"):
        lift.poses(lifter, xy, score, camera=LENS)


def motion(places, frames):
    xy = np.asarray(places, float)[:, None] + np.random.default_rng(1).uniform(-9, 9, (1, 17, 2))
    count = len(frames)
    nowhere = np.full((count, 17, 3), np.nan)
    times = np.asarray(frames) / 10
    return Motion(0, np.asarray(frames), times, xy, np.ones((count, len(COCO17.joints))), nowhere,
                  nowhere[:, 0])  # fmt: skip


def test_each_person_is_seen_in_their_frames_and_smoothed_over_time():
    rng = np.random.default_rng(4)
    places = np.rint(np.array([40, 30]) + rng.normal(0, 2, (12, 2))).astype(int)
    frames = [spotted(place) for place in places]
    still, late = motion(places, range(12)), motion(places[5:9], range(5, 9))
    one, two = crops.over_frames(SEEING, None, frames, [still, late], LENS, 1700.0)
    rays = np.concatenate([(places - LENS[2:]) / LENS[:2], np.ones((12, 1))], 1) * 1700
    assert one.shape == (12, 17, 3)
    assert two.shape == (4, 17, 3)
    np.testing.assert_allclose(one[0, 0], rays[0], atol=1.5)
    np.testing.assert_allclose(two[0, 0], rays[5], atol=1.5)

    def jumps(path):
        return np.abs(np.diff(path, axis=0))[:, :2].mean()

    assert jumps(one[:, 0]) < 0.8 * jumps(rays)
    assert np.abs(one[:, 0].mean(0) - rays.mean(0)).max() < 10
