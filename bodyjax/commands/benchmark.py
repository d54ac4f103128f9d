"""Measures this machine.

bodyjax benchmark [--system NAME] [--parts NAME,...] [--platform cpu|gpu|tpu] [--json out.json]

Prints a table; without compile time; if a part lacks something, its row says so. NAME of --system
is `reading` or a system (pose, movement, sequence, ...); of --parts e.g. `detector`, the shipped
detectors from canvas to people. Exit codes: 0 done, 2 a mistake in the input.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bodyjax import files
from bodyjax.commands import flags, outputs
from bodyjax.errors import UserError

Part = tuple[str, Callable[..., Iterator[Any]], tuple[Any, ...]]
"""Name of the part, function that yields the rows, its arguments."""


def main(arguments: list[str]) -> int:
    parser = flags.parser("benchmark", __doc__)
    parser.add_argument("--system", help="only this one (default: all)")
    parser.add_argument("--parts", help="only these, by name, commas between (default: all)")
    parser.add_argument("--platform", choices=("cpu", "gpu", "tpu"), default="")
    parser.add_argument("--json", type=flags.named_path, help="file for the figures")
    options = parser.parse_args(arguments)
    configs = load_configs()
    known = ["reading", *dict.fromkeys(config["system"] for config in configs.values())]
    if options.system is not None and options.system not in known:
        hint = f"one of {', '.join(known)}"
        raise UserError(f"no system {options.system!r}", place="--system", hint=hint)
    chosen = list(parts(configs, options.system, options.platform))
    if options.parts is not None:
        chosen = named(chosen, options.parts.split(","))
    outputs.check([outputs.Output("--json", options.json)], {})
    return benchmark(chosen, options.platform, options.json)


def named(chosen: list[Part], names: list[str]) -> list[Part]:
    """The parts with these names, in their order; UserError for an unknown name."""
    there = list(dict.fromkeys(part[0] for part in chosen))
    for name in names:
        if name not in there:
            raise UserError(f"no part {name!r}", place="--parts", hint=f"one of {', '.join(there)}")
    return [part for part in chosen if part[0] in names]


def load_configs() -> dict[str, Any]:
    """The default variant of every shipped config, by name."""
    return {name: flags.load_config(name) for name in flags.shipped_configs()}


def benchmark(chosen: list[Part], platform: str, file: Path | None) -> int:
    """Measures part after part, each in its own process, and prints each table as soon as it is
    known."""
    from bodyjax.bench import rows, timing

    machine = rows.machine("machine", timing.devices, platform)
    if not machine["devices"]:
        raise UserError(f"no {platform or 'usable'} device was found", place="--platform")
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    measured = []
    for name, part, arguments in chosen:
        new = rows.measure_apart(name, part, *arguments)
        print(f"\n{rows.table(new)}", flush=True)
        measured += new
    if file:
        record = {"machine": machine, "rows": [asdict(row) for row in measured]}
        files.write_text(file, json.dumps(record, indent=1) + "\n")
    return 0


def parts(configs: dict[str, Any], system: str | None, platform: str) -> Iterator[Part]:
    """The parts measured for `system`, or all parts if it is None."""
    from bodyjax import tasks
    from bodyjax.bench import reading, training

    if system in (None, "reading"):
        yield "reading", reading.reading, ()
    for name, config in configs.items():
        if system not in (None, config["system"]):
            continue
        measure = tasks.offered(config["system"], "measure")
        if measure is None:
            yield f"{name}: training step", training.training, (name, config, platform)
            yield f"{name}: prediction", tasks.prediction, (name, config, platform)
        else:
            yield from measure(name, config, flags.load_config, platform)
