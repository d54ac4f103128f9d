"""Clips of one's own, from the folder to the figures and a recognised video, as README tells it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from bodyjax.commands import evaluate, flags, prepare, recognize, train
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.errors import ConfigError, DataError, UserError
from bodyjax.simulate.clips import ClipSpec, ensure
from tests import tiny_classifier
from tests.tiny_classifier import DETECTOR

TINY = [
    "--config=configs/classifier.py:tiny", "--config.model.input=frames",
    "--config.model.size=(64,64)", "--config.model.frames=2", "--config.data.batch=4",
]  # fmt: skip
NAMES = {"stop": "wave", "idle": "rest"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """wave/ and rest/: 6 clips each, with train/ and test/ beside one another."""
    folder = tmp_path_factory.mktemp("clips")
    spec = ClipSpec(train=6, valid=1, test=2, size=(64, 48), length=(8, 10))
    made = ensure(spec, cache=folder / "cache", progress=False)
    for part in ("train", "test"):
        for name, own in NAMES.items():
            shutil.copytree(made / part / name, folder / "parts" / part / own)
    return folder / "parts"


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Weights of a small detector, random: its maps depend on the frames."""
    config = ConfigDict({"system": "pose", "model": dict(DETECTOR), "train": {}})
    variables = {**tiny_classifier.variables()["frozen"]["detector"], "frozen": {}}
    made = checkpoints.Checkpoint(variables, config, "pose", meta={"skeleton": "body18"})
    return checkpoints.export(made, tmp_path_factory.mktemp("detector") / "tiny", "A test.")


@pytest.fixture(scope="module")
def tiny(detector):
    """The flags of every training here."""
    return [*TINY, f"--config.start={detector}"]


@pytest.fixture(scope="module")
def trained(clips, tiny, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("own") / "run"
    assert train.main([*tiny, f"--config.data={clips}", f"--workdir={workdir}"]) == 0
    return workdir


def test_train_and_test_folders(clips, trained, tmp_path):
    assert json.loads((trained / "test.json").read_text())["n"] == 4
    out = tmp_path / "figures.json"
    arguments = ["--checkpoint", str(trained), "--data", str(clips), "--split", "test"]
    assert evaluate.main([*arguments, "--out", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["n"] == 4
    assert figures["labels"] == ["rest", "wave"]
    assert figures["accuracy"] == json.loads((trained / "test.json").read_text())["accuracy"]
    found = tmp_path / "found.json"
    words = ["--checkpoint", str(trained), "--video", str(clips / "test"), "--json", str(found)]
    assert recognize.main(words) == 0
    results = json.loads(found.read_text())["results"]
    confusion = np.zeros((2, 2), int)
    for row in results:
        true = Path(row["video"]).parent.name
        confusion[figures["labels"].index(true), figures["labels"].index(row["movement"])] += 1
    assert confusion.tolist() == figures["confusion"]
    assert len({row["probability"] for row in results}) == 4  # it is the frames that tell


def test_a_detector_that_is_not_named_is_said(clips, detector, trained, tmp_path):
    frozen = checkpoints.load(trained).variables["frozen"]["detector"]
    own = checkpoints.load(detector).variables
    jax.tree.map(np.testing.assert_array_equal, frozen["params"], own["params"])
    for more in ([], ["--config.model.fine_tune=True"]):
        with pytest.raises(ConfigError, match="start: frames need a trained detector"):
            train.main([*TINY, *more, f"--config.data={clips}", f"--workdir={tmp_path}"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("data=none", "none"),
        ("train.best.metric=pck", "evaluation gives no 'pck'"),
    ],
)
def test_a_training_that_does_not_begin_leaves_nothing(clips, tiny, wrong, message, tmp_path):
    """Bad data, and what only the engine finds, after it has opened its log."""
    for workdir in (tmp_path / "new/run", tmp_path / "own"):
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own/notes.txt").write_text("kept")
        with pytest.raises(UserError, match=message):
            train.main(
                [*tiny, f"--config.data={clips}", f"--config.{wrong}", f"--workdir={workdir}"]
            )
        assert [path.name for path in tmp_path.rglob("*")] == ["own", "notes.txt"]


def test_a_folder_without_parts_says_what_it_leaves_out(clips, tiny, tmp_path, capsys):
    folder = [f"--config.data={clips / 'train'}"]
    assert train.main([*tiny, *folder, f"--workdir={tmp_path / 'a'}"]) == 0
    said = capsys.readouterr().out
    command = f"{os.path.relpath(sys.executable)} -m launch.recognize --checkpoint {tmp_path}"
    assert command in said
    assert "left out: operations" not in said
    assert "no test clips" in said
    nothing_held = ["--config.data.holdout=0.0", "--config.optimizer.multipliers={'conv1': 0.5}"]
    nothing_held += ["--config.train.best.metric=accuracy"]
    assert train.main([*tiny, *folder, *nothing_held, f"--workdir={tmp_path / 'b'}"]) == 0
    assert "no clips are held out" in capsys.readouterr().out


def test_a_prepared_set_gives_the_figures_of_its_folder(clips, tiny, trained, tmp_path):
    assert prepare.main(["--source", str(clips), "--out", str(tmp_path), "--name", "own"]) == 0
    workdir = tmp_path / "run"
    assert train.main([*tiny, f"--config.data={tmp_path / 'own'}", f"--workdir={workdir}"]) == 0
    assert json.loads((workdir / "test.json").read_text())["n"] == 4
    figures = []
    for data in (clips, tmp_path / "own"):
        out = tmp_path / "figures.json"
        arguments = ["--checkpoint", str(trained), "--data", str(data), "--split", "test"]
        assert evaluate.main([*arguments, "--out", str(out)]) == 0
        figures.append(json.loads(out.read_text()))
    assert figures[0]["confusion"] == figures[1]["confusion"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classifier:jhmdb"], "../shared/data/jhmdb: is not here; --config.data=PATH"),
        (["sequence:natops"], "../shared/data/natops: is not here; --config.data=PATH"),
        (["pose:cmu"], "../coco: is not here; --config.data=PATH"),
        (["lifter:2d3d"], "../shared/data: is not here; --config.data=PATH"),
        (["pose", "--config.data=data"], "../shared/data/backbones/movenet_multipose.npz: is not"),
        (["pose", "--config.data.sets={'simulated': 1.0}"], "multipose.npz: is not here; --config"),
        (["pose", "--config.data=../data"], "../data: is not here; --config.data=PATH names your"),
    ],
)
def test_default_data_that_is_not_there_is_one_line(words, message, tmp_path, monkeypatch):
    here = tmp_path / "one" / "two"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    with pytest.raises(DataError) as caught:
        train.main(["--config", *words])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(here.iterdir()) == []


def test_what_is_drawn_needs_no_folder_of_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train.check_there(flags.load_config("lifter"))


@pytest.mark.parametrize("text", ["localhost:1", "localhost:1,2", "localhost:1,a,b"])
def test_a_mistake_in_process_is_one_line(text, tmp_path):
    with pytest.raises(ConfigError, match="HOST:PORT,COUNT,INDEX"):
        train.main([*TINY, f"--process={text}", f"--workdir={tmp_path}"])


@pytest.mark.slow
def test_two_processes_train_together(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "launch.train", "--config=configs/classifier.py:tiny"]
    both = [
        subprocess.Popen(
            [*command, f"--process={address},2,{index}", f"--workdir={tmp_path / 'run'}"],
            env={**os.environ, "JAX_PLATFORMS": "cpu", "BODYJAX_CACHE": str(tmp_path)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for index in (0, 1)
    ]  # fmt: skip
    said = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "in 2 process(es)" in said[0]
    assert json.loads((tmp_path / "run/test.json").read_text())["n"] == 9
