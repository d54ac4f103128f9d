"""Writes a checkpoint as one file that runs without bodyjax.

bodyjax export --checkpoint DIR|NAME --format stablehlo|onnx|tflite --out FILE
    [--float16 | --int8 | --int8-weights] [--data SET [--split NAME] [--least-share S]]
    [--pictures FOLDER]

stablehlo holds the whole function (picture to people, frames to movement, joints to score) and
needs jax and flatbuffers; onnx and tflite hold the network: docs/EXPORT.md lists the inputs and
outputs of each. FILE.json beside the file says the same of this one. Before it is written, the file
is run on 100 pictures of --pictures, or on structured noise, and compared with bodyjax: a file that
is off by more than 1e-3 of an output's range (--float16: 1e-2) is not written. --int8 (weights and
maps) and --int8-weights (weights alone: for browsers), for detectors as onnx, are measured by PCK
on the labelled pictures of --data; --int8 is calibrated on those of its training side. What
--float16 costs a detector as onnx is measured in the same way if --data is given.
Exit codes: 0 done; 2 a mistake in the input, or a file that is off.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bodyjax
from bodyjax import files
from bodyjax.commands import flags, outputs
from bodyjax.commands.outputs import Output
from bodyjax.errors import ConfigError

if TYPE_CHECKING:
    from bodyjax.export.program import Arrays, Program, Shape

FORMATS = ("stablehlo", "onnx", "tflite")
PRECISIONS = ("float16", "int8", "int8-weights")
LEAST_SHARE = 0.9


def main(arguments: list[str]) -> int:
    parser = flags.parser("export", __doc__)
    parser.add_argument("--checkpoint", required=True, help="a run's folder or shipped weights")
    parser.add_argument("--format", required=True, help=", ".join(FORMATS))
    parser.add_argument("--out", required=True, help="the file to write; FILE.json describes it")
    parser.add_argument("--float16", action="store_true", help="weights in half precision")
    parser.add_argument("--int8", action="store_true", help="weights and maps in 8 bits (onnx)")
    parser.add_argument(
        "--int8-weights", action="store_true", help="weights alone in 8 bits (onnx): for browsers"
    )
    parser.add_argument("--pictures", help="folder of pictures to compare on")
    parser.add_argument("--data", help="a set of labelled pictures that tells the cost")
    parser.add_argument("--split", help="the part of --data to measure on (default: every row)")
    parser.add_argument(
        "--least-share", type=float, default=LEAST_SHARE, metavar="S",
        help=f"with --data: the least share of the PCK that must be left (default: {LEAST_SHARE})",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    check(options)

    from bodyjax.engine import checkpoint, compiled
    from bodyjax.export import int8, parity

    compiled.keep()
    pictures = parity.listed(options.pictures) if options.pictures else []
    if options.data:
        int8.pictures(options.data, options.split)  # says now what is wrong with it
    loaded = checkpoint.load(options.checkpoint)
    program, says, ours = exported(loaded, options)
    measured = apart(ours, program, pictures)
    parity.check(measured, "float16" if options.float16 else "float32", options.out)
    report: dict[str, Any] = {"compared_on": len(pictures) or f"{parity.EXAMPLES} x noise"}
    if eight_bits(options):
        program, cost = quantised(loaded, program, options)
        report["int8"] = cost
        measured = apart(ours, program, pictures)  # before, it was the graph in float32
    elif options.data:
        report["float16"] = halving(loaded, program, options)
    for name, share in measured.items():
        print(f"{name}: largest difference {share:.2g} of its range")
    report["differences"] = measured
    files.write_bytes(options.out, program.data)
    text = json.dumps(sheet(loaded, program, says, options) | report, indent=1)
    files.write_text(f"{options.out}.json", text + "\n")
    if program.fixed:
        print(f"batches of 1 only: {program.fixed}")
    print(f"{options.out}: {len(program.data) / 1e6:.2f} MB; {options.out}.json describes it")
    return 0


def check(options: Any) -> None:
    """ConfigError or UserError for flags that don't go together, before anything is loaded."""
    if options.format not in FORMATS:
        hint = f"one of {', '.join(FORMATS)}"
        raise ConfigError(f"no format {options.format!r}", place="--format", hint=hint)
    if options.checkpoint == "":  # "" would be the folder where one stands
        raise ConfigError("is empty", place="--checkpoint", hint="name a run's folder or weights")
    chosen = [name for name in PRECISIONS if getattr(options, name.replace("-", "_"))]
    if len(chosen) > 1:
        raise ConfigError(" and ".join(f"--{name}" for name in chosen) + " exclude each other")
    if eight_bits(options) and options.format != "onnx":
        raise ConfigError(f"--{chosen[0]} is for --format onnx, not {options.format}")
    if options.float16 and options.format == "tflite":
        raise ConfigError("--float16 is for --format stablehlo and onnx, not tflite")
    if eight_bits(options) and not options.data:
        hint = "name a set of labelled pictures (docs/DATA.md)"
        what = f"--{chosen[0]} needs it, to measure its cost"
        raise ConfigError(what, place="--data", hint=hint)
    measured = eight_bits(options) or (options.float16 and options.format == "onnx")
    if (options.data and not measured) or (options.split and not options.data):
        what = "--data is for --int8, --int8-weights and --float16 of onnx, --split for --data"
        raise ConfigError(what, hint="these measure what fewer bits cost")
    if not 0 <= options.least_share <= 1:
        what = f"{options.least_share} is not from 0 to 1"
        raise ConfigError(what, place="--least-share")
    written = [Output("--out", options.out)]
    if options.out:
        written.append(Output("the description of --out", f"{options.out}.json"))
    reads = {Path(name): "the data" for name in (options.data, options.pictures) if name}
    outputs.check(written, reads | outputs.of_checkpoint(options.checkpoint))


def apart(
    ours: Callable[[Arrays], Arrays], program: Program, pictures: list[Path]
) -> dict[str, float]:
    """How far the outputs of a program are from ours: export.parity."""
    from bodyjax.export import parity

    return parity.differences(ours, program.run, parity.examples(program.inputs, pictures))


def eight_bits(options: Any) -> bool:
    """Whether a precision is asked for whose cost is measured in PCK."""
    return bool(options.int8 or options.int8_weights)


def exported(
    loaded: Any, options: Any
) -> tuple[Program, dict[str, str], Callable[[Arrays], Arrays]]:
    """The program, what its inputs and outputs are, and the same function as bodyjax runs it."""
    import jax

    from bodyjax import tasks
    from bodyjax.export import onnx_file, stablehlo, tflite_file

    variables = loaded.variables
    if options.format == "stablehlo":
        deployed = tasks.deployed(loaded.config)
        program = stablehlo.program(deployed, variables, float16=options.float16)
        return program, {}, stablehlo.ours(deployed, variables)
    network = tasks.network(loaded.config)
    if options.format == "onnx":
        program = onnx_file.program(network, variables, float16=options.float16)
    else:
        program = tflite_file.program(network, variables)
    run = jax.jit(network.run)
    return program, network.says, lambda arrays: run(variables, *arrays.values())


def quantised(loaded: Any, program: Program, options: Any) -> tuple[Program, dict[str, Any]]:
    """The program in 8 bits, and what that costs; prints it. UserError if too little is left."""
    from bodyjax.export import int8

    if options.int8:
        made = int8.program(loaded, program, options.data)
    else:
        made = int8.weights(loaded, program)
    return made, costs(loaded, program, made, options, "int8")


def halving(loaded: Any, program: Program, options: Any) -> dict[str, Any]:
    """What float16 weights cost; prints it. UserError if too little is left."""
    from bodyjax import tasks
    from bodyjax.export import int8, onnx_file

    int8.check_detector(loaded, program, "--data", "leave it out")
    whole = onnx_file.program(tasks.network(loaded.config), loaded.variables)
    return costs(loaded, whole, program, options, "float16")


def costs(loaded: Any, whole: Program, program: Program, options: Any, kind: str) -> dict[str, Any]:
    """PCK of a detector's graph in float32 and in fewer bits; prints it. UserError if too little is
    left."""
    from bodyjax.export import int8

    cost = int8.cost(loaded, whole, program, options.data, options.split, kind)
    left = cost[kind] / cost["float32"] if cost["float32"] else 0.0
    print(f"PCK {cost['float32']:.3f} in float32, {cost[kind]:.3f} in {kind}: {left:.3f} is left")
    int8.check(left, options.least_share, options.out, kind)
    return cost | {"share": left}


def sheet(loaded: Any, program: Program, says: dict[str, str], options: Any) -> dict[str, Any]:
    """What FILE.json says of the file: what it was made of and with, inputs and outputs."""
    chosen = [name for name in PRECISIONS if getattr(options, name.replace("-", "_"))]

    def ends(shapes: dict[str, Shape]) -> list[dict[str, Any]]:
        return [
            {"name": name, "shape": list(end.shape), "dtype": end.dtype}
            | ({"what": says[name]} if name in says else {})
            for name, end in shapes.items()
        ]

    return {
        "format": options.format,
        "weights": "int8" if eight_bits(options) else [*chosen, "float32"][0],
        "maps": "int8" if options.int8 else "float32",
        "checkpoint": str(loaded.path),
        "system": loaded.system,
        "labels": list(loaded.labels),
        "skeleton": loaded.skeleton,
        "inputs": ends(program.inputs),
        "outputs": ends(program.outputs),
        "batch": program.fixed or "free",
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of Python, bodyjax, and the packages that made the file."""
    found = {"python": platform.python_version(), "bodyjax": bodyjax.__version__}
    for name in ("jax", "jaxlib", "onnx", "onnxruntime", "jax2onnx", "litert-converter"):
        if name.replace("-", "_") in sys.modules:
            found[name] = metadata.version(name)
    return found
