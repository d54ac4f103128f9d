"""A lifter on joints and pictures: forms, scale, cameras, and what is refused."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from bodyjax import camera, detect, lift, systems
from bodyjax.data.poses3d.rendered import as_lift16
from bodyjax.detect import detector
from bodyjax.errors import CheckpointError, ConfigError, DataError
from bodyjax.skeleton import COCO17
from configs import lifter as configs
from tests.picture_sets import knowing

LENS = np.array([300.0, 300.0, 64.0, 64.0], np.float32)


@pytest.fixture(scope="module")
def lifter():
    config = configs.get_config("maps")
    config.model.update({"width": 16, "blocks": 1})
    system = systems.build(config)
    variables = jax.jit(system.init)(jax.random.key(0))
    rng = np.random.default_rng(5)
    person = np.concatenate([rng.uniform(20, 90, (17, 2)), np.full((17, 1), 0.9)], -1)
    return lift.make(system, variables, knowing({0: [person]}))


def joints(count):
    rng = np.random.default_rng(count)
    return rng.uniform(10, 110, (count, 17, 2)), np.full((count, 17), 0.8)


def test_each_person_is_lifted_as_if_alone(lifter):
    xy, score = joints(5)
    every = lift.poses(lifter, xy, score, camera=LENS, height=[1500, 1600, 1700, 1800, 1900])
    assert every.shape == (5, 17, 3)
    np.testing.assert_array_equal(every[:, 0], 0.0)
    alone = lift.poses(lifter, xy[3:4], score[3:4], camera=LENS, height=1800)
    np.testing.assert_allclose(every[3:4], alone, rtol=1e-4, atol=1e-2)
    assert lift.poses(lifter, xy[:0], score[:0], camera=LENS).shape == (0, 17, 3)


def test_a_pose_grows_with_the_height_that_is_given(lifter):
    xy, score = joints(1)
    small, tall = (lift.poses(lifter, xy, score, camera=LENS, height=h) for h in (850, 1700))
    np.testing.assert_allclose(2 * small, tall, rtol=1e-5)


def test_missing_joints_may_hold_anything_and_nobody_is_nan(lifter):
    xy, score = joints(2)
    score[0, 4] = 0.0
    before = lift.poses(lifter, xy, score, camera=LENS)
    xy[0, 4], xy[1] = np.nan, np.nan
    after = lift.poses(lifter, xy, score, camera=LENS)
    np.testing.assert_array_equal(before[0], after[0])
    assert np.isnan(after[1]).all()


def test_the_lifters_joints_are_the_same_on_both_sides_of_the_device():
    xy, score = joints(3)
    xy[0, 3], score[1, 4] = np.nan, 0.0
    seen, sure = jax.jit(lift.seen_joints)(xy, score)
    table = as_lift16(xy, score, "coco17")
    np.testing.assert_allclose(sure, table[..., 2], atol=1e-6)
    np.testing.assert_allclose(seen, table[..., :2], atol=1e-4)


def test_what_cannot_be_a_camera_a_height_or_joints_is_told_in_one_line(lifter):
    xy, score = joints(2)
    for changes, words in (
        ({"camera": [0.0, 300, 64, 64]}, "focal length"),
        ({"camera": [300.0, 64, 64]}, "camera"),
        ({"camera": [np.nan, 300, 64, 64]}, "camera"),
        ({"height": 1.7}, "1700 mm"),
        ({"height": [1700.0, 170.0]}, "no person's height"),
    ):
        with pytest.raises(DataError, match=words):
            lift.poses(lifter, xy, score, **{"camera": LENS, **changes})
    with pytest.raises(DataError, match=r"\(P, 17, 2\)"):
        lift.poses(lifter, xy[:, :13], score, camera=LENS)


def test_people_of_a_picture(lifter, monkeypatch):
    xy, score = joints(1)
    none = np.zeros((1, 17), bool)
    xy, score = (np.concatenate([a, a]) for a in (xy, score))  # the second is below min_person
    picture = np.zeros((120, 160, 3), np.uint8)
    scores = np.array([0.7, 0.005])
    found = detect.PicturePeople(
        xy, score, ~none.repeat(2, 0), scores, 0, np.zeros((17, 2)), np.zeros(17)
    )
    seer = SimpleNamespace(skeleton=COCO17, settings=detect.Settings(min_person=0.4))
    monkeypatch.setattr(detector, "detect", lambda seer, picture: found)
    made = lift.make(systems.build(small()), lifter.variables, seer)
    (person,) = lift.people(made, picture, image_id=3)
    assert person["image_id"] == 3
    assert person["xyz"].shape == (17, 3)
    assert (person["scale"], person["height"]) == ("mean adult", 1700.0)
    assert person["camera_from"] == "assumed: 50 degrees"
    np.testing.assert_allclose(person["camera"], camera.assumed((120, 160)), rtol=1e-6)
    (given,) = lift.people(made, picture, camera=LENS, height=[1600.0])
    assert (given["scale"], given["camera_from"]) == ("given height", "given")
    expected = lift.poses(lifter, xy[:1], score[:1], camera=LENS, height=1600)[0]
    np.testing.assert_allclose(given["xyz"], expected, rtol=1e-4, atol=1e-2)
    with pytest.raises(DataError, match="2 heights for 1 people"):
        lift.people(made, picture, height=[1600.0, 1700.0])


def small():
    config = configs.get_config("maps")
    config.model.update({"width": 16, "blocks": 1})
    return config


def test_only_lifters_are_loaded():
    with pytest.raises(CheckpointError, match="system pose, not lifter"):
        lift.load("small")
    with pytest.raises(ConfigError, match="go with the detector"):
        lift.load("lifter", detector=SimpleNamespace(), size=128)


def test_the_second_look_is_the_configs_or_another_one_or_none(monkeypatch):
    asked = []
    monkeypatch.setattr(detect, "load", lambda name, **settings: asked.append((name, settings)))
    for settings in ({}, {"second": "other", "size": 192}, {"second": ""}):
        lift.load("lifter", **settings)
    assert asked == [
        ("small", {"second": "large"}),
        ("small", {"second": "other", "size": 192}),
        ("small", {"second": None}),
    ]


def test_the_shipped_lifter_stands_a_person_up():
    """A person as a camera at eye level sees them: the head up, legs apart, nearly flat."""
    made = lift.load("lifter", detector=SimpleNamespace(skeleton=COCO17))
    upright = {
        "nose": (100, 30), "eye": (96, 26), "ear": (92, 30), "shoulder": (82, 55),
        "elbow": (72, 85), "wrist": (70, 112), "hip": (90, 115), "knee": (88, 155),
        "ankle": (88, 195),
    }  # fmt: skip
    xy = np.zeros((1, 17, 2))
    for j, name in enumerate(COCO17.joints):
        x, y = upright[name.rpartition("_")[2]]
        xy[0, j] = (200 - x if name.startswith("left") else x), y  # facing the camera
    lens = np.array([500.0, 500.0, 100.0, 100.0])
    pose = lift.poses(made, xy, np.full((1, 17), 0.9), camera=lens, height=1700)[0]
    at = dict(zip(made.skeleton.joints, pose, strict=True))
    assert 450 < -at["head_top"][1] < 1000
    assert at["left_ankle"][1] > 600
    assert at["left_hip"][0] > 50 > -50 > at["right_hip"][0]
    assert abs(at["left_knee"][2]) < 250


def test_odd_cameras_heights_and_pictures_are_one_line(lifter):
    xy, score = joints(2)
    for camera_given in ([LENS] * 3, ["a"] * 4, [[1, 2], [3]], [np.nan] * 4):
        with pytest.raises(DataError, match=r"^camera: "):
            lift.poses(lifter, xy, score, camera=camera_given)
    for height in ([1700.0] * 3, "tall", None):
        with pytest.raises(DataError, match=r"^height: "):
            lift.poses(lifter, xy, score, camera=LENS, height=height)
    config = configs.get_config("tiny")
    with pytest.raises(ConfigError, match="config: is needed"):
        lift.make(systems.build(config), {}, lifter.detector)
    pictures = lift.make(systems.build(config), {}, lifter.detector, config)
    with pytest.raises(DataError, match="float64 is no picture"):
        lift.poses(pictures, xy, score, camera=LENS, picture=np.zeros((40, 50, 3)))
