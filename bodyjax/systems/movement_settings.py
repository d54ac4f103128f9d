"""The config of system A, checked field by field: a mistake is one line that names its field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bodyjax import sections
from bodyjax.data.clips import settings as clip_settings
from bodyjax.errors import ConfigError
from bodyjax.sections import check

INPUTS = ("frames", "maps", "joints")
SAMPLINGS = ("random", "start", "middle", "end", "frames")
"""The rules of bodyjax.data.clips.folder.sample."""


@dataclass(frozen=True)
class BoxChanges:
    """`model.augment`: largest change of a clip's box in training: scale, shift (share of the box),
    rotation (radians), flip (chance), noise."""

    scale: float
    shift: float
    rotation: float
    flip: float
    noise: float


@dataclass(frozen=True)
class Settings:
    """`config.model` of a movement classifier; sizes in pixels of the frames.

    input: one of `INPUTS`; `frames` T of `size` (height, width), chosen by `sampling`; `grid`:
    cells per side of the clip's grid; `sigma` cells of Gaussians drawn from known joints;
    `threshold` of the score above which a joint counts for the box; `coordinates`: positions and
    changes of the joints beside the maps; `several`: several movements may hold at once.
    `smoothing` of the labels; `fine_tune`: the detector is trained too.
    """

    input: str
    frames: int
    sampling: str
    size: tuple[int, int]
    grid: int
    sigma: float
    threshold: float
    channels: tuple[int, ...]
    embedding: int
    hidden: int
    dropout: float
    coordinates: bool
    several: bool
    class_weights: tuple[float, ...]
    smoothing: float
    fine_tune: bool
    augment: BoxChanges


def check_model(config: Any) -> Settings:
    """`config.model`, of a training and of a checkpoint that is loaded."""
    model, labels = sections.read(Settings, config["model"], "model"), tuple(config["labels"])
    if model.input not in INPUTS:
        hint = f"one of {', '.join(INPUTS)}"
        raise ConfigError(f"no input {model.input!r}", place="model.input", hint=hint)
    if model.fine_tune and model.input != "frames":
        raise ConfigError("fine_tune needs frames", place="model.input", hint="input = 'frames'")
    sections.choice(model.sampling, SAMPLINGS, "model.sampling")
    for field in ("frames", "grid", "embedding", "hidden"):
        value = getattr(model, field)
        check(value >= 1, f"model.{field}", value, "a whole number from 1 on")
    fits = len(model.size) == 2 and min(model.size) >= 1
    check(fits, "model.size", model.size, "(height, width)")
    channels = model.channels
    check(min(channels, default=0) >= 1, "model.channels", channels, "whole numbers from 1 on")
    check(model.sigma > 0, "model.sigma", model.sigma, "above 0")
    check(0 <= model.threshold <= 1, "model.threshold", model.threshold, "from 0 to 1")
    for field in ("dropout", "smoothing"):
        value = getattr(model, field)
        check(0 <= value < 1, f"model.{field}", value, "from 0 to below 1")
    for field in ("scale", "shift", "rotation", "noise"):
        value = getattr(model.augment, field)
        check(value >= 0, f"model.augment.{field}", value, "at least 0")
    flip = model.augment.flip
    check(0 <= flip <= 1, "model.augment.flip", flip, "from 0 to 1")
    weights = model.class_weights
    check(min(weights, default=0) >= 0, "model.class_weights", weights, "numbers from 0 on")
    if weights and labels and len(weights) != len(labels):
        raise ConfigError(
            f"{len(weights)} class weights for {len(labels)} labels", place="model.class_weights"
        )
    return model


def check_training(config: Any) -> None:
    """The whole config of a training, before any data are opened."""
    model, data = check_model(config), clip_settings.read(config["data"])
    seed, start, second = config["seed"], config["start"], config["second"]
    check(isinstance(seed, int) and seed >= 0, "seed", seed, "a whole number from 0 on")
    if model.input != "joints" and not start:
        hint = "a run's folder or shipped weights, as small; or model.input = 'joints'"
        raise ConfigError(f"{model.input} need a trained detector", place="start", hint=hint)
    if second and (model.input != "joints" or not start):
        hint = "start = 'small' and model.input = 'joints', or second = ''"
        raise ConfigError("needs a first look, and gives joints", place="second", hint=hint)
    if model.input == "maps" or second:
        wanted = f"at most data.stored_frames ({data.stored_frames})"
        check(model.frames <= data.stored_frames, "model.frames", model.frames, wanted)
    if data.simulated_copies and second:
        message = "has no effect on joints that a second look finds"
        raise ConfigError(message, place="data.simulated_copies", hint="second = '', or False")
    if data.worn_copies and model.input != "maps":
        message = f"has no effect on input {model.input!r}: maps of the copies are stored"
        raise ConfigError(message, place="data.worn_copies", hint="model.input = 'maps', or 0")
