"""Fine-tuning a detector on a COCO file of one's own, from the command to the gain."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict

from bodyjax import systems
from bodyjax.commands import evaluate, train
from bodyjax.data import own_pictures
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.errors import CheckpointError, ConfigError, DataError
from bodyjax.evaluate import fine_tuning, pictures
from configs.pose import get_config
from tests import random_variables
from tests.picture_sets import body, coco_set, knowing
from tests.shared import shared
from tests.tiny_classifier import DETECTOR

MODEL = {**dict(DETECTOR), "paf_weight": 1.0, "size": (64, 64), "max_people": 3}
TINY = [
    "--config=configs/pose.py:finetune", "--config.optimizer.multipliers={}",
    "--config.optimizer.warmup=1", "--config.train.steps=3", "--config.data.batch=4",
    "--config.data.augment.canvas=76", "--config.detect.size=64",
    "--config.model.heads=stages",
    *(f"--config.model.{name}={value}" for name, value in MODEL.items()),
]  # fmt: skip


def tables(count: int, people: int = 1) -> list[list[np.ndarray]]:
    """COCO joints of `people` people in each of `count` pictures of 50 x 40."""
    rng = np.random.default_rng(0)
    seen = np.full((17, 1), 2.0)
    return [
        [np.concatenate([rng.uniform(4, 36, (17, 2)), seen], 1) for _ in range(people)]
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Weights of a small detector, random."""
    config = ConfigDict({"system": "pose", "model": MODEL, "train": {}, "detect": {"min_parts": 1}})
    made = random_variables.drawn(systems.build(config))
    kept = checkpoints.Checkpoint(made, config, "pose", meta={"skeleton": "body18"})
    return checkpoints.export(kept, tmp_path_factory.mktemp("start") / "tiny", "A test.")


@pytest.fixture(scope="module")
def trained(start, tmp_path_factory):
    """(arguments, folder of the run, pictures) of a fine-tuning in one command."""
    folder = tmp_path_factory.mktemp("own")
    data = coco_set(folder / "mine", tables(12))
    arguments = [*TINY, f"--config.start={start}", f"--config.data={data}"]
    arguments.append(f"--workdir={folder / 'run'}")
    assert train.main(arguments) == 0
    return arguments, folder / "run", data


def test_the_gain_is_that_of_launch_evaluate(trained, start, tmp_path):
    _, run, data = trained
    measures = json.loads((run / "test.json").read_text())
    for name, weights in (("start", start), ("result", run)):
        out = tmp_path / f"{name}.json"
        words = ["--checkpoint", str(weights), "--data", str(data), "--split", "valid"]
        assert evaluate.main([*words, "--size", "64", "--out", str(out), "--samples", "0"]) == 0
        report = json.loads(out.read_text())
        for key in ("AP", "AR", "pck_people", "n", "per_joint", "settings"):
            assert measures[name][key] == report[key], (name, key)
    assert measures["start"]["settings"]["min_parts"] == 1  # the start's own, for both
    low, difference, high = measures["gain"]["AP"]
    expected = measures["result"]["AP"] - measures["start"]["AP"]
    assert difference == pytest.approx(expected, abs=1e-6)
    assert low <= difference <= high


def test_start_and_result_are_compared_on_what_is_held_back(tmp_path, monkeypatch):
    people = tables(12, people=2)
    data = coco_set(tmp_path / "mine", people)
    right = {row: [body(table) for table in two] for row, two in enumerate(people)}
    some = {row: poses[: 1 + row % 2] for row, poses in right.items()}
    detectors = {"first": knowing(some), "second": knowing(right)}
    config = ConfigDict({"detect": {}, "model": {"skeleton": "body18"}})

    def load(name, **_):
        return SimpleNamespace(config=config, detector=detectors[name])

    def evaluated(checkpoint, *arguments, **options):
        return pictures.evaluate(checkpoint.detector, *arguments, **options)

    monkeypatch.setattr(fine_tuning.checkpoints, "load", load)
    monkeypatch.setattr(fine_tuning, "evaluate", evaluated)
    measures = fine_tuning.measure("first", "second", data, tmp_path)
    _, held = own_pictures.open_pictures(data)
    found = sum(1 + int(name.partition(".")[0]) % 2 for name in held.names)
    assert measures["result"]["AP"] == pytest.approx(1)
    assert measures["result"]["pck_people"] == 1
    assert measures["start"]["AR"] == pytest.approx(found / (2 * len(held)))
    low, difference, high = measures["gain"]["AP"]
    assert difference == pytest.approx(1 - measures["start"]["AP"])
    assert 0 < low < difference < high
    worse = fine_tuning.measure("second", "first", data, tmp_path)
    assert worse["gain"]["AP"][1] == pytest.approx(-difference)
    assert "WORSE" in fine_tuning.lines(worse)[-1]


def test_a_finished_run_says_the_same_again(trained, capsys):
    arguments, run, data = trained
    before = (run / "test.json").read_bytes()
    assert train.main(arguments) == 0
    said = capsys.readouterr().out
    learnt, held = own_pictures.open_pictures(data)
    assert f"own pictures: {len(learnt)} to learn from, {len(held)} held back" in said
    assert "held-back pictures: AP 0.000 -> 0.000, AR 0.000 -> 0.000" in said
    assert f"({len(held)} pictures)" in said
    assert f"launch.detect --checkpoint {run}" in said
    assert (run / "test.json").read_bytes() == before


def test_what_is_held_back_trains_nothing(tmp_path):
    def parts(**fields):
        data = coco_set(tmp_path / str(len(list(tmp_path.iterdir()))), tables(12), **fields)
        config = get_config("finetune")
        config.data.path = str(data)
        learnt, held = own_pictures.open_pictures(data)
        assert own_pictures.feed(config).source.names == learnt.names
        assert not set(learnt.names) & set(held.names)
        return learnt.names, held.names

    learnt, held = parts()
    assert len(learnt) + len(held) == 12
    learnt, held = parts(split=["train"] * 9 + ["test"] * 3)
    assert held == ("9.png", "10.png", "11.png")
    assert len(learnt) == 9
    for name in ("val", "valid"):
        learnt, held = parts(split=["train"] * 9 + [name] * 3)
        assert held == ("9.png", "10.png", "11.png")
        assert len(learnt) == 9
    learnt, held = parts(split=["train"] * 6 + ["val"] * 4 + ["test"] * 2)
    assert held == ("10.png", "11.png")
    assert len(learnt) == 6


def test_a_file_and_its_folder_are_the_same(tmp_path):
    data = coco_set(tmp_path / "mine", tables(12))
    both = [own_pictures.open_pictures(path) for path in (data, data / "annotations.json")]
    assert both[0][0].fingerprint == both[1][0].fingerprint


def changed(data, change):
    content = json.loads((data / "annotations.json").read_text())
    change(content)
    (data / "annotations.json").write_text(json.dumps(content))


def fewer(content):
    del content["annotations"][3:]


def no_names(content):
    del content["categories"][0]["keypoints"]


def no_people(content):
    for label in content["annotations"]:
        label["keypoints"], label["num_keypoints"] = [0] * 51, 0


def fourteen(content):
    del content["categories"][0]["keypoints"][14:]
    for label in content["annotations"]:
        del label["keypoints"][42:]


def all_test(content):
    for image in content["images"]:
        image["split"] = "test"


def other_split(content):
    content["images"][0]["split"] = "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (fewer, "labelled people to learn from, 4 or more are needed"),
        (no_people, "0 labelled people to learn from"),
        (no_names, "no category has keypoints"),
        (fourteen, "14 joints, coco17 has 17.*0, 0, 0"),
        (all_test, "0 labelled people to learn from"),
        (other_split, "no split 'mine'"),
    ],
)
def test_files_that_give_nothing_end_before_the_training(tmp_path, start, change, message):
    data = coco_set(tmp_path / "mine", tables(12))
    changed(data, change)
    arguments = [*TINY, f"--config.start={start}", f"--config.data={data}"]
    with pytest.raises(DataError, match=message) as caught:
        train.main([*arguments, f"--workdir={tmp_path / 'run'}"])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "newest").exists()


def test_paths_that_are_none_end_before_the_training(tmp_path, start):
    data = coco_set(tmp_path / "mine", tables(12))
    (tmp_path / "empty").mkdir()
    (data / "images" / "5.png").write_bytes(b"no picture")
    for path, message in (
        (tmp_path / "nowhere", "no such file or folder"),
        (tmp_path / "empty", r"0 \.json files"),
        (data / "images" / "1.png", "not a COCO keypoint file"),
        (data, "5.png: not a readable picture"),
    ):
        with pytest.raises(DataError, match=message):
            train.main([*TINY, f"--config.start={start}", f"--config.data={path}",
                        f"--workdir={tmp_path / 'run'}"])  # fmt: skip
    with pytest.raises(
        ConfigError, match=r"data\.path: no pictures are named.*--config\.data=PATH"
    ):
        train.main([*TINY, f"--config.start={start}", f"--workdir={tmp_path / 'run'}"])


def test_a_start_of_another_form_is_one_line(tmp_path, start):
    data = coco_set(tmp_path / "mine", tables(12))
    arguments = [*TINY, "--config.model.width=8", f"--config.start={start}"]
    with pytest.raises(CheckpointError) as caught:
        train.main([*arguments, f"--config.data={data}", f"--workdir={tmp_path / 'run'}"])
    assert "\n" not in str(caught.value)


def report(value, **more):
    return {"AP": value, "AR": value, "pck_people": 0.5, "split": {"train": 12, "test": 0}, **more}


def test_lines_say_plainly_what_came_of_it():
    better = {"start": report(0.31), "result": report(0.36), "gain": {"AP": [0.01, 0.05, 0.1]}}
    first, second = fine_tuning.lines(better)
    assert first == (
        "held-back pictures: AP 0.310 -> 0.360, AR 0.310 -> 0.360, PCK@0.2 0.500 -> 0.500 "
        "(12 pictures)"
    )
    assert second == "AP changed by +0.050, 80 % interval +0.010 to +0.100"
    worse = {"start": report(0.31), "result": report(0.3), "gain": {"AP": [-0.05, -0.01, 0.02]}}
    assert "(chance alone may do that)" in fine_tuning.lines(worse)[1]
    assert "WORSE than the start in AP and AR" in fine_tuning.lines(worse)[2]
    crowd = report(None, incomplete_pictures={"AR": 0.4})
    [line, note] = fine_tuning.lines({"start": None, "result": crowd, "gain": {}})
    assert line == "held-back pictures: AR 0.400, PCK@0.2 0.500 (12 pictures)"
    assert "nothing to compare with" in note


def test_the_first_blocks_stay_and_steps_are_shares_of_a_channel():
    """What is not trained costs no gradient, and one rate fits weights 4,000-fold apart."""
    config = get_config("finetune")
    fixed = {name for name, factor in config.optimizer.multipliers.items() if not factor}
    blocks = {f"backbone/block{i}" for i in range(config.model.frozen_blocks)}
    assert fixed == {"backbone/stem", *blocks}
    assert config.optimizer.name == "relative_adamw"
    # The most that a channel can move, all steps in one direction; the rate falls to nothing.
    assert config.optimizer.rate * config.train.steps / 2 < 0.15


@pytest.mark.slow
def test_the_network_of_small_is_tuned_from_published_weights(tmp_path):
    start = shared("data/backbones/movenet_multipose.npz")
    data = coco_set(tmp_path / "mine", tables(12))
    arguments = ["--config=configs/pose.py:finetune", f"--config.start={start}",
                 f"--config.data={data}", "--config.train.steps=2", "--config.optimizer.warmup=1",
                 "--config.data.batch=2", f"--workdir={tmp_path / 'run'}"]  # fmt: skip
    assert train.main(arguments) == 0
    measures = json.loads((tmp_path / "run" / "test.json").read_text())
    assert measures["start"] is None
    assert measures["result"]["n"] > 0
