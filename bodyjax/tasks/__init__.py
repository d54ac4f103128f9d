"""What the commands ask of a system, one file each, found by the system's name.

A file has the functions below that make sense for its system; the commands do without the others or
report that they are missing.

    prepare(config, host) -> contract.Prepared     what a training starts from; without it
                                                   train.run.prepare
    finish(config, checkpoint, workdir, again)     what is measured after a training: lines to print
    folds(config, workdir) -> figures              what a config with `folds.kind` trains and tests
    evaluate(checkpoint, data, split, ...)         what bodyjax evaluate measures; its further
                                                   parameters are the options that it takes
    open(checkpoint, ...) -> Opened                what bodyjax recognize does with a video
    archive(checkpoint, ...) -> archive.Work       what bodyjax archive does with each clip
    deployed(config) -> Deployed                   the function that users call: picture or frames
                                                   to result; without it the system's predict
    network(config) -> Network                     the part of it that every format can hold
    measure(name, config, variants, platform)      the parts that bodyjax benchmark times
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import bodyjax
from bodyjax import systems
from bodyjax.bench.rows import Row
from bodyjax.contract import Deployed as Deployed
from bodyjax.contract import Network as Network
from bodyjax.contract import System
from bodyjax.engine.step import shapes
from bodyjax.errors import ConfigError
from bodyjax.train import run


class Opened(NamedTuple):
    """What a checkpoint does with videos.

    one: a video's result, ready for JSON; all: the results of a folder's videos, with an "error"
    for one that can't be read; draw: (video, out, result) writes a video with the result drawn;
    line: a result in one line.
    """

    one: Callable[[Path], dict[str, Any]]
    all: Callable[[Path], Iterator[dict[str, Any]]]
    draw: Callable[[Path, Path, dict[str, Any]], None]
    line: Callable[[dict[str, Any]], str]


def offered(system: str, function: str) -> Callable[..., Any] | None:
    """`function` of the file of `system`, None if there is none. A user's own system,
    "package.module", has its functions in that module."""
    if "." in system:
        return getattr(systems.own(system), function, None)
    if system not in {module.name for module in pkgutil.iter_modules(__path__)}:
        return None
    return getattr(importlib.import_module(f"{__name__}.{system}"), function, None)


def typed(command: str) -> str:
    """How to type a command here: `bodyjax COMMAND` if bodyjax is installed (the wheel holds the
    configs), or with this Python in a checkout, so that .venv need not be active."""
    if (Path(bodyjax.__file__).parent / "configs").is_dir():
        return f"bodyjax {command}"
    return f"{os.path.relpath(sys.executable)} -m launch.{command}"


def deployed(config: Any) -> Deployed:
    """The function that users call of a checkpoint with this config, from its system's file if that
    has one, otherwise `predict_one` of the system."""
    of_system = offered(config["system"], "deployed")
    return of_system(config) if of_system else predict_one(systems.build(config))


def predict_one(system: System) -> Deployed:
    """The prediction of a batch of one."""
    return Deployed(system.predict, (shapes(system.input_spec(1)),), batched=True)


def network(config: Any) -> Network:
    """The network of a checkpoint with this config, from its system's file. ConfigError if that has
    none."""
    of_system = offered(config["system"], "network")
    if of_system is None:
        what = f"system {config['system']} says no network"
        hint = "write `network(config)` in its file of bodyjax/tasks, or take --format stablehlo"
        raise ConfigError(what, hint=hint)
    found: Network = of_system(config)
    return found


def portable(config: ConfigDict) -> ConfigDict:
    """The config of the same network as other runtimes know it and run it fast: computed in
    float32, depthwise convolutions as grouped ones."""
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
        changed.train.compute_dtype = "float32"
        if "depthwise" in changed.model:
            changed.model.depthwise = "grouped"
    return changed


def prediction(name: str, config: Any, platform: str) -> Iterator[Row]:
    """Milliseconds of the `deployed` function, with random weights: a part of bodyjax benchmark."""
    from bodyjax.bench import timing, training

    timing.use_platform(platform)
    found, part = deployed(config), f"{name}: prediction"
    variables = training.variables_of(systems.build(config))
    inputs = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), found.inputs)
    timed = timing.measure(found.run, variables, *inputs)
    words = [f"{'x'.join(map(str, leaf.shape))} {leaf.dtype}" for leaf in jax.tree.leaves(inputs)]
    yield Row(part, ", ".join(words), timed.seconds * 1e3, "ms", timed.compile_seconds)


def train(config: Any, workdir: Path) -> dict[str, Any]:
    """Trains as the config says (train.run.train), with the functions of its system's file."""
    name = str(config.get("system", ""))
    prepare = offered(name, "prepare") or run.prepare
    return run.train(config, workdir, prepare, offered(name, "finish"), offered(name, "folds"))
