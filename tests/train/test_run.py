"""One training from a config to its figures, on simulated clips; stored maps; controls."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from bodyjax import systems, tasks
from bodyjax.data import stream
from bodyjax.data.clips import feed
from bodyjax.engine import checkpoint
from bodyjax.errors import CheckpointError, ConfigError, VideoError
from bodyjax.evaluate import movement_controls
from bodyjax.systems import movement_settings
from bodyjax.tasks import movement
from bodyjax.train import stored_maps
from configs.classifier import get_config
from configs.sequence import get_config as sequence_config
from tests import labelled_clips
from tests.random_variables import drawn
from tests.tiny_classifier import DETECTOR


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of its own, with the clips of the tiny config."""
    folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("BODYJAX_CACHE", str(folder))
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    return workdir, tasks.train(get_config("tiny"), workdir)


def test_a_training_ends_with_figures_picture_and_checkpoint(trained):
    workdir, result = trained
    measures = json.loads((workdir / "test.json").read_text())
    assert measures["n"] == 9
    assert (workdir / "confusion.png").stat().st_size > 1000
    text = "\n".join(result["lines"])
    assert (
        f"accuracy {measures['accuracy']:.3f} [{measures['accuracy_interval']['low']:.3f}" in text
    )
    assert str(workdir / "confusion.png") in text
    assert "launch.recognize" not in text  # of known joints: there is nothing to recognise them by
    assert checkpoint.load(workdir).labels[:3] == ("change_lane", "go_straight", "idle")


def test_the_log_and_test_json_measure_the_same(trained):
    """The system's own metrics in both: a figure means the same wherever it is read."""
    workdir, _ = trained
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    logged = next(line for line in lines if line["kind"] == "eval")
    measures = json.loads((workdir / "test.json").read_text())
    of_metrics = {"accuracy", "top3", "mean_class_accuracy", "per_class", "confusion"}
    assert of_metrics < set(logged) - {"step", "kind", "seconds"} <= set(measures)
    assert set(measures) - set(logged) == {"labels", "bad", "split"}


def test_the_same_call_again_says_that_the_run_is_finished(trained):
    workdir, first = trained
    measured = (workdir / "test.json").stat().st_mtime_ns
    again = tasks.train(get_config("tiny"), workdir)
    assert (again["step"], again["checkpoint"]) == (first["step"], first["checkpoint"])
    assert (workdir / "test.json").stat().st_mtime_ns == measured
    assert again["lines"] == first["lines"]


def test_controls_of_a_classifier(trained):
    workdir, _ = trained
    found = movement_controls.controls(checkpoint.load(workdir))
    assert found["n"] == 9
    assert found["chance"] == pytest.approx(1 / 9)
    assert found["kept"] == json.loads((workdir / "test.json").read_text())["accuracy"]
    assert found["background"] * 9 == pytest.approx(round(found["background"] * 9))
    one = checkpoint.load(workdir)
    system = systems.build(one.config)
    predict = jax.jit(system.predict)
    source = feed.open_clips(one.config.data, "test", joints=True)
    for order in ("kept", "shuffled", "middle"):
        seen = feed.WholeClip(system.settings.frames, system.settings.size, False, order=order)
        examples = [seen(source[i], np.random.default_rng(0)) for i in range(len(source))]
        batch = {name: np.stack([example[name] for example in examples]) for name in examples[0]}
        taken_for = predict(one.variables, batch)["logits"].argmax(-1)
        assert found[order] == pytest.approx((taken_for == batch["label"]).mean()), order
    one.config.model.several = True
    with pytest.raises(ConfigError, match="controls are of one movement a clip"):
        movement_controls.controls(one)


@pytest.fixture
def own(tmp_path):
    """A config on clips of one's own, three a class to train and one to test."""
    names = [f"train/{label}/{i}" for label in ("rest", "wave") for i in range(3)]
    root = labelled_clips.write(tmp_path / "clips", *names, "test/rest/0", "test/wave/0")
    config = get_config("tiny")
    config.data.path, config.data.holdout, config.data.batch = str(root), 0.34, 4
    return config


def test_bad_clips_are_told_before_the_training(own, capsys):
    root = Path(own.data.path)
    (root / "train/wave/cut.mp4").write_bytes(b"broken")
    (root / "test/rest/empty.mp4").write_bytes(b"")
    own.data.on_bad = "skip"
    movement.prepare(own, (0, 1))
    said = capsys.readouterr().err
    assert said.count("cut.mp4") == said.count("empty.mp4") == 1
    assert "left out of train: 1 " in said
    assert "left out of test: 1 the file is empty" in said
    (root / "train/wave/cut.mp4").unlink()
    own.data.on_bad = "raise"
    with pytest.raises(VideoError, match=r"test/rest/empty\.mp4"):
        movement.prepare(own, (0, 1))


def test_labels_that_are_not_the_classes_of_the_data_are_refused(own):
    for labels in (("wave", "rest"), ("rest",), ("rest", "wave", "jump")):
        own.labels = labels
        with pytest.raises(ConfigError, match=r"^labels: .*; leave it empty, or rest, wave"):
            movement.prepare(own, (0, 1))
    own.labels = ("rest", "wave")
    assert movement.prepare(own, (0, 1)).meta["labels"] == ["rest", "wave"]


def test_operations_are_of_the_classes_that_are_trained(own, capsys):
    movement.prepare(own, (0, 1))  # those of the shipped config are no news to who has own classes
    assert "operations" not in capsys.readouterr().out
    own.operations = {"waev": {"operation": "halt", "probability": 0.8, "hold": 2}}
    movement.prepare(own, (0, 1))
    assert "left out: operations of waev (no such class" in capsys.readouterr().out


def test_operations_that_are_none_are_told_before_the_training(own):
    own.operations = {"wave": {"operation": "halt", "probability": 80, "hold": 2}}
    with pytest.raises(ConfigError, match=r"operations\.wave: a probability outside 0 to 1"):
        movement.prepare(own, (0, 1))


def test_validation_that_can_not_be_is_told(own, capsys):
    own.data.holdout = 0.1
    with pytest.raises(ConfigError, match=r"data\.holdout: .* take another share, or 0"):
        movement.prepare(own, (0, 1))
    root = Path(own.data.path)
    for i in (1, 2):
        (root / f"train/wave/{i}.mp4").unlink()
    own.data.holdout = 0.34
    movement.prepare(own, (0, 1))
    said = capsys.readouterr().out
    assert "no clips for validation of wave: its figures cover the other classes only" in said


@pytest.mark.slow
def test_several_movements_at_once_are_trained_and_measured(own, tmp_path):
    root = Path(own.data.path)
    (root / "train/labels.json").write_text('{"rest/0": ["rest", "wave"], "rest/1": []}')
    (root / "test/wave/empty.mp4").write_bytes(b"")
    own.model.several, own.data.on_bad = True, "skip"
    result = tasks.train(own, tmp_path / "run")
    assert {"f1", "accuracy"} < set(result["metrics"])  # of the validation clips
    measures = json.loads((tmp_path / "run/test.json").read_text())
    assert (measures["n"], measures["left_out"]) == (2, 1)
    assert set(measures["per_class"]) == {"rest", "wave"}
    words = f"mean F1 {measures['f1']:.3f} (2 clips, 1 left out)"
    assert words in "\n".join(result["lines"])


def test_maps_of_several_movements_keep_their_labels(own):
    (Path(own.data.path) / "train/labels.json").write_text('{"rest/0": ["rest", "wave"]}')
    source = feed.open_clips(own.data, "train", several=True)
    stored = feed.StoredMaps(source, np.zeros((len(source), 4, 2, 2, 18), np.uint8), "x")
    assert source.several is not None
    for row in range(len(source)):
        np.testing.assert_array_equal(stored[row]["label"], source.several[row])


def test_weights_by_label_are_refused_where_there_are_no_folds(tmp_path):
    config = sequence_config("pushup")
    config.balance = True
    config.data = {"kind": "exercises", "label": "standard", "train": 2, "test": 1, "steps": 8}
    with pytest.raises(ConfigError, match="balance: is for folds only"):
        tasks.train(config, tmp_path)


def test_the_test_side_of_sequences_chooses_nothing(tmp_path):
    config = sequence_config("exercises")
    config.folds.kind = ""
    config.train.best = {"metric": "accuracy"}
    with pytest.raises(ConfigError, match=r"train: .* test side, which must not choose"):
        tasks.train(config, tmp_path)
    config.train.best = {"metric": ""}
    config.score = {"seconds": 0}
    with pytest.raises(ConfigError, match=r"score\.seconds: 0\.0 should be above 0"):
        tasks.train(config, tmp_path)


def test_folds_and_one_model_do_not_share_a_folder(tmp_path):
    (tmp_path / "one" / "newest").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds a training of one model"):
        tasks.train(sequence_config("exercises"), tmp_path / "one")
    (tmp_path / "metrics.json").write_text("{}")
    config = sequence_config("exercises")
    config.folds.kind = ""
    with pytest.raises(ConfigError, match="holds figures of folds"):
        tasks.train(config, tmp_path)


def test_one_frame_in_the_place_of_all_is_seen_as_such(trained):
    workdir, _ = trained
    loaded = checkpoint.load(workdir)
    source = feed.open_clips(loaded.config.data, "test", joints=True)
    transform = feed.WholeClip(4, (160, 160), False, order="middle")
    batch = next(stream.whole(source, transform, 4))
    assert batch["mask"].all()
    assert (batch["xy"] == batch["xy"][:, :1]).all()


def test_stored_maps_are_those_of_the_frames_and_are_made_once(cache, monkeypatch):
    config = get_config("tiny")
    config.detector = dict(DETECTOR)
    config.labels = tuple("abcdefghi")
    config.model.input, config.model.size = "maps", (64, 96)
    system = systems.build(config)
    variables = drawn(system.looker)
    detector = {name: variables[name] for name in ("params", "batch_stats")}
    source = feed.open_clips(config.data, "valid").take(np.arange(2))
    stored = stored_maps.ensure(source, system, detector, 5)
    assert stored.maps.shape == (2, 5, 8, 12, 18)
    whole = feed.WholeClip(5, (64, 96), True)(source[1], np.random.default_rng(0))
    maps = system.heatmaps(detector, whole["frames"][None])[0]
    np.testing.assert_allclose(stored.maps[1] / 255.0, maps, atol=0.01)

    def refuse(*_):
        raise AssertionError("made again")

    monkeypatch.setattr(stored_maps, "make", refuse)
    again = stored_maps.ensure(source, system, detector, 5)
    np.testing.assert_array_equal(again.maps, stored.maps)
    other = jax.tree.map(lambda x: x + 1, detector)
    with pytest.raises(AssertionError, match="made again"):  # other weights have other maps
        stored_maps.ensure(source, system, other, 5)


@pytest.mark.parametrize("kind", movement_settings.INPUTS)
def test_simulated_copies_are_added_to_the_training_clips(kind, cache):
    config = get_config("tiny")
    config.detector, config.labels = dict(DETECTOR), tuple("abcdefghi")
    config.model.input, config.model.size = kind, (64, 96)
    config.data.simulated_copies, config.data.stored_frames = True, 4
    system = systems.build(config)
    detector = {}
    if kind != "joints":
        variables = drawn(system.looker)
        detector = {name: variables[name] for name in ("params", "batch_stats")}
    opened = feed.open_parts(config.data, joints=kind == "joints")
    clips = {part: opened[part].take(np.array([0, 3])) for part in ("train", "valid")}
    made = movement.sources(config, system, detector, clips, (0, 1))
    assert {part: len(source) for part, source in made.items()} == {"train": 4, "valid": 2}
    labels = [int(made["train"][row]["label"]) for row in range(4)]
    assert labels == 2 * clips["train"].labels.tolist()
    config.data.batch = 4
    batch = next(feed.clip_feed(config, made).train_batches(0))
    assert sorted(batch["label"].tolist()) == sorted(labels)
    if kind == "maps":  # the copy looks different
        maps = made["train"].maps.astype(int)
        assert (np.abs(maps[2:] - maps[:2]).max((1, 2, 3, 4)) > 0).all()


@pytest.mark.parametrize("field", ["start", "second"])
def test_a_misspelt_detector_is_said_before_any_clip_is_drawn(field, tmp_path, monkeypatch):
    monkeypatch.setenv("BODYJAX_CACHE", str(tmp_path))
    config = get_config("jhmdb_second")
    config.data.path = "simulated:commands"
    config[field] = "smal"
    with pytest.raises(CheckpointError, match="smal"):
        movement.prepare(config, (0, 1))
    assert list(tmp_path.iterdir()) == []
