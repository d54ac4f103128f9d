"""docs/ADDING.md holds: its files alone, put into a copy of the checkout, make a system and a
backbone that the page's own commands train and evaluate there."""

import importlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from bodyjax import systems
from bodyjax.commands import flags, train
from bodyjax.data import feeds
from bodyjax.errors import ConfigError, UserError
from tests import picture_sets
from tests.documents import ROOT, blocks, commands

PAGE = ROOT / "docs/ADDING.md"
FILES = {
    block.words.removeprefix("file="): block.text
    for block in blocks(PAGE)
    if block.language == "python"
}
RUN = """
import importlib, json, os, sys
from bodyjax.errors import UserError

for words in json.loads(sys.argv[1]):
    print("$", *words)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        os.environ[name] = value
    assert words[:2] == ["python", "-m"], words
    try:
        assert importlib.import_module(words[2]).main(words[3:]) == 0
    except UserError as error:
        print("error:", error)
"""
"""The command lines one after the other in one process, which imports and compiles once."""


def written(folder):
    """The page's files below a folder."""
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The page's files; the package's folders are continued by theirs."""
    written(tmp_path)
    for name in ("bodyjax.systems", "bodyjax.data", "bodyjax.tasks"):
        package = importlib.import_module(name)
        folders = [*package.__path__, str(tmp_path / name.replace(".", "/"))]
        monkeypatch.setattr(package, "__path__", folders)
    yield tmp_path
    for name in ("bodyjax.systems.hands", "bodyjax.data.hands", "bodyjax.tasks.hands"):
        sys.modules.pop(name, None)


def store_people(folder):
    """96 people as the page stores them: wrists (4 and 7) above or below the nose (0)."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 100, (96, 18, 2)).astype(np.float32)
    label = rng.integers(0, 2, 96, dtype=np.int32)
    xy[:, [4, 7], 1] = (xy[:, 0, 1] + np.where(label, -60, 60))[:, None]
    part = np.repeat(["train", "test"], (64, 32))
    np.savez(folder / "people.npz", xy=xy, label=label, part=part)
    return str(folder / "people.npz")


def store_pictures(folder):
    """Four pictures of a person each, the last one held back."""
    joints = np.random.default_rng(0).uniform(5, 35, (4, 17, 2))
    tables = [[np.concatenate([xy, np.full((17, 1), 2)], 1)] for xy in joints]
    picture_sets.coco_set(folder, tables, split=["train", "train", "train", "val"])


@pytest.fixture
def people(tmp_path):
    return store_people(tmp_path)


def git(folder, *words):
    """What git prints in a folder, whatever the person at this machine has configured."""
    alone = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    name = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    done = subprocess.run(
        ["git", *name, *words], cwd=folder, env=alone, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The checkout as it is, committed; without the shipped weights, which nothing here reads."""
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    folder = tmp_path_factory.mktemp("checkout")
    out = shutil.ignore_patterns("__pycache__", "weights")
    for room in ("bodyjax", "launch", "configs"):
        shutil.copytree(ROOT / room, folder / room, ignore=out)
    shutil.copy(ROOT / ".gitignore", folder)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "As it is")
    return folder


def status(folder):
    """What git says of each changed file: two letters, blank, its path."""
    return set(git(folder, "status", "--porcelain", "--untracked-files=all").splitlines())


def test_the_page_s_files_add_a_system_and_a_backbone_and_change_nothing(checkout):
    written(checkout)
    added = {f"?? {name}" for name in FILES}
    assert len(added) == 6
    assert status(checkout) == added
    store_people(checkout)
    store_pictures(checkout / "pictures/mine")
    evaluate = ["python", "-m", "launch.evaluate", "--checkpoint", "runs/hands"]
    wrong = [[*evaluate, "--data", "people.npz", *last] for last in (["--flip"], ["--split", "x"])]
    lines = [*commands(PAGE, "run"), *wrong]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(lines)], cwd=checkout, capture_output=True,
        text=True, timeout=500, env={**os.environ, "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.split("$ ")[1:]
    trained, measured, own, own_measured, patches, flip, split = said
    assert "checkpoint (steps): runs/hands/newest/60" in trained
    report = json.loads(measured.partition("\n")[2])
    assert report["n"] == 32
    assert report["accuracy"] > 0.9
    assert "checkpoint (steps): runs/mine/newest/60" in own
    assert json.loads(own_measured.partition("\n")[2]) == report
    assert "checkpoint (steps): runs/patches/newest/6" in patches
    assert "error: --flip is not for checkpoints of system hands" in flip
    assert "error: people.npz: has no rows" in split
    data = {line for line in status(checkout) if line[3:].startswith(("people.npz", "pictures/"))}
    assert status(checkout) - data == added


def test_the_page_s_batches_are_those_that_its_system_trains_on(files, people):
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
    with pytest.raises(UserError, match=r"people.npz: is a file; name a folder"):
        train.main([*words, f"--workdir={people}"])


def test_an_unknown_system_is_told_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"no system 'hands'; one of lifter, movement, pose, sequence"
    ):
        systems.build({"system": "hands"})
