"""Simulated exercises as joints: the clip's own joints, held-out seeds, balanced labels."""

import numpy as np
import pytest

from bodyjax.data.folds import TEST, TRAIN
from bodyjax.data.sequences.exercises import joint_clip, simulated
from bodyjax.data.sequences.source import from_config
from bodyjax.errors import ConfigError
from bodyjax.simulate.film import clip


@pytest.mark.parametrize(
    ("name", "view", "fault"), [("push_up", "side", None), ("squat", "front", "knees_in")]
)
def test_joints_are_those_of_the_drawn_clip(name, view, fault):
    drawn = clip(name, 5, size=(64, 48), view=view, fault=fault)
    xy, trunk = joint_clip(name, fault, view, 5, (64, 48), 15.0)
    np.testing.assert_allclose(xy, drawn.film.xy[:, 0], atol=1e-3)
    assert 2 < trunk < 48


def test_the_papers_twelve_classes_are_balanced_and_repeat():
    one, two = (simulated(train=2, test=1) for _ in range(2))
    np.testing.assert_array_equal(one.joints, two.joints)
    assert len(one.classes) == 12
    assert one.classes[1] == "push_up front standard"
    split = one.splits["held out"]
    np.testing.assert_array_equal(np.bincount(one.labels[split == TRAIN]), 2)
    np.testing.assert_array_equal(np.bincount(one.labels[split == TEST]), 1)
    for name, label in zip(one.names, one.labels, strict=True):
        exercise, view, state = name.split("-")[:3]
        standard = "standard" if state == "standard" else "not standard"
        assert one.classes[label] == f"{exercise} {view} {standard}"
    other = simulated(train=2, test=1, seed=1)
    assert other.joints.shape != one.joints.shape or (other.joints != one.joints).any()


def test_standard_or_not_with_the_exercise_as_condition():
    """Of raised arms no standard is set: they are pictures' alone."""
    data = from_config(
        {"kind": "exercises", "label": "standard", "train": 1, "test": 1, "steps": 9}
    )
    assert data.joints.shape == (32, 9, 17, 2)
    assert data.conditions == ("push_up", "sit_up", "pull_up", "squat")
    for k in range(4):
        np.testing.assert_array_equal(np.bincount(data.labels[data.condition == k]), 4)
    assert {name.partition("-")[0] for name in data.names} == set(data.conditions)


def test_the_test_clips_are_the_same_whatever_is_trained_on():
    few, more = simulated(train=1, test=1), simulated(train=2, test=1)
    last = [data.joints[data.offsets[-13] :] for data in (few, more)]
    np.testing.assert_array_equal(*last)
    assert few.names[-12:] == more.names[-12:]


def test_scatter_is_a_share_of_the_trunk():
    clean, spread = (simulated(train=1, test=0, scatter=share) for share in (0.0, 0.1))
    gap = np.abs(spread.joints - clean.joints)
    assert 0.5 < gap.mean() < 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "faults"}, "paper or standard"),
        ({"train": -1}, "data.train: -1 should be"),
        ({"train": 0, "test": 0}, "data.train: 0 clips"),
        ({"scatter": -0.1}, "data.scatter: -0.1 should be"),
    ],
)
def test_mistakes_are_one_line(change, message):
    with pytest.raises(ConfigError, match=message):
        simulated(**change)
