"""Forward and inverse kinematics: lengths are kept, sides and directions are right."""

import numpy as np
import pytest

from bodyjax.simulate import body, exercises, motion


def stand(person, left, right):
    """One frame, upright at the origin, with the arms (raised, outward, elbow, inward) degrees."""
    zero = np.zeros((1, 3))
    high = person.length["thigh"] + person.length["shin"] + person.length["ankle"]
    legs = [
        body.Leg(
            np.array([[side * 100.0, person.length["ankle"], 0.0]]),
            np.array([[0.0, 0.0, 1.0]]),
            np.array([[0.0, 0.0, 1.0]]),
        )
        for side in (1, -1)
    ]
    arms = [motion.arm_angles(np.array([angles], float)) for angles in (left, right)]
    pelvis = np.array([[0.0, high - 8, 0.0]])
    return body.pose_points(person, body.Pose(pelvis, zero, zero, zero, *arms, *legs))[0]


@pytest.fixture(scope="module")
def person():
    return body.draw_body(np.random.default_rng(3))


def test_rotation_turns_left_leans_front_and_right():
    yaw, pitch, roll = body.rotation(np.eye(3) * np.pi / 2)
    np.testing.assert_allclose(yaw @ [0, 0, 1], [1, 0, 0], atol=1e-12)  # front to the left
    np.testing.assert_allclose(pitch @ [0, 1, 0], [0, 0, 1], atol=1e-12)  # up to the front
    np.testing.assert_allclose(roll @ [0, 1, 0], [-1, 0, 0], atol=1e-12)  # up to the right
    frames = body.rotation(np.random.default_rng(0).normal(0, 2, (20, 3)))
    np.testing.assert_allclose(
        frames @ frames.swapaxes(-1, -2), np.eye(3)[None].repeat(20, 0), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(frames), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("angles", "direction"),
    [
        ((0, 0, 1, 0), (0, -1, 0)),
        ((90, 0, 1, 0), (0, 0, 1)),
        ((90, 90, 1, 0), (1, 0, 0)),
        ((180, 0, 1, 0), (0, 1, 0)),
        ((90, -90, 1, 0), (-1, 0, 0)),
    ],
)
def test_arm_directions_by_table(person, angles, direction):
    at = stand(person, angles, angles)
    mirror = np.array([-1, 1, 1])
    for side, sign in (("left", 1), ("right", mirror)):
        arm = body.unit(at[f"{side}_elbow"] - at[f"{side}_shoulder"])[0]
        np.testing.assert_allclose(arm, np.array(direction) * sign, atol=0.01)


def test_elbow_bends_inwards_and_onwards(person):
    across = stand(person, (90, 0, 90, 90), (0, 0, 1, 0))
    fore = body.unit(across["left_wrist"] - across["left_elbow"])[0]
    np.testing.assert_allclose(fore, [-1, 0, 0], atol=0.01)  # level front, forearm to the right
    curl = stand(person, (0, 0, 90, 0), (0, 0, 1, 0))
    fore = body.unit(curl["left_wrist"] - curl["left_elbow"])[0]
    np.testing.assert_allclose(fore, [0, 0, 1], atol=0.01)  # hanging, forearm to the front


def test_two_bones_keep_their_lengths():
    rng = np.random.default_rng(1)
    start, goal, towards = rng.normal(0, 200, (3, 50, 3))
    middle, end = body.two_bones(start, goal, 300.0, 250.0, towards)
    np.testing.assert_allclose(np.linalg.norm(middle - start, axis=-1), 300, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(end - middle, axis=-1), 250, rtol=1e-9)
    near = (np.linalg.norm(goal - start, axis=-1) < 549) & (
        np.linalg.norm(goal - start, axis=-1) > 52
    )
    assert near.sum() > 20
    np.testing.assert_allclose(end[near], goal[near], atol=1e-9)


BONES = {
    "upper_arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
    "thigh": ("hip", "knee"),
    "shin": ("knee", "ankle"),
}


@pytest.mark.parametrize("name", [*motion.COMMANDS, *exercises.EXERCISES])
def test_bones_keep_their_lengths_and_feet_the_floor(name):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        person = body.draw_body(rng)
        setting = motion.draw_setting(rng, 45, 15.0)
        if name in motion.COMMANDS:
            pose, _ = motion.command(name, person, setting, rng)
        else:
            pose = exercises.exercise(name, None, person, setting, rng).pose
        at, _ = body.pose_points(person, pose)
        for bone, (a, b) in BONES.items():
            for side in ("left", "right"):
                long = np.linalg.norm(at[f"{side}_{a}"] - at[f"{side}_{b}"], axis=-1)
                np.testing.assert_allclose(long, person.length[bone], rtol=1e-6)
        lowest = min(points[:, 1].min() for points in at.values())
        assert lowest > -15, (name, lowest)
        if name not in ("pull_up", "push_up", "idle"):  # both soles stay on the floor
            for side in ("left", "right"):
                assert np.abs(at[f"{side}_heel"][:, 1]).max() < 30


def test_moved_turns_and_shifts(person):
    rng = np.random.default_rng(2)
    setting = motion.draw_setting(rng, 12, 15.0)
    for name in ("squat", "pull_up"):
        pose = exercises.exercise(name, None, person, setting, rng).pose
        at, _ = body.pose_points(person, pose)
        there, _ = body.pose_points(person, body.moved(pose, 0.7, 300.0, -900.0))
        turn = body.rotation(np.array([0.7, 0, 0]))
        for point in body.POINTS:
            np.testing.assert_allclose(there[point], at[point] @ turn.T + [300, 0, -900], atol=1e-6)


def test_bodies_vary():
    bodies = [body.draw_body(np.random.default_rng(seed)) for seed in range(200)]
    heights = np.array([b.height for b in bodies])
    assert heights.min() >= 1500
    assert heights.max() <= 1950
    assert heights.std() > 60
    share = np.array([b.length["forearm"] / b.length["upper_arm"] for b in bodies])
    assert share.std() > 0.01
