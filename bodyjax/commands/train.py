"""Trains a system.

bodyjax train --config NAME[:variant] [--workdir DIR] [--config.field=value ...]

NAME is a shipped config or a file, FILE.py[:variant]; a wrong name or variant lists the others. The
same command, run again, resumes where the run stopped, with the same bits. Exit codes: 0 done, 2 a
mistake in the input, 3 stopped by a signal and saved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bodyjax.commands import flags, one_of_several, outputs
from bodyjax.engine import settings
from bodyjax.engine.without_trace import without_trace
from bodyjax.errors import ConfigError, DataError


def main(arguments: list[str]) -> int:
    rest, overrides = flags.split_overrides(arguments)
    parser = flags.parser("train", __doc__)
    names = ", ".join(flags.shipped_configs())
    parser.add_argument("--config", required=True, help=f"{names} or FILE.py, and :variant")
    parser.add_argument("--workdir", help="folder of the run (default: runs/NAME-variant)")
    parser.add_argument(
        "--process",
        help="HOST:PORT,COUNT,INDEX: this is process INDEX of COUNT that train together; HOST:PORT "
        "is where process 0 listens",
    )
    options = parser.parse_args(rest)
    config = flags.load_config(options.config)
    settings.complete(config)
    flags.override(config, overrides)
    check_there(config)
    name, _, variant = options.config.partition(":")
    workdir = options.workdir
    if workdir is None:
        workdir = f"runs/{Path(name).stem}-{variant or 'default'}"
    data = Path(str(config.get("data", {}).get("path", "")))  # "." where there is none
    if data.name and Path(workdir).resolve() == data.resolve():
        raise ConfigError("is the folder of the data", file=workdir, place="--workdir")
    if options.process and not one_of_several.is_watched():
        address(options.process)
        return one_of_several.watch(arguments)
    with without_trace(Path(workdir)):
        outputs.check([outputs.Output("--workdir", workdir, folder=True)], {})
        if options.process:
            one_of_several.end_with_parent()
            join(options.process)
        return train(config, Path(workdir))


def check_there(config: Any) -> None:
    """DataError if a path of the config that points outside the folder, like those of the public
    sets in shipped configs (../shared/data/NAME), does not exist."""
    data = config.get("data", {})
    drawn = {*data.get("sets", {}), *data.get("deep", {})} == {"simulated"}
    path, start = "" if drawn else str(data.get("path", "")), str(config.get("start", ""))
    hints = {
        path: "--config.data=PATH names your folder of this data (docs/DATA.md)",
        start: "--config.start=FILE names your file of this network, or --config.start=small",
    }
    for name, hint in hints.items():
        if name.startswith("../") and not Path(name).exists():
            raise DataError("is not here", file=name, hint=hint)


def address(text: str) -> tuple[str, int, int]:
    """HOST:PORT, count and index from HOST:PORT,COUNT,INDEX; ConfigError if it is something
    else."""
    host, *numbers = text.split(",")
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise ConfigError(f"{text!r}", place="--process", hint="HOST:PORT,COUNT,INDEX")
    return host, int(numbers[0]), int(numbers[1])


def join(text: str) -> None:
    """Makes this process one of several: HOST:PORT,COUNT,INDEX."""
    from bodyjax.engine.mesh import initialize_processes

    initialize_processes(*address(text))


def train(config: Any, workdir: Path) -> int:
    """Trains, then shows the result and how to use it."""
    import jax

    from bodyjax import tasks
    from bodyjax.engine import compiled, loop

    compiled.keep()
    try:
        result = tasks.train(config, workdir)
    except loop.Interrupted:
        return loop.EXIT_INTERRUPTED
    except jax.errors.JaxRuntimeError:
        if jax.process_count() > 1:
            one_of_several.give_up()
        raise
    for line in result["lines"]:
        print(line)
    return 0
