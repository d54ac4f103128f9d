"""Times of compiled programs: compilation separately, then the smallest of several runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax.bench.rows import Row
from bodyjax.contract import ArraySpec
from bodyjax.errors import UserError

PLATFORMS = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}


class Timed(NamedTuple):
    """A program measured: seconds of compiling and of one run, and GFLOP by XLA's own count."""

    compile_seconds: float
    seconds: float
    gflop: float
    outputs: Any


def use_platform(name: str) -> None:
    """Chooses the devices, before jax first looks for them; UserError if there are none."""
    if name:
        jax.config.update("jax_platforms", PLATFORMS[name])
    try:
        jax.devices()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"no {name} device: {reason}", hint="--platform cpu") from None


def devices(platform_name: str) -> Iterator[Row]:
    """A row for every device."""
    use_platform(platform_name)
    for device in jax.devices():
        yield Row(
            "machine", str(device), 1.0, "device", note=f"{device.platform}: {device.device_kind}"
        )


def measure(function: Callable[..., Any], *arguments: Any, budget: float = 2.0) -> Timed:
    """Compiles `function` for `arguments` and runs it for about `budget` seconds, 3 to 200 times.

    Arguments go to the device first: their transfer is not measured.
    """
    arguments = jax.device_put(arguments)
    program, compiled = _compiled(jax.jit(function), arguments)
    seconds, outputs = _fastest(lambda: program(*arguments), budget)
    return Timed(compiled, seconds, _gflop(program), outputs)


def measure_step(
    step: jax.stages.Wrapped, state: Any, *arguments: Any, budget: float = 2.0
) -> Timed:
    """The same for a training step (state, *arguments) -> (state, token), which gets its own last
    state: it donates its input, so `state` is used up. Everything is on the device."""
    program, compiled = _compiled(step, (state, *arguments))

    def run() -> Any:
        nonlocal state
        state, token = program(state, *arguments)
        return state, token

    seconds, outputs = _fastest(run, budget)
    return Timed(compiled, seconds, _gflop(program), outputs)


def _compiled(function: jax.stages.Wrapped, arguments: Any) -> tuple[jax.stages.Compiled, float]:
    begin = time.perf_counter()
    program = function.lower(*arguments).compile()
    return program, time.perf_counter() - begin


def _fastest(run: Callable[[], Any], budget: float) -> tuple[float, Any]:
    """Seconds of the fastest run after the first, and the result of the last one."""
    outputs = jax.block_until_ready(run())
    best, spent, runs = float("inf"), 0.0, 0
    while runs < 3 or (spent < budget and runs < 200):
        begin = time.perf_counter()
        outputs = jax.block_until_ready(run())
        seconds = time.perf_counter() - begin
        best, spent, runs = min(best, seconds), spent + seconds, runs + 1
    return best, outputs


def _gflop(program: jax.stages.Compiled) -> float:
    cost = program.cost_analysis() or {}
    return float(cost.get("flops", float("nan"))) / 1e9


def matmul(size: int = 1024, dtype: str = "float32") -> Timed:
    """The product of two square matrices, a measure of the device's speed."""
    a, b = (jax.random.normal(jax.random.key(i), (size, size)).astype(dtype) for i in range(2))
    timed = measure(jnp.matmul, a, b, budget=1.0)
    return timed._replace(gflop=2 * size**3 / 1e9)


def matmul_rows(part: str) -> tuple[list[Row], float]:
    """The rows of the 1024³ f32 product and, off the CPU, of a large one; the best GFLOP/s."""
    cases = [(1024, "float32")]
    if jax.default_backend() != "cpu":
        cases += [(8192, "float32"), (8192, "bfloat16")]
    rows, best = [], 0.0
    for size, dtype in cases:
        timed = matmul(size, dtype)
        rate = timed.gflop / timed.seconds
        best = max(best, rate)
        note = f"{rate:.0f} GFLOP/s"
        name = f"matrix product {size}³ {dtype}"
        rows.append(Row(part, name, timed.seconds * 1e3, "ms", timed.compile_seconds, note))
    return rows, best


def share(timed: Timed, rate: float) -> str:
    """How much of the rate of a matrix product the program reached, off the CPU."""
    if jax.default_backend() == "cpu":
        return ""
    return f"{timed.gflop / timed.seconds / rate:.1%} of the matmul rate"


def random_batch(spec: dict[str, ArraySpec], classes: int = 1) -> dict[str, np.ndarray]:
    """A batch of the shapes of `spec`: positions within 64 pixels, all visible, labels in range."""
    rng = np.random.default_rng(0)
    batch = {}
    for name, (shape, dtype) in spec.items():
        if name in ("visible", "length", "size"):
            array = np.full(shape, {"visible": 2, "length": shape[-1], "size": 64}[name])
        elif name == "label":
            array = rng.integers(0, max(classes, 1), shape)
        elif dtype == "bool" or name.endswith("mask"):
            array = np.ones(shape)
        elif dtype == "uint8":
            array = rng.integers(0, 256, shape)
        else:
            array = rng.uniform(0, 64, shape) if name in ("xy", "joints") else rng.random(shape)
        batch[name] = array.astype(dtype)
    return batch
