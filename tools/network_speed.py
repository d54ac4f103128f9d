"""What one picture costs a detector's network, without grouping: ONNX Runtime and XLA on one core.

taskset -c 0 python tools/network_speed.py NAME [NAME ...] [--runs 60]

NAME: a run's folder or shipped weights; NAME@SIDE for another canvas than the checkpoint's. For
each: parameters, GFLOP (a multiply-add as two), the size of the file with weights in float16, and
milliseconds, median and quickest, of ONNX Runtime with one thread and of XLA. Only what
`taskset` leaves is used. Needs the extra `onnx`. The browser: tools/demo_speed.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from bodyjax import systems, tasks
from bodyjax.engine import checkpoint
from bodyjax.errors import ConfigError, UserError
from bodyjax.export import onnx_file
from bodyjax.systems.pose import cost

WARM = 5


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--runs", type=int, default=60)
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error(f"--runs {options.runs}: at least 1")
    try:
        for name in options.names:
            print(measured(name, options.runs), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measured(name: str, runs: int) -> str:
    """The line of one network."""
    path, _, side = name.partition("@")
    loaded = checkpoint.load(path, system="pose")
    if side:
        if not side.isdigit() or int(side) < 1:
            raise ConfigError(f"{side!r} is no side in pixels", place=name, hint="such as phone@96")
        loaded.config.detect.size = int(side)
    network = tasks.network(loaded.config)
    size = network.inputs["pixels"].shape[1:3]
    program = onnx_file.program(network, loaded.variables, float16=True)
    pixels = np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype(np.float32)
    onnx = onnx_file.session(program.data, 1)
    system: Any = systems.build(loaded.config)  # with the depthwise form of its config
    run = jax.jit(system.maps)
    both = [
        timed(lambda: onnx({"pixels": pixels}), runs),
        timed(lambda: jax.block_until_ready(run(loaded.variables, pixels)), runs),
    ]
    spent = cost(system, size)
    words = [f"{kind} {middle:.1f} ms (quickest {least:.1f})" for kind, (middle, least) in
             zip(("ONNX Runtime", "XLA"), both, strict=True)]  # fmt: skip
    about = f"{spent['parameters'] / 1e6:.2f} M parameters, {spent['flops'] / 1e9:.2f} GFLOP"
    return f"{name}: {size[0]} pixels, {about}, {len(program.data) / 1e6:.2f} MB, " + ", ".join(
        words
    )


def timed(run: Callable[[], Any], runs: int) -> tuple[float, float]:
    """Median and least milliseconds of a call."""
    for _ in range(WARM):
        run()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        taken.append(1e3 * (time.perf_counter() - start))
    return float(np.median(taken)), min(taken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
