"""Weights that tell an exercise from other movements, on simulated exercises."""

from dataclasses import replace

import numpy as np
import pytest

from bodyjax.data.sequences import source
from bodyjax.errors import DataError
from bodyjax.evaluate import exercise
from bodyjax.score.exercise import NAMES, UNLIKE, reasons


@pytest.fixture(scope="module")
def sides():
    """Sit-ups, and all other exercises: every clip a group of its own."""
    data = source.from_config({"kind": "exercises", "steps": 8, "train": 8, "test": 1})
    data = replace(data, groups=np.arange(len(data)))
    sit_up = np.array(["sit_up" in name for name in data.names])
    return data.rows(sit_up), data.rows(~sit_up)


def test_sit_ups_are_told_from_other_exercises(sides):
    sit_ups, others = sides
    found = exercise.fit(sit_ups, others, count=3)
    assert len(found.weights) == len(NAMES)
    assert found.kept > 0.8
    assert found.passed < 0.1
    told = reasons(
        found.weights, others.joints, others.visible, np.ones(others.score.shape), others.skeleton
    )
    assert told.count(UNLIKE) > 0.9 * len(others)
    # The mirror image of a clip is the same exercise.
    whole, mirrored = exercise.table(sit_ups) @ np.array(found.weights)
    assert np.corrcoef(whole, mirrored)[0, 1] > 0.9


def test_clips_of_nobody_make_no_folds(sides):
    sit_ups, others = sides
    with pytest.raises(DataError, match="whose clips are whose"):
        exercise.fit(replace(sit_ups, groups=None), others)
