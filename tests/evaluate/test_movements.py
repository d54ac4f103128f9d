"""Evaluation of classifiers on clips: which frames, which clips are held out, whose classes."""

import json

import jax
import numpy as np
import pytest

from bodyjax import recognize, systems
from bodyjax.data import affine
from bodyjax.data.clips import feed, folder
from bodyjax.data.video.files import open_video
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import DataError
from bodyjax.evaluate import movements
from configs.classifier import get_config
from tests import labelled_clips
from tests import tiny_classifier as tiny

NAMES = ("clips/rest/a", "clips/rest/b", "clips/wave/c")


def of_joints(labels=("rest", "wave"), split="1", **model):
    """A checkpoint of the variant tiny, random weights."""
    config = get_config("tiny")
    config.labels, config.data.split = labels, split
    config.model.update(model)
    variables = jax.jit(systems.build(config).init)(jax.random.key(0))
    return Checkpoint(variables, config, "movement", meta={"labels": list(labels)})


@pytest.fixture
def split_clips(tmp_path):
    splits = {"1": {"a": 1, "b": 2, "c": 1}, "2": {"a": 2, "b": 1, "c": 2}}
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    return labelled_clips.write(tmp_path, *NAMES)


def test_what_is_held_out_is_told_by_the_split_of_the_training(split_clips):
    for number, held in (("1", 1), ("2", 2), ("9", 3)):  # a split that is not there: any of them
        found = movements.evaluate(of_joints(split=number), split_clips)
        assert found["split"] == {"held_out": held, "other": 3 - held}
    found = movements.evaluate(of_joints(split="1"), split_clips, "2:test")
    assert found["split"] == {"held_out": 2, "other": 0}


def test_sources_of_other_classes_are_refused(split_clips):
    source = folder.clips(split_clips, "all", joints=True)
    for labels in (("wave", "rest"), ("rest", "wave", "walk")):
        with pytest.raises(DataError, match=r"the data's classes are rest, wave; the checkpoint's"):
            movements.measure(of_joints(labels), source)


def test_several_movements_are_measured_by_labels_json(split_clips):
    (split_clips / "labels.json").write_text('{"rest/a": ["rest", "wave"], "rest/b": []}')
    checkpoint = of_joints(several=True)
    bias = np.array([9.0, 9.0], np.float32)  # both hold in every clip
    checkpoint.variables["params"]["classify"]["bias"] = bias
    found = movements.evaluate(checkpoint, split_clips)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["per_class"] == pytest.approx({"rest": 0.5, "wave": 0.8})
    assert (found["n"], found["left_out"]) == (3, 0)


@pytest.mark.parametrize("mode", ["random", "start", "end", "frames"])
def test_evaluation_sees_the_frames_that_recognition_sees(tmp_path, mode):
    labelled_clips.write(tmp_path, "stop/a", frames=30)
    config = tiny.config(sampling=mode)
    config.data.samples = 2
    checkpoint = Checkpoint(tiny.variables(), config, "movement")
    transform = movements.transform(checkpoint, movements.runnable(checkpoint))
    source = folder.clips(tmp_path, "all")
    seen = transform(source[0], np.random.default_rng(0))["frames"]
    numbers = folder.chosen(30, 8, recognize.load(checkpoint).sampling)
    video = open_video(source.files[0])
    matrix = affine.fit((128, 128), tiny.SIZE)
    frames = np.stack([affine.warp(f, matrix, tiny.SIZE) for f in video.read(numbers)])
    np.testing.assert_array_equal(seen.swapaxes(0, 1).reshape(frames.shape), frames)
    assert feed.spread(30, 4, 2, mode).T.ravel().tolist() == numbers.tolist()
