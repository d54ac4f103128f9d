"""Figures of folds: windows pooled, scikit-learn's scores, the interval over groups."""

import numpy as np
import pytest

from bodyjax.data.folds import Fold
from bodyjax.data.sequences.source import Clips, resampled
from bodyjax.errors import DataError
from bodyjax.metrics import pooled
from bodyjax.metrics.pooled import Answers
from bodyjax.skeleton import make

CLIPS = 60


def made(groups):
    """60 clips of two labels, one joint each."""
    rng = np.random.default_rng(0)
    return resampled(
        Clips(
            "made",
            make("dot", "nose", ""),
            np.zeros((2 * CLIPS, 1, 2), np.float32),
            np.ones((2 * CLIPS, 1), np.float32),
            np.arange(CLIPS + 1) * 2,
            tuple(map(str, range(CLIPS))),
            rng.integers(0, 2, CLIPS).astype(np.int32),
            ("down", "up"),
            groups,
            np.zeros(CLIPS, np.int32),
            size=np.zeros((CLIPS, 2), np.float32),
            fps=np.zeros(CLIPS, np.float32),
        ),
        2,
    )


@pytest.fixture(scope="module")
def data():
    return made(np.repeat(np.arange(12), 5).astype(np.int32))


def test_windows_of_a_clip_are_averaged():
    probability = np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1]])
    mean, first = pooled.pool(probability, np.array([7, 7, 2]))
    np.testing.assert_allclose(mean, [[0.9, 0.1], [0.4, 0.6]])
    assert first.tolist() == [2, 0]


def test_scores_are_scikit_learns(data):
    from sklearn.metrics import balanced_accuracy_score

    rng = np.random.default_rng(3)
    folds = [
        Fold("a", np.arange(30, 60), np.arange(30)),
        Fold("b", np.arange(30), np.arange(30, 60)),
    ]
    chances = [rng.dirichlet((1, 1), 30) for _ in folds]
    got = pooled.scores(data, list(zip(folds, chances, strict=True)))
    guess = np.concatenate(chances).argmax(1)
    assert got["accuracy"] == pytest.approx((guess == data.labels).mean())
    assert got["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(data.labels, guess))
    both = [balanced_accuracy_score(data.labels[f.test], guess[f.test]) for f in folds]
    assert got["fold_balanced_accuracy"] == pytest.approx(np.mean(both))
    assert got["n"] == 60


def guesses(data, right, order):
    """Answers to the clips in this order, right where `right` (60,) says so."""
    guess = np.where(right, data.labels, 1 - data.labels)
    return Answers(data.labels[order], guess[order], order)


def test_the_interval_knows_that_the_clips_of_a_group_go_together(data):
    """Whole people are right or wrong: half of them are far fewer facts than half of the clips."""
    right = data.groups % 2 == 0
    order = np.arange(60)
    seeds = [guesses(data, right, order), guesses(data, right, order[::-1])]
    by_group = pooled.interval(data, seeds)
    value = np.mean([pooled.balanced_accuracy(one.label, one.guess) for one in seeds])
    assert by_group["over"] == "groups"
    assert by_group["low"] < value < by_group["high"]
    alone = made(None)
    by_clip = pooled.interval(alone, [guesses(alone, right, order)])
    assert by_clip["over"] == "clips"
    widths = [one["high"] - one["low"] for one in (by_group, by_clip)]
    assert widths[0] > 1.5 * widths[1]


def test_the_interval_is_of_the_mean_over_seeds(data):
    """A seed that is all right and one that is all wrong: one half, whoever is drawn."""
    order = np.arange(60)
    seeds = [guesses(data, np.full(60, right), order) for right in (True, False)]
    found = pooled.interval(data, seeds, samples=50)
    assert (found["low"], found["high"]) == (0.5, 0.5)


def test_the_spread_of_seeds_is_that_of_a_sample():
    """Three seeds are drawn from many: statistics.stdev, not pstdev; one seed has no spread."""
    assert pooled.spread([0.5, 0.6, 0.7]) == pytest.approx(0.1)
    assert pooled.spread([0.5]) is None
    assert pooled.spread([0.5, None]) is None


def test_the_interval_of_the_accuracy(data):
    right = data.labels == 0  # one label always right, the other never
    found = pooled.interval(data, [guesses(data, right, np.arange(60))], figure=pooled.accuracy)
    assert found["low"] <= right.mean() <= found["high"]
    assert found["high"] - found["low"] > 0  # the balanced accuracy is one half in every draw


def test_no_cell_with_two_labels_gives_no_mean_and_no_numbers_give_no_figure(data):
    first = np.flatnonzero(data.labels == 0)
    rest = np.flatnonzero(data.labels == 1)
    fold, chances = Fold("a", rest, first), np.full((len(first), 2), 0.5)
    one = pooled.scores(data, [(fold, chances)])
    assert one["fold_balanced_accuracy"] is None
    lines: list[str] = []
    by_seed = {"0": one}
    done = {**pooled.table({0: one}), "by_seed": by_seed, "n": 1, "runs": 1, "seconds": 1}
    pooled.show({**done, "members": 1, "leaking": False, "validation": False}, lines.append)
    assert any("no fold tests two labels" in line for line in lines)
    with pytest.raises(DataError, match="fold a gives no numbers"):
        pooled.scores(data, [(fold, chances * np.nan)])


def test_cells_are_shown_by_condition_and_fold():
    by_seed = {
        "0": {"cells": {"1/squat": 0.5, "2/squat": 1.0, "1/side lunge": 0.75}},
        "1": {"cells": {"1/squat": 1.0, "2/squat": 1.0, "1/side lunge": 0.25}},
    }
    assert pooled.cell_table(by_seed) == [
        "               1     2  mean",
        "squat       0.75  1.00  0.88",
        "side lunge  0.50     -  0.50",
    ]
    assert pooled.cell_table({"0": {"cells": {"1": 0.5, "2": 0.5}}}) == []
