"""A classifier on the joints that a detector with a second look finds: whose joints, stored ones,
training, evaluation and recognition alike."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from bodyjax import detect, recognize, tasks
from bodyjax.data import stream
from bodyjax.data.clips import feed, folder
from bodyjax.engine import checkpoint, evaluate, mesh
from bodyjax.errors import ConfigError
from bodyjax.evaluate import movements
from bodyjax.recognize import clip_joints
from bodyjax.skeleton import BODY18
from bodyjax.tasks import movement
from configs.classifier import get_config
from tests import labelled_clips

SIDE = 64
BODY = np.stack([np.arange(18) % 5, np.arange(18) // 5], -1) * 4.0


def seeing(bodies, asked=None) -> Any:
    """A detector whose people are bodies(canvas): (xy (18, 2), person score), NaN where absent."""

    def predict(variables, canvas):
        if asked is not None:
            asked.append(canvas)
        xy, score = np.zeros((3, 18, 2), np.float32), np.zeros((3, 18), np.float32)
        person = np.zeros(3, np.float32)
        for row, (pose, value) in enumerate(bodies(canvas)):
            there = np.isfinite(pose).all(-1)
            xy[row, there], score[row, there], person[row] = pose[there], 0.9, value
        none = np.zeros((18, 2)), np.zeros(18), np.zeros((3, 0))
        zero = np.int32(0)
        return detect.Detections(xy, score, person, zero, zero, score > 0, *none)

    settings = detect.Settings(size=SIDE)
    return detect.Detector({"w": np.ones(2)}, predict, BODY18, settings, name="seeing")


def square(canvas):
    """One person on the bright square of labelled_clips."""
    y, x = np.nonzero(canvas[..., 0] > 200)
    return [(BODY / 4 + [x.min(), y.min()], 0.8)] if len(x) else []


def test_the_person_of_the_highest_sum_of_scores_is_taken():
    def bodies(canvas):
        frame = int(canvas[0, 0, 0])
        lame = BODY + np.array([10, 20])
        lame[3] = np.nan
        strong = [(BODY + np.array([40 + frame, 30]), 0.5)] if frame not in (0, 4, 7) else []
        return [*strong, (lame, 0.4 if frame < 3 else 0.1)]

    frames = [np.full((SIDE, SIDE, 3), number, np.uint8) for number in range(8)]
    xy, score = clip_joints.of_frames(seeing(bodies), frames)
    where = np.array([40 + frame for frame in range(8)])
    np.testing.assert_allclose(xy[1:7, 0, 0], where[1:7], atol=1e-3)  # frame 4 lies between
    assert (score[1:7] > 0.8).all()
    assert (score[[0, 7]] == 0).all()
    assert (xy[[0, 7]] == 0).all()


def test_absent_joints_and_nobody():
    pose = BODY + 20
    pose[3] = np.nan
    frames = [np.zeros((SIDE, SIDE, 3), np.uint8)] * 3
    xy, score = clip_joints.of_frames(seeing(lambda canvas: [(pose, 0.5)]), frames)
    assert (score == np.where(np.arange(18) == 3, 0, np.float32(0.9))).all()
    assert (xy[:, 3] == 0).all()
    xy, score = clip_joints.of_frames(seeing(lambda canvas: []), frames)
    assert xy.shape == (3, 18, 2)
    assert not score.any()


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A config of clips of one's own, and which canvases the detector saw."""
    monkeypatch.setenv("BODYJAX_CACHE", str(tmp_path / "cache"))
    names = [f"train/{label}/{i}" for label in ("rest", "wave") for i in range(3)]
    root = labelled_clips.write(tmp_path / "clips", *names, "test/rest/0", "test/wave/0", frames=12)
    for file in root.rglob("*.json"):
        file.unlink()  # no joints lie beside them
    config = get_config("tiny")
    config.start, config.second = "small", "large"
    config.data.path, config.data.holdout, config.data.batch = str(root), 0.0, 4
    config.data.stored_frames, config.data.samples, config.train.eval_every = 8, 2, 0
    asked: list[Any] = []
    monkeypatch.setattr(clip_joints, "detector_of", lambda config: seeing(square, asked))
    return config, asked


def test_joints_are_found_once_and_stored(own):
    config, asked = own
    source = folder.clips(config.data.path, "train")
    found = clip_joints.ensure(source, seeing(square, asked), 8)
    assert len(asked) == 6 * 8
    again = clip_joints.ensure(source, seeing(square, asked), 8)
    assert len(asked) == 6 * 8
    np.testing.assert_array_equal(found.tables, again.tables)
    assert found.fingerprint == again.fingerprint
    example = found[4]
    assert (example["xy"].shape, int(example["length"])) == ((8, 1, 18, 2), 8)
    numbers = feed.spread(12, 8, 1)[0]
    places = (128 - labelled_clips.SIDE - 12) // 2 + numbers
    np.testing.assert_allclose(example["xy"][:, 0, 0, 0], places, atol=1.5)
    other = dataclasses.replace(seeing(square, asked), variables={"w": np.zeros(2)})
    clip_joints.ensure(source, other, 8)
    assert len(asked) == 2 * 6 * 8  # of another detector they are others


def test_training_evaluation_and_recognition_see_the_same(own, tmp_path):
    config, _ = own
    result = tasks.train(config, tmp_path / "run")
    assert "launch.recognize" in "\n".join(result["lines"])
    assert json.loads((tmp_path / "run" / "test.json").read_text())["n"] == 2
    trained = checkpoint.load(tmp_path / "run")
    source = folder.clips(config.data.path, "test", classes=trained.labels)
    system = movements.runnable(trained)
    stored = clip_joints.ensure(source, clip_joints.detector_of(config), 8)
    probability = evaluate.predict_rows(
        evaluate.make_predictor(system, mesh.one_device()),
        trained.variables,
        stream.whole(stored, movements.transform(trained, system), 32),
    )
    recognizer = recognize.load(trained)
    assert recognizer.size == (SIDE, SIDE)
    for row, file in enumerate(source.files):
        found = recognize.recognize_video(recognizer, file)
        assert found["probability"] == pytest.approx(probability[row].max(), abs=1e-5)
        assert len(found["frames"]) == 8
    report = movements.evaluate(trained, config.data.path, "test")
    assert report["n"] == 2

    frames = np.zeros((2, 4, SIDE, SIDE, 3), np.uint8)
    frames[:, :, 20:30, 30:40] = 255
    found = recognizer.predict(recognizer.variables, frames)
    assert found.xy.shape == (2, 4, 18, 2)
    np.testing.assert_allclose(found.xy[1, 2], BODY / 4 + [30, 20], atol=1e-3)
    with pytest.raises(ValueError, match="not uint8"):
        recognizer.predict(recognizer.variables, frames.astype(float))


def test_configs_that_cannot_be():
    config = get_config("jhmdb_second")
    for name, value in (("input", "maps"), ("frames", 41)):
        wrong = get_config("jhmdb_second")
        wrong.model[name] = value
        with pytest.raises(ConfigError):
            movement.prepare(wrong, (0, 1))
    config.start = ""
    with pytest.raises(ConfigError, match="second: needs a first look"):
        movement.prepare(config, (0, 1))
