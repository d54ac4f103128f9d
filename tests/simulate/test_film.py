"""Pictures and their labels: exact projection, depth, determinism, nothing tells the class."""

import numpy as np
import pytest

from bodyjax import skeleton
from bodyjax.simulate import film
from bodyjax.simulate.motion import COMMANDS

SMALL = {"size": (96, 72), "length": (10, 14)}


@pytest.fixture(scope="module")
def clips():
    labels = (*COMMANDS, "squat")
    return {label: film.clip(label, 11, **SMALL) for label in labels}


def test_shapes_and_types(clips):
    for clip in clips.values():
        made = clip.film
        t = len(made.frames)
        assert 10 <= t <= 14
        assert made.frames.shape == (t, 72, 96, 3)
        assert made.frames.dtype == np.uint8
        assert made.xy.shape == (t, 1, 17, 2)
        assert made.visible.shape == (t, 1, 17)
        assert set(np.unique(made.visible)) <= {0, 1, 2}
        assert made.xyz.shape == made.h36m.shape == (t, 1, 17, 3)
        assert made.depth.shape == (t, 72, 96)


def test_xyz_projects_to_xy(clips):
    for clip in clips.values():
        made = clip.film
        camera = made.camera.to_json()
        point = made.xyz @ np.array(camera["matrix"]).T
        np.testing.assert_allclose(point[..., :2] / point[..., 2:], made.xy, atol=1e-4)


def test_h36m_and_coco_agree(clips):
    coco, h36m = skeleton.get("coco17").joints, skeleton.get("h36m17").joints
    both = set(coco) & set(h36m)
    assert len(both) == 12
    made = clips["stop"].film
    for name in both:
        np.testing.assert_array_equal(
            made.xyz[:, :, coco.index(name)], made.h36m[:, :, h36m.index(name)]
        )
    middle = (
        made.h36m[:, :, h36m.index("left_hip")] + made.h36m[:, :, h36m.index("right_hip")]
    ) / 2
    np.testing.assert_allclose(made.h36m[:, :, 0], middle, atol=1e-6)


def test_visible_agrees_with_the_depth_map():
    """A seen joint lies at most a body part's thickness under the depth map's surface; a hidden one
    lies deeper; 0 is outside the picture."""
    hidden = 0
    for seed in range(12):
        made = film.picture(seed, (128, 96), people=1 + seed % 3)
        x, y = np.rint(made["xy"]).astype(int).transpose(2, 0, 1)
        inside = (x >= 0) & (x < 128) & (y >= 0) & (y < 96) & (made["xyz"][..., 2] > 150)
        np.testing.assert_array_equal(made["visible"] > 0, inside)
        surface = made["depth"][np.where(inside, y, 0), np.where(inside, x, 0)]
        under = made["xyz"][..., 2] - surface
        assert np.all(under[made["visible"] == 2] < 260)
        assert np.all(under[made["visible"] == 1] > 40)
        hidden += np.sum(made["visible"] == 1)
    assert hidden > 30


def test_bodies_stand_out_in_the_depth_map(clips):
    """At the hips, the depth map shows the body: nearer than the joint by less than 30 cm."""
    made = clips["idle"].film
    spot = np.rint(made.xy[0, 0, 11:13]).astype(int)
    for (x, y), joint in zip(spot, made.xyz[0, 0, 11:13], strict=True):
        assert 0 < joint[2] - made.depth[0, y, x] < 300


def test_left_is_right_when_facing_the_camera():
    for seed in range(30):
        made = film.clip("idle", seed, size=(64, 48), length=(8, 8)).film
        left, right = (made.xy[:, 0, film.COCO.index(f"{s}_hip"), 0] for s in ("left", "right"))
        assert np.all(left > right)
        assert np.all(made.xyz[..., 2] > 500)
        # heads are up
        assert np.all(made.xy[:, 0, 0, 1] < made.xy[:, 0, 15:, 1].min(-1))


def test_same_seed_same_pixels(clips):
    again = film.clip("stop", 11, **SMALL).film
    np.testing.assert_array_equal(again.frames, clips["stop"].film.frames)
    np.testing.assert_array_equal(again.xyz, clips["stop"].film.xyz)
    other = film.clip("stop", 12, **SMALL).film
    assert other.frames.shape != again.frames.shape or np.any(other.frames != again.frames)
    a, b = (film.picture(5, (96, 72), 3) for _ in range(2))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_nuisance_draws_do_not_know_the_class(clips):
    """The same seed gives every command the same length, body, camera, place and start."""
    stop = clips["stop"].film
    corner = stop.frames[:, :10, :10]  # no arm reaches into it
    for label in COMMANDS:
        made = clips[label].film
        assert len(made.frames) == len(stop.frames)
        assert made.camera.to_json() == stop.camera.to_json()
        np.testing.assert_array_equal(made.frames[:, :10, :10], corner)
        np.testing.assert_allclose(made.xyz[0, 0, 11:], stop.xyz[0, 0, 11:], atol=150)
    starts = {
        label: made.film.xyz[0, 0, 5:11] for label, made in clips.items() if label in COMMANDS
    }
    for label, arms in starts.items():
        np.testing.assert_allclose(arms, starts["stop"], atol=150, err_msg=label)


def test_pictures_hold_the_people_asked_for():
    for people in (1, 2, 4):
        made = film.picture(people, (96, 72), people)
        assert made["image"].shape == (72, 96, 3)
        assert made["xy"].shape == (people, 17, 2)
        assert np.ptp(made["image"]) > 40
    with pytest.raises(ValueError, match="at least 1"):
        film.picture(0, (96, 72), 0)


def test_pictures_show_the_first_person_near_and_far_and_nearly_whole():
    made = [film.picture(seed, (64, 48), 1) for seed in range(60)]
    shares = np.array([np.mean(one["visible"] > 0) for one in made])
    assert shares.mean() > 0.9
    assert (shares < 1).any()  # some cut it
    heights = np.array([np.ptp(one["xy"][0], axis=0).max() for one in made]) / 48
    low, middle, high = np.quantile(heights, [0.1, 0.5, 0.9])
    assert 0.2 < low < 0.4 < middle < 0.65 < high < 1.0


def test_pull_up_shows_its_bar():
    clip = film.clip("pull_up", 4, size=(96, 72), length=(8, 8), view="front", fault="uneven")
    assert clip.details["guilty"] == [
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
    ]
    wrists = clip.film.xyz[0, 0, 9:11]
    x, y = np.rint(clip.film.camera.project(wrists.mean(0) - np.array([0, 45, 0]))).astype(int)
    assert clip.film.depth[0, y, x] == pytest.approx(wrists[:, 2].mean(), abs=120)


def test_a_backward_clip_is_its_twin_in_reverse():
    size = (64, 48)
    forward = film.clip("slow_down", 7, size=size, length=(12, 12), one_way=True)
    back = film.clip("slow_down_backward", 7, size=size, length=(12, 12), one_way=True)
    assert back.label == "slow_down_backward"
    for name in ("frames", "xy", "visible", "xyz", "h36m", "depth"):
        np.testing.assert_array_equal(getattr(back.film, name), getattr(forward.film, name)[::-1])
    usual = film.clip("slow_down", 7, size=size, length=(12, 12))
    assert (usual.film.xy != forward.film.xy).any()  # the same sweep, turning at another moment
    np.testing.assert_array_equal(usual.film.xy[0], forward.film.xy[0])
