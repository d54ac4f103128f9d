"""Intervals of shares: published bounds, the edges, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from bodyjax.metrics.intervals import LEVEL, of_share, told, wilson


@pytest.mark.parametrize(("right", "n"), [(0, 7), (1, 7), (7, 7), (62, 88), (465, 504)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_bounds_are_scipys(right, n, level):
    known = stats.binomtest(right, n).proportion_ci(level, method="wilson")
    assert wilson(right, n, level) == pytest.approx((known.low, known.high), abs=1e-12)


def test_all_right_and_all_wrong_are_no_certainty():
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    assert wilson(10, 10)[0] < 0.9
    assert np.isnan(wilson(0, 0)).all()


def test_the_bounds_hold_the_true_share_as_often_as_they_say():
    drawn = np.random.default_rng(0).binomial(40, 0.9, 4000)
    bounds = np.array([wilson(int(right), 40) for right in drawn])
    inside = (bounds[:, 0] <= 0.9) & (bounds[:, 1] >= 0.9)
    assert inside.mean() == pytest.approx(LEVEL, abs=0.07)


def test_what_a_report_writes():
    found = of_share(465, 504)
    assert (found["level"], found["over"]) == (LEVEL, "rows")
    assert told(found) == "[0.906, 0.937] (80 %)"
