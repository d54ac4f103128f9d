"""bodyjax.engine.settings."""

import subprocess
import sys

import ml_collections
import pytest

from bodyjax.engine import settings
from bodyjax.errors import ConfigError


def test_left_out_fields_have_defaults_and_sections_nest() -> None:
    config = ml_collections.ConfigDict({"steps": 7, "stop": {"loss": 1}, "best": {"metric": "a"}})
    read = settings.train(config)
    assert (read.steps, read.stop.loss, read.stop.plateau, read.best.mode) == (7, 1.0, None, "max")
    assert isinstance(read.stop.loss, float)
    assert settings.optimizer({}) == settings.OptimizerSettings()


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("optimizer", {"rte": 0.1}, "optimizer.rte: there is no such field; did you mean rate?"),
        ("optimizer", {"zzz": 1}, "optimizer.zzz: there is no such field; fields: name, rate"),
        ("optimizer", {"rate": "fast"}, "optimizer.rate: 'fast' is not of type float"),
        ("optimizer", {"rate": True}, "optimizer.rate: True is not of type float"),
        ("optimizer", {"rate": 0}, "optimizer.rate: 0.0 should be above 0"),
        ("optimizer", {"accumulate": 1.5}, "optimizer.accumulate: 1.5 is not of type int"),
        ("optimizer", {"decay": "linear"}, "'linear' should be one of cosine"),
        ("optimizer", {"decay": "exponential"}, "optimizer.final: 0.0 should be above 0"),
        ("optimizer", {"name": "adam", "weight_decay": 0.1}, "0 with adam"),
        ("optimizer", {"multipliers": {"a": -1}}, "optimizer.multipliers['a']: -1 should be"),
        ("train", {"stop": {"los": 1}}, "train.stop.los: there is no such field; did you mean"),
        ("train", {"best": "accuracy"}, "train.best: 'accuracy' is not a section"),
        ("train", {"stop": {"plateau": 2}}, "train.stop.plateau"),
        ("train", {"stop": {"steps": -1}}, "train.stop.steps: -1 should be at least 1"),
        ("train", {"steps": 0}, "train.steps: 0 should be at least 1"),
        ("train", {"compute_dtype": "float16"}, "one of float32, bfloat16"),
    ],
)
def test_mistakes_are_one_line_that_names_the_field(
    section: str, values: dict, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        getattr(settings, section)(values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sections_that_do_not_fit_together() -> None:
    train = settings.train({"steps": 10})
    with pytest.raises(ConfigError, match=r"multiple of optimizer\.accumulate"):
        settings.check_together(settings.optimizer({"accumulate": 3}), train)
    with pytest.raises(ConfigError, match=r"optimizer\.warmup"):
        settings.check_together(settings.optimizer({"warmup": 10}), train)


def test_differences_leave_out_the_free_fields() -> None:
    old = {"a": 1, "train": {"steps": 5, "best": {"metric": "x"}}, "data": {"workers": 0}}
    new = {"a": 1, "train": {"steps": 9, "best": {"metric": "y"}}, "data": {"workers": 4}}
    assert settings.differences(old, new) == ['train.best.metric: "x" -> "y"']
    assert settings.differences({"a": (b := {"c": 1})}, {"a": b}) == []
    assert settings.differences({}, {"a": {"c": 1}}) == ['a: null -> {"c": 1}']


def test_plain_is_json() -> None:
    assert settings.plain(ml_collections.ConfigDict({"a": (1, (2, 3))})) == {"a": [1, [2, 3]]}
    for bad in (float("nan"), object()):
        with pytest.raises(ConfigError):
            settings.plain({"a": bad})


def test_config_errors_need_no_jax() -> None:
    code = "import sys, bodyjax.engine.settings; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_complete_fills_what_a_config_leaves_out_and_keeps_the_rest() -> None:
    config = ml_collections.ConfigDict({"train": {"steps": 7, "best": {"metric": "accuracy"}}})
    settings.complete(config)
    assert (config.train.steps, config.train.keep) == (7, settings.TrainSettings().keep)
    assert config.train.best.to_dict() == {"metric": "accuracy", "mode": "max"}
    assert config.train.stop.plateau is None
    assert config.optimizer.rate == settings.OptimizerSettings().rate
    assert settings.expanded(settings.plain(config)) == settings.plain(config)
