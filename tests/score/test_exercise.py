"""Stretches that don't show a scorer's exercise: the evidence, and the shipped weights on simulated
exercises."""

import numpy as np
import pytest

from bodyjax.data.sequences.exercises import joint_clip
from bodyjax.engine import checkpoint
from bodyjax.errors import ConfigError
from bodyjax.score import exercise
from bodyjax.skeleton import COCO17, get


def stretch(name, seed, view="side"):
    """(1, S, 17, 2) pixels of a simulated exercise, all joints seen."""
    xy, _ = joint_clip(name, None, view, seed, (192, 144), 15.0)
    return xy[None].astype(np.float32), np.full((1, *xy.shape[:2]), 2, np.uint8)


def push_up():
    return checkpoint.load("pushup").config["score"]["exercise"]


def test_evidence_is_the_mean_direction_of_the_limbs_that_are_seen():
    joints = np.zeros((2, 2, 17, 2), np.float32)
    shoulder, elbow, wrist = (COCO17.index(f"left_{n}") for n in ("shoulder", "elbow", "wrist"))
    joints[:, :, elbow] = [[30, 40], [0, 7]]
    joints[:, :, wrist] = joints[:, :, elbow] + [5, 0]
    visible = np.zeros((2, 2, 17), np.uint8)
    visible[:, :, [shoulder, elbow]] = 1
    visible[1, 0, elbow] = 0
    found = dict(zip(exercise.NAMES, exercise.evidence(joints, visible, COCO17).T, strict=True))
    np.testing.assert_allclose(found.pop("one"), 1)
    np.testing.assert_allclose(found.pop("left_shoulder-left_elbow x"), [0.3, 0], atol=1e-6)
    np.testing.assert_allclose(found.pop("left_shoulder-left_elbow y"), [0.9, 1], atol=1e-6)
    assert all((values == 0).all() for values in found.values())


def test_evidence_does_not_depend_on_size_place_and_the_other_joints():
    joints, visible = stretch("squat", 3)
    expected = exercise.evidence(joints, visible, COCO17)
    np.testing.assert_allclose(exercise.evidence(7 * joints + 90, visible, COCO17), expected,
                               atol=1e-4)  # fmt: skip
    names = get("penn13").joints
    kept = np.array([COCO17.index(name) if name in COCO17.joints else 0 for name in names])
    fewer = exercise.evidence(joints[:, :, kept], visible[:, :, kept], get("penn13"))
    np.testing.assert_allclose(fewer, expected, atol=1e-6)


def test_push_ups_from_the_side_are_told_from_people_who_stand_and_sit_up():
    def told(name):
        found = []
        for seed in range(8):
            joints, visible = stretch(name, seed)
            score = np.full(visible.shape, 0.7)
            found += exercise.reasons(push_up(), joints, visible, score, COCO17)
        return found

    assert told("push_up").count("") >= 7
    assert told("squat") == told("pull_up") == [exercise.UNLIKE] * 8


def test_joints_that_are_guesses_get_no_verdict():
    joints, visible = stretch("push_up", 1)
    score = np.full(visible.shape, 0.2)
    found = exercise.reasons(push_up(), joints, visible, score, COCO17)
    assert found == (exercise.HARDLY_SEEN,)
    score[..., :3] = 0.4
    assert exercise.reasons(push_up(), joints, visible, score, COCO17) == ("",)


def test_without_weights_everything_is_scored():
    joints, visible = stretch("squat", 1)
    assert exercise.reasons((), joints, visible, 0 * visible, COCO17) == ("",)
    with pytest.raises(ConfigError, match=r"score.exercise: 3 weights for 25 evidences"):
        exercise.check((1.0, 2.0, 3.0))
