"""Checkpoint in, file and its description out; one line for what can't be."""

import json

import pytest
from jax import export as exporting

from bodyjax import systems
from bodyjax.commands import export
from bodyjax.engine import checkpoint
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import CheckpointError, ConfigError, UserError
from bodyjax.export import parity
from bodyjax.export.program import Program, Shape
from tests.picture_sets import people_set
from tests.random_variables import drawn
from tests.test_lowering import small_sequence


@pytest.fixture
def scorer(tmp_path, monkeypatch):
    """A small scorer as exported weights; the comparison takes two examples."""
    monkeypatch.setattr(parity, "EXAMPLES", 2)
    config = small_sequence()
    meta = {"labels": list(config.labels), "skeleton": "coco17"}
    trained = Checkpoint(drawn(systems.build(config)), config, "sequence", meta=meta)
    return str(checkpoint.export(trained, tmp_path / "weights", "A test.", dtype="float32"))


def words(scorer, out, *more, kind="stablehlo"):
    return ["--checkpoint", scorer, "--format", kind, "--out", str(out), *more]


def test_a_file_and_its_description(scorer, tmp_path, capsys):
    out = tmp_path / "scorer.stablehlo"
    assert export.main(words(scorer, out)) == 0
    said = capsys.readouterr().out
    assert "probability: largest difference" in said
    assert f"{out}: 0." in said
    found = json.loads((tmp_path / "scorer.stablehlo.json").read_text())
    assert found["labels"] == ["no", "yes"]
    assert (found["format"], found["weights"], found["batch"]) == ("stablehlo", "float32", "free")
    shapes = {end["name"]: end["shape"] for end in (*found["inputs"], *found["outputs"])}
    assert shapes["0/joints"] == ["b", 6, 17, 2]
    assert shapes["probability"] == ["b", 2]
    assert {"jax", "jaxlib", "bodyjax"} <= found["versions"].keys()
    assert max(found["differences"].values()) < 1e-3
    program = exporting.deserialize(bytearray(out.read_bytes()))
    assert set(program.platforms) == {"cpu", "cuda", "tpu"}


def test_a_file_that_is_off_is_not_written(scorer, tmp_path, monkeypatch):
    monkeypatch.setattr(
        parity, "differences", lambda *arguments: {"logits": 0.0, "probability": 0.002}
    )
    with pytest.raises(UserError, match=r"output probability differs by 0\.002 of its range"):
        export.main(words(scorer, tmp_path / "a"))
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "a.json").exists()
    assert export.main(words(scorer, tmp_path / "a", "--float16")) == 0


def test_the_differences_are_those_of_the_file_in_8_bits(scorer, tmp_path, monkeypatch, capsys):
    """Not those of the graph in float32 that it was made of, which is checked all the same."""
    x = {"x": Shape((1, 4), "float32")}

    def times(factor):
        return Program(b"file", lambda arrays: {"y": factor * arrays["x"]}, x, {})

    whole = times(1.0)
    ours = times(1.0).run
    monkeypatch.setattr(export, "exported", lambda *_: (whole, {}, ours))
    monkeypatch.setattr(export, "quantised", lambda *_: (times(1.25), {"share": 1.0}))
    out = tmp_path / "a.onnx"
    data = people_set(tmp_path / "people")
    command = words(scorer, out, "--int8-weights", "--data", str(data), kind="onnx")
    assert export.main(command) == 0
    assert json.loads((tmp_path / "a.onnx.json").read_text())["differences"]["y"] > 0.05
    assert "y: largest difference 0." in capsys.readouterr().out
    whole = times(1.25)
    with pytest.raises(UserError, match="output y differs by"):
        export.main(command)


def test_int8_of_a_scorer_is_refused(scorer, tmp_path):
    from bodyjax.export import int8

    program = Program(b"", dict, {}, {})
    with pytest.raises(ConfigError, match="system sequence; --int8 is measured by PCK"):
        int8.program(checkpoint.load(scorer), program, tmp_path)
    with pytest.raises(ConfigError, match="sequence; --int8-weights is measured by PCK"):
        int8.weights(checkpoint.load(scorer), program)


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("coreml", [], "--format: no format 'coreml'; one of stablehlo, onnx, tflite"),
        ("onnx", ["--int8", "--float16"], "exclude each other"),
        ("stablehlo", ["--int8"], "--int8 is for --format onnx, not stablehlo"),
        ("onnx", ["--int8-weights", "--int8"], "--int8 and --int8-weights exclude each other"),
        ("tflite", ["--int8-weights"], "--int8-weights is for --format onnx, not tflite"),
        ("onnx", ["--int8-weights"], "--data: --int8-weights needs it"),
        ("tflite", ["--float16"], "not tflite"),
        ("onnx", ["--int8"], "--data: --int8 needs it"),
        ("onnx", ["--data", "set"], "--data is for --int8, --int8-weights and --float16"),
        (
            "stablehlo",
            ["--float16", "--data", "set"],
            "--data is for --int8, --int8-weights and --float16",
        ),
        ("onnx", ["--float16", "--split", "test"], "--split for --data"),
        ("onnx", ["--int8", "--data", "set", "--least-share", "1.5"], "is not from 0 to 1"),
        ("stablehlo", ["--pictures", "no_such_folder"], "no_such_folder: no such folder"),
    ],
)
def test_flags_that_say_nothing_sensible_are_one_line(kind, more, said, tmp_path):
    with pytest.raises(UserError) as error:
        export.main(words("small", tmp_path / "f", *more, kind=kind))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_output_that_can_t_be_written_is_said_before_anything_is_loaded(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="the folder can't be made"):
        export.main(words("no such checkpoint", tmp_path / "file" / "f"))
    with pytest.raises(UserError, match="is a folder"):
        export.main(words("no such checkpoint", tmp_path))
    with pytest.raises(ConfigError, match="--out: is empty"):
        export.main(words("no such checkpoint", ""))
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        export.main(words("no such checkpoint", tmp_path / "f"))


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("none", [], "none: no such file or folder"),
        ("empty", [], "empty: no set of a known layout"),
        ("clips", [], "--data: a set of clips; labelled pictures"),
        ("people", ["--split", "tset"], "'tset'"),
    ],
)
def test_data_that_cannot_be_used_are_told_before_the_export(name, more, said, tmp_path):
    """The checkpoint is not even looked for."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "clips/wave").mkdir(parents=True)
    (tmp_path / "clips/wave/a.mp4").touch()
    people_set(tmp_path / "people")
    data = ["--int8-weights", "--data", str(tmp_path / name), *more]
    with pytest.raises(UserError, match=said):
        export.main(words("no such checkpoint", tmp_path / "f", *data, kind="onnx"))


def test_a_missing_extra_is_one_line(scorer, tmp_path, monkeypatch):
    from bodyjax.export import fetched

    monkeypatch.setattr(fetched.importlib.util, "find_spec", lambda name: None)
    for kind in ("onnx", "tflite"):
        with pytest.raises(UserError, match=rf'pip install "bodyjax\[{kind}\]"'):
            export.main(words(scorer, tmp_path / "f", kind=kind))
