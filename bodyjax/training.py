"""One training from a config: data, system, start, engine, and what is shown at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from bodyjax import crossval, draw, movement_eval, start, stored_maps, systems
from bodyjax.contract import Feed, System, Variables
from bodyjax.data import clip_feed, feeds, sequences
from bodyjax.data.folds import TEST, TRAIN
from bodyjax.data.stream import Stream
from bodyjax.engine import checkpoint, loop
from bodyjax.errors import ConfigError


def train(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Trains as the config says; the same call again goes on where the run stopped.

    Returns {"checkpoint", "step", "reason", "metrics", "waited_share", "lines"}, the last what a
    person wants to read.
    """
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
    if config.system == "movement":
        lines = test_movement(config, result.checkpoint, workdir) + lines
        lines.append(
            f"recognise a video: python -m launch.recognize --checkpoint {workdir} --video FILE"
        )
    return {
        "checkpoint": str(result.checkpoint),
        "step": result.step,
        "reason": result.reason,
        "metrics": result.metrics,
        "waited_share": result.waited_share,
        "lines": lines,
    }


def test_movement(config: ConfigDict, path: Path, workdir: Path) -> list[str]:
    """Evaluates on the test clips, if there are any: lines to print, test.json, confusion.png."""
    if not clip_feed.has_test(config.data):
        return ["no test clips"]
    trained = checkpoint.load(path)
    source = clip_feed.open_clips(config.data, "test", joints=config.model.input == "joints")
    order = "shuffled" if config.data.shuffle else "kept"
    measures = movement_eval.measure(trained, source, order=order)
    (workdir / "test.json").write_text(json.dumps(measures, indent=1))
    picture = workdir / "confusion.png"
    draw.confusion(np.array(measures["confusion"]), list(config.labels), picture)
    return [
        f"held-out clips: accuracy {measures['accuracy']:.3f}, mean of classes "
        f"{measures['mean_class_accuracy']:.3f} ({measures['n']} clips)",
        f"confusion matrix: {picture}",
    ]


def prepare(config: ConfigDict) -> tuple[System, Feed, Variables, dict[str, Any]]:
    """(system, feed, initial variables, what the checkpoint records beside the config)."""
    if config.system == "movement":
        return prepare_movement(config)
    if config.system == "sequence":
        return prepare_sequence(config)
    system = systems.build(config)
    meta = {"skeleton": config.model.get("skeleton", "")}
    return system, feeds.open_feed(config, host=host()), start.variables(config, system), meta


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
    if not config.labels:
        config.labels = clip_feed.open_clips(config.data, "train").classes
    fit_to_data(config)
    initial: Variables = {}
    stored = None
    if config.start:
        detector = checkpoint.load(config.start, system="pose")
        config.detector = detector.config.model
        parts = {name: detector.variables[name] for name in ("params", "batch_stats")}
        if not config.model.fine_tune:
            initial = {"frozen": {"detector": parts}}
    else:
        parts = {}
        config.detector = default_detector()
    system = systems.build(config)
    if config.model.fine_tune:
        initial = fine_tuning(config, system, parts)
    if config.model.input == "maps":
        stored = stored_maps.sources(config, system, parts)  # type: ignore[arg-type]  # a Movement
    feed = clip_feed.clip_feed(config, stored, host=host())
    meta = {"labels": list(config.labels), "skeleton": "body18"}
    return system, feed, initial, meta


def fit_to_data(config: ConfigDict) -> None:
    """Takes out of the config what the data have no use for, and says so: operations of movements
    that they don't have, and the choice of the best checkpoint where nothing is held out for it."""
    unknown = [name for name in config.operations if name not in config.labels]
    if unknown:
        config.operations = ConfigDict(
            {name: row for name, row in config.operations.items() if name not in unknown}
        )
        print(f"left out: operations of {', '.join(unknown)} (no such class in the data)")
    if config.train.best.metric and not clip_feed.has_validation(config.data):
        config.train.best.metric = ""
        print(
            "no clips are held out (data.holdout is 0): the last checkpoint is kept, not the best"
        )


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
