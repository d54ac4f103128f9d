"""One training from a config: data, system, start, engine, and what is shown at the end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from bodyjax import (
    clip_joints,
    crossval,
    draw,
    gain,
    movement_eval,
    scorer,
    start,
    stored_maps,
    systems,
    teacher_maps,
    whole_file,
    windows,
)  # fmt: skip
from bodyjax.contract import Feed, Source, System, Variables
from bodyjax.data import clip_feed, feeds, own_pictures, sequences
from bodyjax.data.clip_feed import Clips
from bodyjax.data.folds import TEST, TRAIN
from bodyjax.data.stream import Stream
from bodyjax.engine import checkpoint, loop, settings
from bodyjax.errors import ConfigError, UserError
from bodyjax.systems import movement_settings
from bodyjax.systems.movement import Movement


def train(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Trains as the config says; the same call again goes on where the run stopped.

    Returns {"checkpoint", "step", "reason", "metrics", "waited_share", "lines"}, the last what a
    person wants to read.
    """
    for name in ("system", "data"):
        if name not in config:
            raise ConfigError("is missing in the config", place=name)
    try:
        workdir.mkdir(parents=True, exist_ok=True)  # said now, not when the data are prepared
    except OSError as error:
        raise UserError(f"no folder can be made ({error.strerror})", file=workdir) from None
    check_folder(config, workdir)
    if config.system == "sequence" and config.folds.kind:
        table = crossval.run(config, workdir)
        lines = [f"table: {workdir / 'metrics.json'}"]
        return {
            "checkpoint": "", "step": config.train.steps, "reason": "folds", "metrics": table,
            "waited_share": 0.0, "lines": lines,
        }  # fmt: skip
    system, feed, initial, meta = prepare(config)
    result = loop.fit(system, feed, config, workdir, initial_variables=initial, meta=meta)
    lines = [f"checkpoint ({result.reason}): {result.checkpoint}"]
    if config.data.get("kind") == own_pictures.KIND and host()[0] == 0:
        lines = test_pictures(config, result.checkpoint, workdir, again=result.again) + lines
    if config.system == "movement":
        lines = test_movement(config, result.checkpoint, workdir, again=result.again) + lines
        if not clip_joints.known(config):
            python = os.path.relpath(sys.executable)  # as it can be typed, .venv active or not
            command = f"{python} -m launch.recognize --checkpoint {workdir} --video FILE"
            lines.append(f"recognise a video: {command}")
    return {
        "checkpoint": str(result.checkpoint),
        "step": result.step,
        "reason": result.reason,
        "metrics": result.metrics,
        "waited_share": result.waited_share,
        "lines": lines,
    }


def check_folder(config: ConfigDict, workdir: Path) -> None:
    """ConfigError where figures of folds lie in the folder of one model, or the other way round."""
    folds = config.system == "sequence" and bool(config.folds.kind)
    other = workdir / ("newest" if folds else "metrics.json")
    if other.exists():
        what = "holds a training of one model" if folds else "holds figures of folds"
        raise ConfigError(what, file=workdir, hint="another --workdir")


def test_movement(config: ConfigDict, path: Path, workdir: Path, *, again: bool) -> list[str]:
    """Evaluates on the test clips, if there are any: lines to print, test.json, confusion.png.

    again: the run was finished before, and what it then measured stands."""
    if not clip_feed.has_test(config.data):
        return ["no test clips"]
    file = workdir / "test.json"
    if again and file.exists():
        measures = json.loads(file.read_text())
    else:
        trained = checkpoint.load(path)
        source = clip_feed.open_clips(config.data, "test", **kind_of_clips(config))
        order = "shuffled" if config.data.shuffle else "kept"
        measures = movement_eval.measure(trained, source, order=order)
        whole_file.write_text(file, json.dumps(measures, indent=1))
    counted = f"{measures['n']} clips, {measures['left_out']} left out"
    if config.model.several:
        share, mean = measures["accuracy"], measures["f1"]
        return [f"held-out clips: all right {share:.3f}, mean F1 {mean:.3f} ({counted})"]
    picture = workdir / "confusion.png"
    draw.confusion(np.array(measures["confusion"]), list(config.labels), picture)
    return [
        f"held-out clips: accuracy {measures['accuracy']:.3f}, mean of classes "
        f"{measures['mean_class_accuracy']:.3f} ({counted})",
        f"confusion matrix: {picture}",
    ]


def test_pictures(config: ConfigDict, path: Path, workdir: Path, *, again: bool) -> list[str]:
    """Start and result on the pictures held back: lines to print, test.json.

    again: the run was finished before, and what it then measured stands."""
    file = workdir / "test.json"
    if again and file.exists():
        measures = json.loads(file.read_text())
    else:
        measures = gain.measure(config.start, path, config.data.path, workdir)
        whole_file.write_text(file, json.dumps(measures, indent=1))
    python = os.path.relpath(sys.executable)
    command = f"{python} -m launch.detect --checkpoint {workdir} --input FILE --out overlay.jpg"
    return [*gain.lines(measures), f"find people: {command}"]


def prepare(config: ConfigDict) -> tuple[System, Feed, Variables, dict[str, Any]]:
    """(system, feed, initial variables, what the checkpoint records beside the config)."""
    if config.system == "movement":
        return prepare_movement(config)
    if config.system == "sequence":
        return prepare_sequence(config)
    if config.get("distill", {}).get("stored"):
        teacher_maps.take_form(config)
    system = systems.build(config)
    feed = feeds.open_feed(config, host=host())
    if config.data.get("kind") == own_pictures.KIND:
        gain.check(config.data.path, config.data.on_bad)
        take_settings(config)
    meta = {"skeleton": config.model.get("skeleton", "")}
    return system, feed, start.variables(config, system), meta


def take_settings(config: ConfigDict) -> None:
    """Fills in test-time settings that the config leaves out and the start has: so start and result
    are measured alike."""
    if config.start and not config.start.endswith(".npz"):
        stored = checkpoint.load(config.start, system="pose").config.get("detect", {})
        with config.unlocked(), config.ignore_type():
            config.detect = ConfigDict({**stored, **config.get("detect", {})})


def host() -> tuple[int, int]:
    """(index, count) of this process among those that train together."""
    return jax.process_index(), jax.process_count()


def prepare_sequence(config: ConfigDict) -> tuple[System, Feed, Variables, dict[str, Any]]:
    """One model (`folds.kind` empty): an official split's training side, its test side for
    evaluation, else every row; what only the data know is filled in the config."""
    if config.get("balance"):
        raise ConfigError(
            "is for folds only", place="balance", hint="one model takes loss.class_weights"
        )
    chosen = settings.train(config.train)
    if chosen.best.metric or chosen.stop.plateau:
        what = "joint sequences are evaluated on their test side, which must not choose"
        hint = "leave train.best and train.stop.plateau out; compare settings by folds.inner"
        raise ConfigError(what, place="train", hint=hint)
    if chosen.compute_dtype != "float32":
        raise ConfigError("sequences are computed in float32", place="train.compute_dtype")
    scorer.check_settings(config.get("score", {}))
    data = sequences.from_config(config.data)
    with config.unlocked(), config.ignore_type():
        config.update(ConfigDict(crossval.complete(config, data)))
    split = next(iter(data.splits.values()), None)
    feed = Stream(
        data if split is None else data.rows(split == TRAIN),
        as_stored,
        seed=config.seed,
        batch_size=config.data.batch_size,
        eval_source=None if split is None else data.rows(split == TEST),
        host_index=host()[0],
        host_count=host()[1],
    )
    meta = {
        "labels": list(data.classes), "skeleton": data.skeleton.name,
        "conditions": list(data.conditions),
    }  # fmt: skip
    return systems.build(config), feed, start.variables(config, systems.build(config)), meta


def as_stored(example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The transform of joint sequences: the system changes clips itself, on the device."""
    del rng
    return example


def prepare_movement(config: ConfigDict) -> tuple[System, Feed, Variables, dict[str, Any]]:
    """The classifier with its detector; `config.labels` and `config.detector` are filled in."""
    movement_settings.check_training(config)
    clips = open_all(config)
    take_labels(config, clips["train"].classes)
    fit_to_data(config)
    initial: Variables = {}
    if config.start and not config.get("second"):
        detector = checkpoint.load(config.start, system="pose")
        config.detector = detector.config.model
        parts = start.of_network(detector.variables)
        if not config.model.fine_tune:
            initial = {"frozen": {"detector": parts}}
    else:
        parts = {}
        config.detector = default_detector()
    system = systems.build(config)
    if config.model.fine_tune:
        initial = fine_tuning(config, system, parts)
    feed = clip_feed.clip_feed(config, sources(config, system, parts, clips), host=host())
    meta = {"labels": list(config.labels), "skeleton": "body18"}
    return system, feed, initial, meta


def kind_of_clips(config: ConfigDict) -> dict[str, bool]:
    """With what a classifier's clips are opened: joints, several labels."""
    return {"joints": clip_joints.known(config), "several": config.model.several}


def open_all(config: ConfigDict) -> dict[str, Clips]:
    """Every part of the clips, test clips too, each opened once: a bad one ends the run before the
    training, or is named there as left out."""
    opened = clip_feed.open_parts(config.data, **kind_of_clips(config))
    if host()[0] == 0:
        for part, source in opened.items():
            feeds.say_left_out(part, source)
    parts = clip_feed.with_validation(opened, config.data.holdout)
    if "valid" in parts:
        parts["valid"] = clip_feed.few(parts["valid"], config.data.get("watched", 0))
        there = set(np.asarray(parts["valid"].labels).tolist())
        absent = [name for k, name in enumerate(parts["train"].classes) if k not in there]
        if absent:
            say(f"no clips for validation of {', '.join(absent)}")
    return parts


def say(line: str) -> None:
    """Prints on the first of the processes that train together."""
    if host()[0] == 0:
        print(line)


def take_labels(config: ConfigDict, classes: tuple[str, ...]) -> None:
    """Fills in `config.labels`; ConfigError where it names other classes than the data's, or in
    another order."""
    if not config.labels:
        config.labels = classes
    elif tuple(config.labels) != classes:
        message = f"{', '.join(config.labels)} are not the data's classes"
        hint = f"leave it empty, or {', '.join(classes)} in this order"
        raise ConfigError(message, place="labels", hint=hint)


def sources(
    config: ConfigDict, system: System, detector: Variables, clips: Mapping[str, Clips]
) -> dict[str, Source]:
    """What the feed reads of the parts "train" and "valid": clips, with simulated copies if the
    config says so, or their stored maps."""
    parts: dict[str, Source] = {k: clips[k] for k in ("train", "valid") if k in clips}
    count = config.data.stored_frames
    if config.get("second"):
        found = clip_joints.detector_of(config)
        return {k: clip_joints.ensure(clips[k], found, count) for k in parts}
    if config.model.input == "maps":
        assert isinstance(system, Movement)
        return {k: stored_maps.ensure(clips[k], system, detector, count) for k in parts}
    if config.data.simulated_copies:
        parts["train"] = clip_feed.with_copies(clips["train"])
        if not clip_feed.knows_joints(parts["train"]):
            say("no joints beside the clips: their simulated copies are made smaller, none zoomed")
    return parts


def fit_to_data(config: ConfigDict) -> None:
    """Takes out of the config what the data have no use for, and says so: operations of movements
    that they don't have, and the choice of the best checkpoint where nothing is held out for it."""
    unknown = [name for name in config.operations if name not in config.labels]
    if unknown:
        config.operations = ConfigDict(
            {name: row for name, row in config.operations.items() if name not in unknown}
        )
        say(f"left out: operations of {', '.join(unknown)} (no such class in the data)")
    windows.read_operations(config.operations, tuple(config.labels), "the config")
    if config.train.best.metric and not clip_feed.has_validation(config.data):
        config.train.best.metric = ""
        say("no clips are held out (data.holdout is 0): the last checkpoint is kept, not the best")


def default_detector() -> dict[str, Any]:
    """The form of a detector that is not used (a classifier of known joints has one in name)."""
    return {
        "skeleton": "body18", "backbone": "se_resnet_small", "depthwise": "shifted",
        "frozen_blocks": 0, "stride": 8, "stages": 1, "light": True, "width": 16,
        "size": (64, 64), "max_people": 1, "sigma": 9.0, "paf_width": 6.0, "peak_weight": 0.0,
        "hard_joints": 0, "hard_stages": 0,
    }  # fmt: skip


def fine_tuning(config: ConfigDict, system: System, detector: Variables) -> Variables:
    """Initial variables of a classifier that trains its detector too: the detector's, in place."""
    fresh = jax.device_get(jax.jit(system.init)(jax.random.key(config.seed)))
    return {
        "params": {**fresh["params"], "detector": detector["params"]},
        "frozen": {"detector_batch_stats": detector["batch_stats"]},
    }
