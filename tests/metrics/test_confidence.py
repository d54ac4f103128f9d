"""Calibration error and temperature, on answers whose chances are known."""

import math

import numpy as np
import pytest

from bodyjax.metrics.confidence import calibration_error, softmax, temperature


def answers(count=20000, classes=4, seed=0):
    """Logits, and labels drawn with their probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, classes))
    chance = softmax(logits).cumsum(axis=1)
    return logits, (rng.uniform(size=(count, 1)) > chance[:, :-1]).sum(axis=1)


def test_a_handful_of_rows_by_hand():
    probability = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [1.0, 0.0]])
    labels = np.array([0, 1, 1, 0])
    # The last tenth: 2.8 rows of three said to be right, two are; 0.6: said 0.6, one is.
    assert calibration_error(probability, labels, 10) == pytest.approx((0.8 + 0.4) / 4)
    assert math.isnan(calibration_error(probability[:0], labels[:0]))


@pytest.mark.parametrize("wrong", [0.5, 1.0, 2.0])
def test_the_temperature_is_found_and_mends_the_probabilities(wrong):
    logits, labels = answers()
    found = temperature(wrong * logits, labels)
    assert found == pytest.approx(wrong, rel=0.04)
    mended = calibration_error(softmax(wrong * logits / found), labels)
    assert mended < 0.015
    if wrong != 1:
        assert calibration_error(softmax(wrong * logits), labels) > 4 * mended
