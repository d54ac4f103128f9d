"""The config of system A, checked field by field: a mistake is one line that names its field."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from bodyjax.errors import ConfigError
from bodyjax.systems.pose_network import check

INPUTS = ("frames", "maps", "joints")
SAMPLINGS = ("random", "start", "middle", "end", "frames")
"""Rules of bodyjax.data.clips.folder.sample."""


@dataclass(frozen=True)
class Settings:
    """What `config.model` says of clips and of their training; sizes in pixels of the frames.

    input: one of `INPUTS`; `frames` T of `size` (height, width), chosen by `sampling`; `grid` cells
    a side of the clip's grid; `sigma` cells of Gaussians drawn from known joints; `threshold` of
    the score above which a joint counts for the box; `coordinates`: places and changes of the
    joints beside the maps; `several`: movements may hold at once. `smoothing` of the labels;
    `fine_tune`: the detector is trained, too; `augment`: largest change of scale, shift (share of
    the box), rotation (radians), flip (chance), noise, in training.
    """

    input: str
    frames: int
    size: tuple[int, int]
    sampling: str
    grid: int
    sigma: float
    threshold: float
    coordinates: bool
    several: bool
    class_weights: tuple[float, ...]
    smoothing: float
    fine_tune: bool
    augment: tuple[tuple[str, float], ...]


def read(config: Any) -> Settings:
    """The settings of a config whose fields hold (`check_model`)."""
    model = config["model"]
    plain = {field.name: model[field.name] for field in dataclasses.fields(Settings)}
    changes = tuple(sorted(dict(model["augment"]).items()))
    size, weights = tuple(model["size"]), tuple(model["class_weights"])
    return Settings(**{**plain, "size": size, "class_weights": weights, "augment": changes})


def check_model(config: Any) -> None:
    """`config.model`, of a training and of a checkpoint that is loaded."""
    model, labels = config["model"], tuple(config["labels"])
    if model["input"] not in INPUTS:
        hint = f"one of {', '.join(INPUTS)}"
        raise ConfigError(f"no input {model['input']!r}", place="model.input", hint=hint)
    if model["fine_tune"] and model["input"] != "frames":
        raise ConfigError("fine_tune needs frames", place="model.input", hint="input = 'frames'")
    mode = model["sampling"]
    check(mode in SAMPLINGS, "sampling", mode, f"one of {', '.join(SAMPLINGS)}")
    for field in ("frames", "grid", "embedding", "hidden"):
        check(whole(model[field], 1), field, model[field], "a whole number from 1 on")
    size, channels = tuple(model["size"]), tuple(model["channels"])
    check(len(size) == 2 and all(whole(n, 1) for n in size), "size", size, "(height, width)")
    check(all(whole(n, 1) for n in channels), "channels", channels, "whole numbers from 1 on")
    check(number(model["sigma"], 0) and model["sigma"] > 0, "sigma", model["sigma"], "above 0")
    check(number(model["threshold"], 0, 1), "threshold", model["threshold"], "from 0 to 1")
    for field in ("dropout", "smoothing"):
        below = number(model[field], 0, 1) and model[field] < 1
        check(below, field, model[field], "from 0 to below 1")
    for field, value in dict(model["augment"]).items():
        most = 1 if field == "flip" else math.inf
        wanted = "from 0 to 1" if field == "flip" else "at least 0"
        check(number(value, 0, most), field, value, wanted, "model.augment")
    weights = tuple(model["class_weights"])
    check(all(number(n, 0) for n in weights), "class_weights", weights, "numbers from 0 on")
    if weights and labels and len(weights) != len(labels):
        raise ConfigError(
            f"{len(weights)} class weights for {len(labels)} labels", place="model.class_weights"
        )


def check_training(config: Any) -> None:
    """The whole config of a training, before any data are opened."""
    check_model(config)
    model, data = config["model"], config["data"]
    if not whole(config["seed"], 0):
        raise ConfigError(f"{config['seed']!r} should be a whole number from 0 on", place="seed")
    for field, least in {"batch": 1, "samples": 1, "stored_frames": 1, "workers": 0}.items():
        wanted = f"a whole number from {least} on"
        check(whole(data[field], least), field, data[field], wanted, "data")
    watched = data.get("watched", 0)
    check(whole(watched, 0), "watched", watched, "a whole number from 0 on", "data")
    check(number(data["holdout"], 0, 0.5), "holdout", data["holdout"], "from 0 to 0.5", "data")
    for field, value in dict(data["augment"]).items():
        if field == "scale":
            scale = tuple(value)
            fits = len(scale) == 2 and all(number(n, 0) for n in scale) and 0 < scale[0] <= scale[1]
            check(fits, field, scale, "(least, most) above 0", "data.augment")
        else:
            check(number(value, 0), field, value, "at least 0", "data.augment")
    if model["input"] != "joints" and not config["start"]:
        hint = "a run's folder or shipped weights, as small; or model.input = 'joints'"
        raise ConfigError(f"{model['input']} need a trained detector", place="start", hint=hint)
    if config.get("second") and (model["input"] != "joints" or not config["start"]):
        hint = "start = 'small' and model.input = 'joints', or second = ''"
        raise ConfigError("needs a first look, and gives joints", place="second", hint=hint)
    if model["input"] == "maps" or config.get("second"):
        fits = model["frames"] <= data["stored_frames"]
        wanted = f"at most data.stored_frames ({data['stored_frames']})"
        check(fits, "frames", model["frames"], wanted)
    if data["simulated_copies"] and model["input"] != "frames":
        message = f"has no effect on input {model['input']!r}: copies are changed pixels"
        hint = "model.input = 'frames', or False"
        raise ConfigError(message, place="data.simulated_copies", hint=hint)


def whole(value: Any, least: int) -> bool:
    """Whether a value is a whole number of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def number(value: Any, low: float, high: float = math.inf) -> bool:
    """Whether a value is a finite number from `low` to `high`."""
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    return fits and math.isfinite(value) and low <= value <= high
