"""docs/ADDING.md holds: its files, put beside the others while the program runs, make a system that
the launchers train and evaluate."""

import importlib
import json
import sys

import numpy as np
import pytest

from bodyjax import systems
from bodyjax.commands import evaluate, flags, train
from bodyjax.data import feeds
from bodyjax.engine import checkpoint
from bodyjax.errors import ConfigError, DataError, UserError
from tests.documents import ROOT, blocks


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The page's files; the package's folders are continued by theirs."""
    for block in blocks(ROOT / "docs/ADDING.md"):
        if block.language == "python":
            file = tmp_path / block.words.removeprefix("file=")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
    for name in ("bodyjax.systems", "bodyjax.data", "bodyjax.tasks"):
        package = importlib.import_module(name)
        folders = [*package.__path__, str(tmp_path / name.replace(".", "/"))]
        monkeypatch.setattr(package, "__path__", folders)
    yield tmp_path
    for name in ("bodyjax.systems.hands", "bodyjax.data.hands", "bodyjax.tasks.hands"):
        sys.modules.pop(name, None)


@pytest.fixture
def people(tmp_path):
    """96 people as the page stores them: wrists (4 and 7) above or below the nose (0)."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 100, (96, 18, 2)).astype(np.float32)
    label = rng.integers(0, 2, 96, dtype=np.int32)
    xy[:, [4, 7], 1] = (xy[:, 0, 1] + np.where(label, -60, 60))[:, None]
    part = np.repeat(["train", "test"], (64, 32))
    np.savez(tmp_path / "people.npz", xy=xy, label=label, part=part)
    return str(tmp_path / "people.npz")


def test_the_page_adds_a_system_that_the_launchers_train_and_evaluate(files, people, capsys):
    words = [f"--config={files / 'configs/hands.py'}", f"--config.data={people}"]
    run = str(files / "run")
    assert train.main([*words, f"--workdir={run}"]) == 0
    assert f"checkpoint (steps): {run}/newest/60" in capsys.readouterr().out
    found = checkpoint.load(run)
    assert (found.system, found.step) == ("hands", 60)
    assert found.metrics["accuracy"] > 0.9
    words = ["--checkpoint", run, "--data", people]
    assert evaluate.main([*words, "--split", "test"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {"n": 32, "accuracy": found.metrics["accuracy"]}
    with pytest.raises(ConfigError, match="--flip is not for checkpoints of system hands"):
        evaluate.main([*words, "--flip"])
    with pytest.raises(DataError, match=r"valid: has no such rows"):
        evaluate.main([*words, "--split", "valid"])


def test_the_page_s_batches_are_those_that_its_system_eats(files, people):
    config = flags.load_config(str(files / "configs/hands.py"))
    config.data.path = people
    batch = next(feeds.open_feed(config).train_batches(0))
    assert {name: (a.shape, str(a.dtype)) for name, a in batch.items()} == {
        name: tuple(one) for name, one in systems.build(config).batch_spec(16).items()
    }


@pytest.mark.parametrize(
    ("words", "others", "message"),
    [
        ('"data": {', '"date": {', "data: is missing in the config"),
        ('"system": ', '"sistem": ', "system: is missing in the config"),
        ('"kind": "hands"', '"kind": "feet"', "data.kind: no kind of data 'feet'; pictures, or"),
        ('"kind": "hands"', '"kind": "affine"', "data.kind: no kind of data 'affine'"),
        ('"kind": "hands", ', "", "data.kind: no kind of data ''"),
    ],
)
def test_configs_without_what_they_need_are_one_line(files, words, others, message):
    file = files / "configs/hands.py"
    text = file.read_text()
    assert words in text
    file.write_text(text.replace(words, others))
    with pytest.raises(ConfigError, match=message) as caught:
        train.main([f"--config={file}", f"--workdir={files / 'run'}"])
    assert "\n" not in str(caught.value)


def test_a_file_in_the_place_of_the_run_s_folder_is_said_before_the_work(files, people):
    words = [f"--config={files / 'configs/hands.py'}", "--config.data=not/read/yet.npz"]
    with pytest.raises(UserError, match=r"people.npz: no folder can be made \(File exists\)"):
        train.main([*words, f"--workdir={people}"])


def test_an_unknown_system_is_told_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"no system 'hands'; one of movement, pose, sequence"):
        systems.build({"system": "hands"})
