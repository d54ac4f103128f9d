"""launch.benchmark: what it prints and writes, and that one missing part costs no other."""

import json
import sys

import pytest

from bodyjax.bench import reading, rows, scenes
from bodyjax.bench.rows import Row
from bodyjax.commands import benchmark
from bodyjax.errors import UserError


def test_an_error_becomes_a_row_and_keeps_what_was_measured():
    def part():
        yield Row("part", "first", 1.5, "ms")
        raise ImportError("no torch here\nand more")

    first, second = rows.attempt("part", "rest", part)
    assert first.value == 1.5
    assert second.value is None
    assert second.note == "not measured: ImportError: no torch here"


def dies():
    import os

    yield Row("part", "first", 1.0, "ms")
    os._exit(3)


def works(value):
    yield Row("part", "figure", value, "ms", compile_seconds=0.5, note="by hand")


def test_a_part_that_dies_is_told():
    (row,) = rows.measure_apart("part", dies)
    assert row.value is None
    assert "not measured" in row.note


def test_parts_run_apart_and_give_their_memory():
    figure, memory = rows.measure_apart("part", works, 2.0)
    assert figure.value == 2.0
    assert memory.name == "peak host memory"
    assert 5 < memory.value < 5000
    text = rows.table([figure, memory])
    assert "figure" in text
    assert "compile 0.5 s; by hand" in text


def test_an_unknown_system_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"no system 'dancer'.*reading.*movement.*pose.*sequence"):
        benchmark.main(["--system", "dancer"])


def test_an_unknown_part_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"--parts: no part 'lifter'; one of .*detector.*grouping"):
        benchmark.main(["--system", "pose", "--parts", "grouping,lifter"])
    chosen = list(benchmark.parts(benchmark.load_configs(), None, "cpu"))
    names = [part[0] for part in benchmark.named(chosen, ["labels", "detector"])]
    assert names == ["detector", "labels"]


def test_every_config_has_its_parts_and_detectors_are_compared():
    configs = benchmark.load_configs()
    parts = {name: arguments for name, _, arguments in benchmark.parts(configs, None, "cpu")}
    assert {
        "reading",
        "detector",
        "networks",
        "labels",
        "grouping",
        "videos",
        "sequence model",
    } <= set(parts)
    for part in ("training step", "prediction"):
        assert {f"{name}: {part}" for name in configs} <= set(parts)
    assert {"small", "cmu"} <= set(parts["networks"][0])
    only = [name for name, _, _ in benchmark.parts(configs, "sequence", "cpu")]
    assert only == ["sequence: training step", "sequence: prediction", "sequence model"]


def test_configs_are_completed_without_data():
    configs = benchmark.load_configs()
    parts = {name: arguments for name, _, arguments in benchmark.parts(configs, "movement", "cpu")}
    done = parts["classifier: training step"][1]
    assert len(done.labels) == 9
    assert done.detector.backbone
    assert configs["classifier"].labels == ()


def test_readers_are_compared_on_clips_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reading, "CLIPS", {"tiny": ("64x48", 30, 12)})
    found = {row.name: row for row in reading.reading(sampled=4, repeats=1)}
    ours = found["tiny: bodyjax"]
    assert ours.value > 0
    assert "0 of 4 frames wrong" in ours.note
    for name in ("decord", "OpenCV", "torchcodec"):
        assert name in " ".join(found)


def test_json_holds_machine_and_rows(tmp_path, monkeypatch, capsys):
    def only(configs, system, platform):
        yield "part", works, (3.0,)
        yield "other", dies, ()

    monkeypatch.setattr(benchmark, "parts", only)
    file = tmp_path / "out.json"
    words = ["--platform", "cpu", "--json", str(file), "--parts", "part"]
    assert benchmark.main(words) == 0
    record = json.loads(file.read_text())
    assert record["machine"]["devices"]
    assert record["rows"][0]["value"] == 3.0
    assert {row["part"] for row in record["rows"]} == {"part"}
    assert "figure" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="GPUs are looked for on Linux")
def test_a_missing_device_is_one_line(tmp_path):
    import jax

    if jax.default_backend() != "cpu":
        pytest.skip("this machine has a device")
    with pytest.raises(UserError, match="no tpu device"):
        benchmark.main(["--platform", "tpu", "--system", "sequence"])


def test_people_of_a_scene_lie_in_the_picture():
    xy = scenes.figures(20, 368.0, seed=1)
    assert xy.shape == (20, 18, 2)
    assert ((xy > -40) & (xy < 420)).all()
