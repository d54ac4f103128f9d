"""The report of calibration errors, on logits that are too sure by a known factor."""

import pytest

from bodyjax.bench import confidence
from bodyjax.errors import ConfigError
from tests import tiny_classifier
from tests.metrics.test_confidence import answers


def test_a_model_that_is_too_sure_is_mended_by_the_validation_side():
    valid, test = answers(4000, seed=1), answers(2000, seed=2)
    found = confidence.report(3 * valid[0], valid[1], 3 * test[0], test[1])
    assert found["temperature"] == pytest.approx(3, rel=0.1)
    assert found["n"] == 2000
    assert found["after"]["high"] < found["before"]["low"]
    assert found["less"]["low"] > 0.1
    for name in ("before", "after"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]


def test_a_classifier_of_frames_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no classifier of stored maps"):
        confidence.measure(str(tiny_classifier.export(tmp_path / "frames")))
