"""Overrides on the command line: what they set, and what they refuse."""

import pytest
from ml_collections import ConfigDict

from bodyjax.errors import ConfigError
from launch import flags


@pytest.fixture
def config():
    return ConfigDict(
        {
            "seed": 0,
            "data": {"path": "clips", "batch": 8, "augment": {"scale": (0.8, 1.2), "flip": 0.5}},
            "operations": {"stop": {"hold": 2}, "idle": {"hold": 1}},
        }
    )


def test_a_value_keeps_the_type_of_its_field(config):
    texts = {"seed": "3", "data.augment.flip": "1", "data.augment.scale": "[0.9, 1.1]"}
    flags.override(config, texts)
    assert config.seed == 3
    assert config.data.augment.to_dict() == {"scale": (0.9, 1.1), "flip": 1.0}
    assert isinstance(config.data.augment.flip, float)


def test_a_section_may_be_set_by_its_path(config):
    flags.override(config, {"data": "mine"})
    assert config.data.path == "mine"
    assert config.data.batch == 8


def test_braces_set_the_fields_they_name_and_keep_the_others(config):
    flags.override(config, {"data": "{'batch': 4, 'path': 'mine', 'augment': {'flip': 0}}"})
    augment = {"scale": (0.8, 1.2), "flip": 0.0}
    assert config.data.to_dict() == {"path": "mine", "batch": 4, "augment": augment}


def test_braces_set_the_whole_of_a_table(config):
    flags.override(config, {"operations": "{'wave': {'hold': 1}}"})
    assert config.operations.to_dict() == {"wave": {"hold": 1}}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("sed", "1", "config.sed: there is no such field; did you mean seed?"),
        ("seed", "1.5", "config.seed: '1.5' is not int; now 0"),
        ("data.augment", "{'flop': 1}", "config.data.augment.flop: there is no such field"),
        ("data.augment", "{'flip': 'often'}", "config.data.augment.flip: 'often' is not float"),
        ("data.augment", "{'flip'", "is not a section"),
        ("operations", "none", "config.operations: 'none' is not a section"),
    ],
)
def test_mistakes_name_the_field_in_one_line(config, name, text, message):
    before = config.to_dict()
    with pytest.raises(ConfigError) as caught:
        flags.override(config, {name: text})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert config.to_dict() == before
