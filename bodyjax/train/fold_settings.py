"""The section `folds` of a config, checked, and the fields of others that have no meaning with
folds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bodyjax import sections
from bodyjax.engine import settings
from bodyjax.errors import ConfigError
from bodyjax.sections import check

KINDS = ("group", "leave_one_group_out", "official", "random")
MOST_SEED = 1_000_000
"""The largest of `folds.seeds`: a run's own seed, 1000 times as large, fits 32 bits."""
UNUSED = ("eval_every", "save_every", "keep", "model_parallel", "compute_dtype", "best", "stop")
"""Fields of `train` that mean nothing when folds are trained."""


@dataclass(frozen=True)
class Folds:
    """kind: one of KINDS, "" for one model; count: of "group" and "random"; seeds: each also the
    seed of its folds; members: models whose mean probability makes one prediction; inner: choose
    settings: every fold's training side is split into this many folds by group and one of them is
    tested, never the fold's own test side. random_folds: confirms that people may be on both sides.
    together: all runs by vmap (None: if that is faster).
    """

    kind: str = "group"
    count: int = 5
    seeds: tuple[int, ...] = (0, 1, 2)
    members: int = 1
    inner: int = 0
    random_folds: bool = False
    together: bool | None = None


def read(section: Any) -> Folds:
    """`config.folds`; ConfigError for a kind or number that makes no runs."""
    folds = sections.read(Folds, section, "folds")
    if folds.kind not in KINDS:
        hint = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"
        raise ConfigError(f"no folds {folds.kind!r}", place="folds.kind", hint=hint)
    if not folds.seeds or len(set(folds.seeds)) < len(folds.seeds):
        what = f"{folds.seeds} should be one seed or more, each once"
        raise ConfigError(what, place="folds.seeds", hint="e.g. (0, 1, 2)")
    for seed in folds.seeds:
        check(seed >= 0, "folds.seeds", seed, "a whole number from 0 on")
        if seed > MOST_SEED:
            raise ConfigError(f"{seed} is above {MOST_SEED}", place="folds.seeds")
    if folds.kind in ("group", "random"):
        check(folds.count >= 2, "folds.count", folds.count, "a whole number from 2 on")
    check(folds.members >= 1, "folds.members", folds.members, "a whole number from 1 on")
    return folds


def training(config: Mapping[str, Any]) -> settings.TrainSettings:
    """`config.train` for folds; ConfigError for a field that would have no effect."""
    chosen, plain = settings.train(config["train"]), settings.TrainSettings()
    settings.check_together(settings.optimizer(config["optimizer"]), chosen)
    for name in UNUSED:
        if getattr(chosen, name) != getattr(plain, name):
            what = f"{dataclasses.asdict(chosen)[name]!r} has no effect on folds"
            hint = "leave it out, or folds.kind='' for one model"
            raise ConfigError(what, place=f"train.{name}", hint=hint)
    return chosen
