"""Configs of before: stored ones are read under the names of today, others are refused."""

import json

import jax
import pytest

from bodyjax import config_history, systems
from bodyjax.commands import flags
from bodyjax.engine import checkpoint, run_folder, settings
from bodyjax.errors import ConfigError
from configs import phone
from configs.sequence import get_config

SHIPPED = sorted(path.parent.name for path in checkpoint.WEIGHTS.glob("*/config.json"))
OLD = {"system": "sequence", "data": {"batch_size": 64, "set": "pushfit", "steps": 64}}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_systems_of_today(name):
    """Every field of their configs is one that the system of today has, and the weights fit it."""
    loaded = checkpoint.load(name)
    system = systems.build(loaded.config)
    shapes = jax.eval_shape(system.init, jax.random.key(0))
    checkpoint.check_variables(loaded.variables, shapes, name)
    data = loaded.config.data
    assert data.batch > 0
    assert "batch_size" not in data
    assert data.kind in ("pictures", "clips", "pushfit", "ui_prmd", "poses3d")


def test_weights_that_are_shipped():
    assert SHIPPED == [
        "commands",
        "jhmdb",
        "large",
        "lifter",
        "phone",
        "pushup",
        "small",
        "ui_prmd",
    ]


def test_names_are_changed_and_values_kept():
    assert config_history.upgraded(OLD) == {
        "system": "sequence", "data": {"batch": 64, "kind": "pushfit", "steps": 64},
    }  # fmt: skip
    assert OLD["data"]["set"] == "pushfit"  # the stored one stays as it is
    today = settings.plain(get_config("pushup"))
    assert config_history.upgraded(today) == today
    assert config_history.upgraded({"system": "movement"})["second"] == ""  # a field newer than it
    own = {**OLD, "system": "mine.hands"}  # a system of one's own names its fields itself
    assert config_history.upgraded(own) == own


@pytest.mark.parametrize(
    ("flag", "new"), [("data.batch_size", "data.batch"), ("data.set", "data.kind")]
)
def test_a_name_of_before_is_refused_with_that_of_today(flag, new):
    with pytest.raises(ConfigError) as caught:
        flags.override(get_config("pushup"), {flag: "8"})
    assert str(caught.value) == (
        f"config.{flag}: there is no such field; it is called config.{new} now"
    )
    with pytest.raises(ConfigError, match=r"data\.batch_size: .* it is called data\.batch now"):
        config_history.refuse(OLD)


def test_a_checkpoint_of_before_is_read_under_the_names_of_today(tmp_path):
    record = {"format": checkpoint.FORMAT, "system": "sequence", "config": OLD}
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "metadata").write_text(json.dumps(record))
    assert run_folder.read_record(tmp_path)["config"]["data"]["kind"] == "pushfit"


def test_phone_is_what_its_config_trains():
    """The weights were trained before the config had a file of its own."""
    shipped = json.loads((checkpoint.WEIGHTS / "phone" / "config.json").read_text())["config"]
    config = json.loads(json.dumps(phone.get_config("phone").to_dict()))
    assert config["data"].pop("unlabelled") == {}
    augment = shipped["data"]["augment"]
    assert {**augment, **config["data"].pop("augment")} == shipped["data"].pop("augment")
    assert config["data"] == shipped["data"]
    for section in ("model", "detect"):
        assert config[section] == shipped[section]
    assert {**shipped["optimizer"], **config["optimizer"]} == shipped["optimizer"]
    assert config["train"]["steps"] == shipped["train"]["steps"]
