"""Flags, files and exit codes of launch.evaluate; the figures are tested in tests/evaluate."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from bodyjax import detect, systems
from bodyjax.commands import evaluate, flags
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.errors import ConfigError, UserError
from tests.picture_sets import knowing, lsp_body, lsp_set

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lsp(tmp_path, monkeypatch):
    """LSP arrays of three pictures, and a checkpoint whose detector knows them."""
    joints = np.random.default_rng(0).uniform([5, 5], [45, 35], (3, 14, 2)).astype(np.float32)
    data = lsp_set(tmp_path / "lsp", joints, np.ones((3, 14), bool), np.array([10, 20, 31]))
    one = knowing({row: [lsp_body(joints[row])] for row in range(3)})
    given = {}

    def load(checkpoint, **settings):
        given.update(settings)
        return one

    monkeypatch.setattr(detect, "load", load)
    monkeypatch.setattr(checkpoints, "load", lambda name: SimpleNamespace(system="pose"))
    return SimpleNamespace(data=str(data), given=given)


PICTURES = "labelled pictures lie beside annotations.json, COCO keypoints"
TABLES = "a folder of joint tables (CLASS/NAME.csv, which launch.prepare --detect makes of videos)"
CLIPS = "clips lie in CLASS/NAME.mp4"


@pytest.mark.parametrize(
    ("checkpoint", "wanted"),
    [("small", PICTURES), ("lifter", PICTURES), ("pushup", TABLES), ("commands", CLIPS)],
)
def test_a_folder_of_something_else_gives_a_hint_at_what_helps(checkpoint, wanted, tmp_path):
    """Each kind of checkpoint names the data that it takes, and no others."""
    for name in ("empty", "texts", "flat"):
        (tmp_path / name).mkdir()
    (tmp_path / "texts/a.txt").write_text("hello")
    for name in ("flat/a.mp4", "a.mp4"):
        (tmp_path / name).touch()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "flat/1.png")
    for name in ("empty", "texts", "flat", "a.mp4"):
        path = tmp_path / name
        with pytest.raises(UserError) as caught:
            evaluate.main(["--checkpoint", checkpoint, "--data", str(path)])
        said = str(caught.value)
        assert said.startswith(f"{path}: ")
        assert [one in said for one in (PICTURES, TABLES, CLIPS)] == [
            one == wanted for one in (PICTURES, TABLES, CLIPS)
        ]


def test_metrics_go_to_the_file_and_to_the_screen(lsp, tmp_path, capsys):
    out = tmp_path / "metrics.json"
    words = ["--checkpoint", "small", "--data", lsp.data, "--out", str(out), "--samples", "10"]
    assert evaluate.main(words) == 0
    report = json.loads(out.read_text())
    assert report == json.loads(capsys.readouterr().out)
    assert report["pck_limbs"] == 1
    assert report["split"] == {"train": 1, "test": 2}
    assert report["per_joint"]["head_top"] == 0


def test_split_and_settings_reach_the_detector(lsp, capsys):
    words = ["--checkpoint", "small", "--data", lsp.data, "--split", "test", "--flip"]
    words += ["--size", "192", "--scales", "0.5,1", "--refine", "udp", "--samples", "0"]
    assert evaluate.main(words) == 0
    assert lsp.given == {"size": 192, "flip": True, "scales": (0.5, 1.0), "refine": "udp"}
    assert json.loads(capsys.readouterr().out)["split"] == {"train": 0, "test": 2}


def test_a_second_look_reaches_the_detector(lsp, capsys):
    words = ["--checkpoint", "small", "--data", lsp.data, "--samples", "0", "--second", "large"]
    assert evaluate.main([*words, "--turns", "--second-flip"]) == 0
    assert lsp.given == {"second": "large", "turns": True, "second_flip": True}
    capsys.readouterr()
    for flag in ("--turns", "--second-flip"):
        with pytest.raises(ConfigError, match=f"{flag} belongs to a second look; --second large"):
            evaluate.main([*words[:-2], flag])


def test_the_score_of_shown_people_reaches_the_detector(lsp, capsys):
    words = ["--checkpoint", "small", "--data", lsp.data, "--samples", "0", "--min-score"]
    assert evaluate.main([*words, "0.4"]) == 0
    assert lsp.given == {"min_person": 0.4}
    capsys.readouterr()
    for score, message in (("1.5", "1.5 is no score"), ("high", "'high' is no number")):
        with pytest.raises(ConfigError, match=f"--min-score: {message}"):
            evaluate.main([*words, score])


def test_people_below_the_score_that_is_shown_are_measured_too(lsp, capsys, monkeypatch):
    one = detect.load("small")
    settings = dataclasses.replace(one.settings, min_person=1.0)
    hidden = dataclasses.replace(one, settings=settings)
    monkeypatch.setattr(detect, "load", lambda name, **settings: hidden)
    words = ["--checkpoint", "small", "--data", lsp.data, "--samples", "0"]
    assert evaluate.main(words) == 0
    assert json.loads(capsys.readouterr().out)["pck_limbs"] == 1


def test_options_of_another_system_are_refused(monkeypatch):
    monkeypatch.setattr(checkpoints, "load", lambda name: SimpleNamespace(system="movement"))
    with pytest.raises(ConfigError, match=r"--flip is not for .*movement"):
        evaluate.evaluate("x", "y", None, {"flip": True})
    with pytest.raises(ConfigError, match=r"--min-score is not for .*movement"):
        evaluate.evaluate("x", "y", None, {"min_person": 0.5})
    with pytest.raises(ConfigError, match=r"--against is not for .*movement"):
        evaluate.evaluate("x", "y", None, {"against": "z.json"})
    for other in ("other", "coco", "../movement"):
        monkeypatch.setattr(checkpoints, "load", lambda name, s=other: SimpleNamespace(system=s))
        with pytest.raises(UserError, match=f"no evaluation of system {other}"):
            evaluate.evaluate("x", "y", None, {})


def test_results_never_replace_what_is_read_or_each_other(tmp_path):
    """Said before the checkpoint is looked for."""
    labels, other = tmp_path / "labels.json", tmp_path / "other.json"
    for file in (labels, other):
        file.write_text("{}")
    for data, words, flag in (
        (tmp_path, ["--out", labels], "--out would replace a file that is read"),
        (labels, ["--results", labels], "--results would replace a file that is read"),
        ("x", ["--against", other, "--results", other], "--results would replace a file that"),
        ("x", ["--out", "a.json", "--results", "a.json"], "--results would replace what --out"),
    ):
        with pytest.raises(UserError, match=flag):
            evaluate.main(["--checkpoint", "none", "--data", str(data), *map(str, words)])
    assert labels.read_text() == other.read_text() == "{}"


def test_a_wrong_list_is_said_before_the_work():
    with pytest.raises(ConfigError, match="no list of numbers"):
        evaluate.main(["--checkpoint", "x", "--data", "y", "--scales", "1;2"])


def test_results_that_name_a_thing_of_the_other_kind_are_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("kept")
    for option, name, message in (
        ("--out", ".", "is a folder; name a file"),
        ("--results", ".", "is a folder; name a file"),
        ("--pictures", "file", "is a file; name a folder"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate.main(["--checkpoint", "x", "--data", "y", option, str(tmp_path / name)])


def test_json_of_every_kind_of_metric():
    metrics = {"a": np.float32(0.5), "b": float("nan"), "c": np.eye(2, dtype=int), "d": (1, None)}
    assert evaluate.plain(metrics) == {"a": 0.5, "b": None, "c": [[1, 0], [0, 1]], "d": [1, None]}


def test_help_needs_no_jax_and_a_missing_checkpoint_is_one_line():
    code = (
        "import sys; sys.argv = ['x', '--help']; from bodyjax.commands import evaluate\n"
        "try: evaluate.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    words = [sys.executable, "-m", "launch.evaluate", "--checkpoint", "no/run", "--data", "x"]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("error: no/run: there is no such checkpoint")
    assert run.stderr.count("\n") == 1


@pytest.mark.slow
def test_exported_weights_from_the_command_line(tmp_path):
    config = flags.load_config(str(ROOT / "configs/pose.py:small"))
    system = systems.build(config)
    variables = jax.device_get(jax.jit(system.init)(jax.random.key(0)))
    checkpoint = checkpoints.Checkpoint(variables, config, "pose", meta={"skeleton": "body18"})
    weights = checkpoints.export(checkpoint, tmp_path / "weights", "card")
    joints = np.random.default_rng(0).uniform([5, 5], [45, 35], (3, 14, 2)).astype(np.float32)
    data = lsp_set(tmp_path / "lsp", joints, np.ones((3, 14), bool), np.array([10, 20, 31]))
    words = ["--checkpoint", str(weights), "--data", str(data), "--size", "96", "--flip"]
    run = subprocess.run(
        [sys.executable, "-m", "launch.evaluate", *words],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads(run.stdout)
    right = report["pck_limbs"] * 3 * 12  # of three people, 12 limb joints each
    assert right == pytest.approx(round(right))
    assert report["settings"]["size"] == 96
    assert report["split"] == {"train": 1, "test": 2}
