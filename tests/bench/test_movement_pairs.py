"""Two ways of training, compared on the same clips: what is right, and the differences in pairs."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bodyjax import tasks
from bodyjax.bench import movement_pairs
from bodyjax.data.clips import feed
from bodyjax.engine import checkpoint
from bodyjax.errors import ConfigError
from bodyjax.evaluate import movements
from configs.classifier import get_config
from tests import labelled_clips


def test_differences_are_those_of_the_pairs():
    first = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool)
    other = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], bool)
    found = movement_pairs.report(first, other)
    assert found["first"]["runs"] == [0.5, 0.25]
    assert found["other"]["mean"] == 0.5
    assert found["by_seed"]["differences"] == [0.25, 0.0]
    assert found["by_seed"]["spread"] == pytest.approx(0.25 / np.sqrt(2))
    pair = found["by_clip"]
    assert pair["difference"] == pytest.approx(0.125)  # one clip of four, in one of two runs
    assert pair["low"] == 0
    assert 0.25 <= pair["high"] <= 0.375
    same = movement_pairs.report(first, first)["by_clip"]
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)


def test_samplings_of_stored_maps_are_those_of_recognition():
    """Frames told by their number: 40 frames, five samplings of four."""
    stored = feed.spread(40, 20, 1)[0].reshape(-1, 1, 1, 1)
    seen = movement_pairs.Samplings(4, 5)({"maps": stored, "label": 3}, np.random.default_rng(0))
    np.testing.assert_array_equal(seen["maps"][..., 0, 0, 0], feed.spread(40, 4, 5))


@pytest.mark.slow
def test_the_share_right_is_the_accuracy_of_evaluation(tmp_path):
    classes = ("rest", "wave")
    names = [f"{part}/{c}/{n}" for part in ("train", "test") for c in classes for n in "01"]
    labelled_clips.write(tmp_path / "clips", *names)
    config = get_config("tiny")
    config.data.path, config.data.batch, config.data.holdout = str(tmp_path / "clips"), 4, 0.0
    config.data.simulated_copies, config.data.samples = True, 2
    config.train.steps, config.train.eval_every = 2, 0
    tasks.train(config, tmp_path / "run")
    answers, clips = movement_pairs.right(str(tmp_path / "run"))
    assert clips == ("rest/0", "rest/1", "wave/0", "wave/1")
    measures = movements.evaluate(
        checkpoint.load(tmp_path / "run"), tmp_path / "clips", "test", samples=2
    )
    assert answers.mean() == measures["accuracy"]
    with pytest.raises(ConfigError, match="2 runs, and 1 of --first"):
        movement_pairs.measure([str(tmp_path / "run")], ["a", "b"])


def test_controls_are_refused(monkeypatch):
    config = get_config("tiny")
    config.labels, config.data.shuffle = ("up", "down"), True
    found: Any = SimpleNamespace(config=config, variables={})
    monkeypatch.setattr(checkpoint, "load", lambda name: found)
    with pytest.raises(ConfigError, match="is a control"):
        movement_pairs.right("runs/mine")
