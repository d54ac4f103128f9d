"""A measured figure, the table of all of them, and parts that may fail without losing the rest."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodyjax import files
from bodyjax.errors import UserError

Part = Callable[..., Iterator["Row"]]


@dataclass(frozen=True)
class Row:
    """`value` in `unit`, None if it could not be measured (`note` then says why).

    `compile_seconds` is the time to trace and compile, never part of `value`.
    """

    part: str
    name: str
    value: float | None
    unit: str
    compile_seconds: float | None = None
    note: str = ""


def not_measured(part: str, name: str, reason: object) -> Row:
    """The row of something that could not be measured, with the first line of the reason."""
    if isinstance(reason, BaseException):
        first = str(reason).strip().partition("\n")[0]
        reason = f"{type(reason).__name__}: {first}" if first else type(reason).__name__
    return Row(part, name, None, "", note=f"not measured: {reason}")


def attempt(part: str, name: str, measure: Callable[[], Iterable[Row]]) -> Iterator[Row]:
    """The rows of `measure()`; an error becomes a row, whatever it is."""
    try:
        yield from measure()
    except Exception as error:  # a missing library or part must not cost the other figures
        yield not_measured(part, name, error)


def measure_apart(name: str, part: Part, *arguments: Any) -> list[Row]:
    """Runs part(*arguments) in its own process, which gives its peak memory as the last row.

    A part that dies (out of memory, an abort inside a library) becomes a row.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_collect, name, part, arguments).result()
    except Exception as error:
        return [not_measured(name, "all", error)]


def _collect(name: str, part: Part, arguments: tuple[Any, ...]) -> list[Row]:
    rows = list(attempt(name, "all", lambda: part(*arguments)))
    return [*rows, Row(name, "peak host memory", peak_memory(), "MiB")]


def peak_memory() -> float:
    """Peak memory of this process in MiB."""
    status = Path("/proc/self/status")  # getrusage would count the parent's memory too
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1024**2 if sys.platform == "darwin" else 1024)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(name: str, part: Part, platform_name: str) -> dict[str, Any]:
    """The machine of the figures; another process queries the devices."""
    devices = [row.note for row in measure_apart(name, part, platform_name) if row.unit == "device"]
    return {
        "cores": cores(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "devices": devices,
    }


def table(rows: Iterable[Row]) -> str:
    """The rows as aligned text, parts under their names."""
    lines, last = [], ""
    for row in rows:
        if row.part != last:
            lines += ["", row.part]
            last = row.part
        value = "-" if row.value is None else f"{row.value:.4g}"
        compiled = "" if row.compile_seconds is None else f"compile {row.compile_seconds:.1f} s"
        notes = "; ".join(note for note in (compiled, row.note) if note)
        lines.append(f"  {row.name:<44} {value:>9} {row.unit:<10} {notes}".rstrip())
    return "\n".join(lines[1:])


def print_json(
    parser: argparse.ArgumentParser, measure: Callable[[], Any], file: str | None
) -> None:
    """Prints what is measured as JSON, and writes it to a file if one is named. A mistake of the
    user is one line, and ends the program with 2."""
    try:
        text = json.dumps(measure(), indent=1)
    except UserError as error:
        parser.exit(2, f"error: {error}\n")
    print(text)
    if file:
        files.write_text(file, text + "\n")
