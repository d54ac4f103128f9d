"""Controls of a movement classifier: what backgrounds tell, and which classes are mixed up."""

import pytest

from bodyjax.evaluate import movement_controls
from configs.classifier import get_config
from tests import labelled_clips

DARK, LIGHT = 20, 220


@pytest.fixture
def backgrounds(tmp_path):
    """Writes clips of two classes, by part and class the greys of their backgrounds, and says how
    far these tell the class."""

    def accuracy(greys):
        for place, values in greys.items():
            for number, grey in enumerate(values):
                labelled_clips.write(tmp_path, f"{place}/{number}", frames=2, grey=grey)
        config = get_config("tiny")
        config.data.path, config.data.holdout = str(tmp_path), 0.0
        return movement_controls.background_accuracy(config.data)

    return accuracy


def test_backgrounds_that_differ_by_class_tell_it(backgrounds):
    found = backgrounds(
        {
            "train/rest": [DARK, DARK], "train/wave": [LIGHT, LIGHT],
            "test/rest": [DARK], "test/wave": [LIGHT, LIGHT],
        }
    )  # fmt: skip
    assert found == 1.0


def test_backgrounds_that_change_sides_mislead(backgrounds):
    found = backgrounds(
        {
            "train/rest": [DARK, DARK], "train/wave": [LIGHT, LIGHT],
            "test/rest": [LIGHT], "test/wave": [DARK, DARK, LIGHT],
        }
    )  # fmt: skip
    assert found == 0.25


def test_pairs_that_are_mixed_up_most_come_first():
    measures = {"labels": ["a", "b", "c"], "confusion": [[5, 1, 0], [3, 2, 0], [0, 2, 9]]}
    pairs = [("b", "a", 3), ("c", "b", 2), ("a", "b", 1)]
    assert movement_controls.confused(measures) == pairs
    assert movement_controls.confused(measures, most=1) == pairs[:1]
