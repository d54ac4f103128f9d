"""What the commands ask of a system, one file each, found by the system's name.

A file has those of these functions that make sense for its system; the commands do without the
others or say that there is none.

    prepare(config, host) -> contract.Prepared     what a training starts from; without it
                                                   train.run.prepare
    finish(config, checkpoint, workdir, again)     what is measured after a training: lines to print
    evaluate(checkpoint, data, split, ...)         what bodyjax evaluate measures; its further
                                                   parameters are the options that it takes
    open(checkpoint, ...) -> Opened                what bodyjax recognize does with a video
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

import bodyjax
from bodyjax import systems
from bodyjax.train import run


class Opened(NamedTuple):
    """What a checkpoint does with videos.

    one: a video's result, as JSON takes it; all: the results of a folder's videos, an "error" where
    one can't be read; draw: (video, out, result) a video with the result drawn; line: a result in
    a line.
    """

    one: Callable[[Path], dict[str, Any]]
    all: Callable[[Path], Iterator[dict[str, Any]]]
    draw: Callable[[Path, Path, dict[str, Any]], None]
    line: Callable[[dict[str, Any]], str]


def offered(system: str, function: str) -> Callable[..., Any] | None:
    """`function` of the file of `system`, None where there is none. A system of the user's own,
    "package.module", has its functions in that module."""
    if "." in system:
        return getattr(systems.own(system), function, None)
    if system not in {module.name for module in pkgutil.iter_modules(__path__)}:
        return None
    return getattr(importlib.import_module(f"{__name__}.{system}"), function, None)


def typed(command: str) -> str:
    """How a command is typed here: `bodyjax COMMAND` where bodyjax is installed (the wheel holds
    the configs), in a checkout by this Python, so that .venv need not be active."""
    if (Path(bodyjax.__file__).parent / "configs").is_dir():
        return f"bodyjax {command}"
    return f"{os.path.relpath(sys.executable)} -m launch.{command}"


def train(config: Any, workdir: Path) -> dict[str, Any]:
    """Trains as the config says (train.run.train), by what its system's file offers."""
    name = str(config.get("system", ""))
    return run.train(
        config, workdir, offered(name, "prepare") or run.prepare, offered(name, "finish")
    )
