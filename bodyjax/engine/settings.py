"""The `optimizer` and `train` sections of a config, checked field by field. Imports no jax.

A config may leave any field out; for the checks and their messages see bodyjax.sections.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bodyjax import sections
from bodyjax.errors import ConfigError
from bodyjax.sections import check, choice


@dataclass(frozen=True)
class OptimizerSettings:
    """`config.optimizer`. Steps are batches; with `accumulate` k, k batches make one update."""

    name: str = "adamw"
    """adamw, adam, sgd (Nesterov momentum 0.9) or relative_adamw (optim.relative)."""
    rate: float = 1e-3
    """The highest learning rate."""
    warmup: int = 0
    """Steps of linear rise from rate / warmup (onecycle: length of the rising part, 0 = 30 %)."""
    decay: str = "constant"
    """cosine, exponential, onecycle or constant."""
    final: float = 0.0
    """The rate at the last step as a share of `rate` (cosine, exponential)."""
    clip: float = 0.0
    """Largest global norm of the gradient; 0 = unlimited."""
    weight_decay: float = 0.0
    """Not on biases, norms and other vectors."""
    multipliers: dict[str, float] = field(default_factory=dict)
    """Path prefix of parameters ('backbone/stem') to a factor of the rate; 0 = never changed. The
    longest prefix applies."""
    accumulate: int = 1
    """Batches averaged into one update, each weighted by its loss's weight, like one large
    batch."""
    ema: float = 0.0
    """Decay of the moving average of parameters and statistics used in evaluation; 0 = none."""


@dataclass(frozen=True)
class Best:
    """`config.train.best`: the evaluation metric that chooses the checkpoint to keep."""

    metric: str = ""
    mode: str = "max"


@dataclass(frozen=True)
class Stop:
    """`config.train.stop`: what ends a run before `train.steps`."""

    loss: float | None = None
    """The mean training loss between two log lines is at most this."""
    steps: int | None = None
    """This many steps are done (the schedule still spans `train.steps`)."""
    plateau: int | None = None
    """This many consecutive evaluations brought no better `train.best.metric`."""


@dataclass(frozen=True)
class TrainSettings:
    """`config.train`."""

    steps: int = 1000
    """Batches; also the length of the schedule."""
    log_every: int = 50
    eval_every: int = 0
    """Steps between evaluations; 0 = at the end only."""
    save_every: int = 0
    """Steps between extra checkpoints, besides those at every evaluation; 0 = no extra ones."""
    keep: int = 2
    """Newest checkpoints kept."""
    model_parallel: int = 1
    """Devices that share one copy of the parameters; the rest of the mesh is over the batch."""
    compute_dtype: str = "float32"
    """float32 or bfloat16, read by systems; parameters and losses stay float32."""
    best: Best = Best()
    stop: Stop = Stop()


FREE = (
    "train.steps",
    "train.log_every",
    "train.eval_every",
    "train.save_every",
    "train.keep",
    "train.model_parallel",
    "train.stop",
    "data.workers",
    "data.path",
)
"""Fields that may differ when a run resumes; all others must be unchanged. (The feed's fingerprint
shows whether the data are the same, wherever they are stored.)"""


def optimizer(config: Any) -> OptimizerSettings:
    """Checks `config.optimizer`."""
    settings = sections.read(OptimizerSettings, plain(config), "optimizer")
    choice(settings.name, ("adamw", "adam", "sgd", "relative_adamw"), "optimizer.name")
    choice(settings.decay, ("cosine", "exponential", "onecycle", "constant"), "optimizer.decay")
    check(settings.rate > 0, "optimizer.rate", settings.rate, "above 0")
    check(settings.warmup >= 0, "optimizer.warmup", settings.warmup, "at least 0")
    check(0 <= settings.final <= 1, "optimizer.final", settings.final, "from 0 to 1")
    check(settings.clip >= 0, "optimizer.clip", settings.clip, "at least 0")
    check(settings.weight_decay >= 0, "optimizer.weight_decay", settings.weight_decay, ">= 0")
    check(settings.accumulate >= 1, "optimizer.accumulate", settings.accumulate, "at least 1")
    check(0 <= settings.ema < 1, "optimizer.ema", settings.ema, "from 0 to below 1")
    if settings.decay == "exponential":
        check(settings.final > 0, "optimizer.final", settings.final, "above 0 with exponential")
    if settings.name == "adam":
        check(
            settings.weight_decay == 0,
            "optimizer.weight_decay",
            settings.weight_decay,
            "0 with adam (adamw has it)",
        )
    for prefix, factor in settings.multipliers.items():
        is_factor = isinstance(factor, int | float) and factor >= 0
        check(is_factor, f"optimizer.multipliers[{prefix!r}]", factor, "at least 0")
    return settings


def train(config: Any) -> TrainSettings:
    """Checks `config.train`."""
    settings = sections.read(TrainSettings, plain(config), "train")
    check(settings.steps >= 1, "train.steps", settings.steps, "at least 1")
    check(settings.log_every >= 1, "train.log_every", settings.log_every, "at least 1")
    check(settings.eval_every >= 0, "train.eval_every", settings.eval_every, "at least 0")
    check(settings.save_every >= 0, "train.save_every", settings.save_every, "at least 0")
    check(settings.keep >= 1, "train.keep", settings.keep, "at least 1")
    check(settings.model_parallel >= 1, "train.model_parallel", settings.model_parallel, ">= 1")
    choice(settings.compute_dtype, ("float32", "bfloat16"), "train.compute_dtype")
    choice(settings.best.mode, ("max", "min"), "train.best.mode")
    if settings.stop.steps is not None:
        check(settings.stop.steps >= 1, "train.stop.steps", settings.stop.steps, "at least 1")
    if settings.stop.plateau is not None:
        check(settings.stop.plateau >= 1, "train.stop.plateau", settings.stop.plateau, ">= 1")
        check(bool(settings.best.metric), "train.stop.plateau", "set", "used with train.best")
    return settings


def check_together(optimizer: OptimizerSettings, train: TrainSettings) -> None:
    """Checks that neither section can make alone."""
    check(
        train.steps % optimizer.accumulate == 0,
        "train.steps",
        train.steps,
        f"a multiple of optimizer.accumulate ({optimizer.accumulate})",
    )
    check_warmup(optimizer, train.steps)


def check_warmup(optimizer: OptimizerSettings, steps: int) -> None:
    """ConfigError if the warm-up is not over before the last of the steps."""
    wanted = f"below train.steps ({steps})"
    check(optimizer.warmup < steps, "optimizer.warmup", optimizer.warmup, wanted)


def plain(config: Any) -> dict[str, Any]:
    """A ConfigDict or dict as JSON values (tuples become lists)."""
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    try:
        return json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the config holds a value that JSON has not: {error}") from error


def complete(config: Any) -> None:
    """Puts every field of the sections `optimizer` and `train` that a ConfigDict leaves out into
    it, at its default, in place: so all of them can be set by a flag."""
    kinds = {"optimizer": OptimizerSettings, "train": TrainSettings}
    _fill(config, {name: dataclasses.asdict(kind()) for name, kind in kinds.items()})


def _fill(section: Any, defaults: Mapping[str, Any]) -> None:
    with section.unlocked():
        for name, value in defaults.items():
            if name not in section:
                section[name] = value
            elif isinstance(value, dict):
                _fill(section[name], value)


def expanded(config: dict[str, Any]) -> dict[str, Any]:
    """A plain config with every field of `optimizer` and `train`, defaults included."""
    return {
        **config,
        "optimizer": dataclasses.asdict(optimizer(config.get("optimizer", {}))),
        "train": dataclasses.asdict(train(config.get("train", {}))),
    }


def differences(old: Any, new: Any, place: str = "", free: tuple[str, ...] = FREE) -> list[str]:
    """Lines 'field: old -> new' for two plain configs, the fields in `free` left out."""
    if place in free or old == new:
        return []
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [f"{place}: {json.dumps(old)} -> {json.dumps(new)}"]
    lines = []
    for name in sorted({*old, *new}):
        inner = f"{place}.{name}" if place else name
        lines += differences(old.get(name), new.get(name), inner, free)
    return lines
