"""docs/ADDING.md holds: its files, put beside the others while the program runs, train a system."""

import numpy as np
import pytest

import bodyjax.systems
from bodyjax import systems
from bodyjax.data.stream import Stream
from bodyjax.engine import checkpoint, loop
from bodyjax.errors import ConfigError
from launch import flags
from tests.documents import ROOT, blocks


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The page's files; the folder is searched for systems beside bodyjax/systems."""
    for block in blocks(ROOT / "docs/ADDING.md"):
        if block.language == "python":
            (tmp_path / block.words.removeprefix("file=")).write_text(block.text)
    monkeypatch.setattr(
        bodyjax.systems, "__path__", [*bodyjax.systems.__path__, str(tmp_path)], raising=True
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_page_adds_a_system_that_trains(files, tmp_path):
    config = flags.load_config(str(files / "config.py"))
    system = systems.build(config)
    import source  # the page's, found through the folder

    people = source.People()
    feed = Stream(
        people, source.shift, seed=0, batch_size=16, eval_source=people,
        eval_transform=lambda example, rng: example,
    )  # fmt: skip
    spec = system.batch_spec(16)
    batch = next(feed.train_batches(0))
    assert {name: (a.shape, str(a.dtype)) for name, a in batch.items()} == {
        name: tuple(one) for name, one in spec.items()
    }
    result = loop.fit(system, feed, config, tmp_path / "run")
    assert result.step == 60
    assert result.metrics["accuracy"] > 0.9
    found = checkpoint.load(tmp_path / "run")
    assert found.system == "hands"
    outputs = system.predict(found.variables, {"xy": people[3]["xy"][None]})
    assert np.argmax(outputs["probability"]) == 1


def test_an_unknown_system_is_told_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"no system 'hands'.*movement.*pose.*sequence"):
        systems.build({"system": "hands"})
