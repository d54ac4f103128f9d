"""One training from a config: data, system, start, engine, and what is shown at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from bodyjax import systems
from bodyjax.contract import Prepared
from bodyjax.data import feeds
from bodyjax.engine import loop
from bodyjax.errors import ConfigError, UserError
from bodyjax.train import start

Prepare = Callable[[ConfigDict, tuple[int, int]], Prepared]
Finish = Callable[[ConfigDict, Path, Path, bool], list[str]]
Folds = Callable[[ConfigDict, Path], dict[str, Any]]


def train(
    config: ConfigDict, workdir: Path, prepare: Prepare, finish: Finish | None, folds: Folds | None
) -> dict[str, Any]:
    """Trains as the config says; the same call again resumes where the run stopped. A config with
    `folds.kind` trains all its folds.

    prepare(config, host): what the system needs (`prepare` below if it needs nothing more).
    finish(config, checkpoint, workdir, again): measures the result and returns the lines that
    report it; again: the run had finished before. folds(config, workdir): trains and tests all
    folds and returns their figures; None: the system has none.

    Returns {"checkpoint", "step", "reason", "metrics", "waited_share", "lines"}, the last for
    people to read.
    """
    for name in ("system", "data"):
        if name not in config:
            raise ConfigError("is missing in the config", place=name)
    try:
        workdir.mkdir(parents=True, exist_ok=True)  # said now, not when the data are prepared
    except OSError as error:
        raise UserError(f"no folder can be made ({error.strerror})", file=workdir) from None
    check_folder(config, workdir)
    if of_folds(config):
        if folds is None:
            raise ConfigError(f"system {config.system} has no folds", place="folds.kind")
        table = folds(config, workdir)
        lines = [f"table: {workdir / 'metrics.json'}"]
        return {
            "checkpoint": "", "step": config.train.steps, "reason": "folds", "metrics": table,
            "waited_share": 0.0, "lines": lines,
        }  # fmt: skip
    system, feed, initial, meta = prepare(config, host())
    result = loop.fit(system, feed, config, workdir, initial_variables=initial, meta=meta)
    lines = []
    if finish is not None and host()[0] == 0:
        lines = finish(config, result.checkpoint, workdir, result.again)
    return {
        "checkpoint": str(result.checkpoint),
        "step": result.step,
        "reason": result.reason,
        "metrics": result.metrics,
        "waited_share": result.waited_share,
        "lines": [f"checkpoint ({result.reason}): {result.checkpoint}", *lines],
    }


def of_folds(config: ConfigDict) -> bool:
    """Whether a config trains folds, not one model."""
    return bool(config.get("folds", {}).get("kind"))


def check_folder(config: ConfigDict, workdir: Path) -> None:
    """ConfigError if the folder of one model holds figures of folds, or the other way round."""
    folds = of_folds(config)
    other = workdir / ("newest" if folds else "metrics.json")
    if other.exists():
        what = "holds a training of one model" if folds else "holds figures of folds"
        raise ConfigError(what, file=workdir, hint="another --workdir")


def prepare(config: ConfigDict, host: tuple[int, int]) -> Prepared:
    """The system and feed that a config names, and its start."""
    system = systems.build(config)
    feed = feeds.open_feed(config, host=host)
    bones = config.get("model", {}).get("skeleton", "")
    meta = {"skeleton": bones if isinstance(bones, str) else bones["name"]}
    return Prepared(system, feed, start.variables(config, system, feed), meta)


def host() -> tuple[int, int]:
    """(index, count) of this process among those that train together."""
    return jax.process_index(), jax.process_count()
