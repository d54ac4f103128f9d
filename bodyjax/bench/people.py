"""A shipped detector from canvas to people: the whole, its parts, the second look, and the same
network in ONNX Runtime. Medians of runs in turn, with a matrix product among them, because other
work on the machine slows them all equally.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax import detect
from bodyjax.bench import onnx_network, rows, scenes, timing
from bodyjax.bench.rows import Row, attempt, not_measured
from bodyjax.detect import canvas
from bodyjax.detect.detector import Detector

PART = "detector"
SIZES = (192, 256, 384)
PEOPLE = 4
"""People of the second look: the difference to an empty picture is divided by them."""
CLOSE = 1e-4
"""ONNX Runtime's maps may differ this much from ours, in units of the largest value of each."""
PRODUCT = 1024

Program = Callable[[], Any]


def people(platform: str, sizes: tuple[int, ...] = SIZES, budget: float = 6.0) -> Iterator[Row]:
    """Milliseconds of `small` on canvases of `sizes` pixels: network, grouping, canvas to people;
    of a second look by `large`, a person; of ONNX Runtime on the network's published part.

    budget: seconds that each group of programs runs, without compiling.
    """
    timing.use_platform(platform)
    for size in sizes:
        yield from attempt(PART, f"canvas of {size}", partial(_canvas, size, budget))
    yield from attempt(PART, "second look", partial(_second_look, budget))
    for size in sizes:
        yield from attempt(PART, f"ONNX Runtime, {size}", partial(_onnx, size, budget))


def medians(programs: Mapping[str, Program], budget: float) -> dict[str, float]:
    """Median seconds of each program, run in turn for about `budget` seconds, 5 to 200 times; one
    run before that compiles."""
    for program in programs.values():
        jax.block_until_ready(program())
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    end = time.perf_counter() + budget
    rounds = 0
    while rounds < 5 or (time.perf_counter() < end and rounds < 200):
        for name, program in programs.items():
            begin = time.perf_counter()
            jax.block_until_ready(program())
            seconds[name].append(time.perf_counter() - begin)
        rounds += 1
    return {name: median(values) for name, values in seconds.items()}


def product() -> Program:
    """The product of two square float32 matrices of PRODUCT rows."""
    a, b = (jax.random.normal(jax.random.key(i), (PRODUCT, PRODUCT)) for i in range(2))
    return partial(jax.jit(jnp.matmul), a, b)


def _rows(measured: dict[str, float], notes: Mapping[str, str]) -> Iterator[Row]:
    for name, seconds in measured.items():
        yield Row(PART, name, 1e3 * seconds, "ms", note=notes.get(name, ""))


def picture(size: int) -> np.ndarray:
    """A canvas (size, size, 3) uint8 that shows two rendered people."""
    from bodyjax.simulate import film

    return np.asarray(film.picture(0, (size, size), people=2)["image"])


def _canvas(size: int, budget: float) -> Iterator[Row]:
    detector = detect.load("small", size=size)
    system: Any = detector.system
    settings, pixels = detector.settings, jax.device_put(picture(size))
    network = jax.jit(partial(canvas.averaged_maps, system, settings=settings))
    maps = network(detector.variables, canvas=pixels)
    group = jax.jit(
        partial(
            canvas.detections, bones=system.bones, stride=system.model.stride, settings=settings
        )
    )
    found = int((np.asarray(group(maps).person_score) >= settings.min_person).sum())
    names = [f"{size}: {what}" for what in ("network", "grouping", "canvas to people", "product")]
    measured = medians(
        {
            names[0]: partial(network, detector.variables, canvas=pixels),
            names[1]: partial(group, maps),
            names[2]: partial(detector.predict, detector.variables, pixels),
            names[3]: product(),
        },
        budget,
    )
    rate = f"{1 / measured[names[2]]:.3g} pictures/s, {found} people shown"
    yield from _rows(measured, {names[2]: rate, names[3]: f"{PRODUCT}³ float32"})


def _second_look(budget: float) -> Iterator[Row]:
    small, large = detect.load("small"), detect.load("large")
    other: Any = large.system
    settings, slots = small.settings, small.settings.max_people
    side = 2 * settings.size
    figures = scenes.figures(PEOPLE, side, 0)
    xy = np.zeros((slots, *figures.shape[1:]), np.float32)
    xy[:PEOPLE] = figures
    score = np.zeros(xy.shape[:2], np.float32)
    score[:PEOPLE] = 1.0

    @jax.jit
    def look(variables: Any, pixels: Any, xy: Any, score: Any, there: Any) -> Any:
        see = canvas.seer(other, variables, settings)
        return canvas.look_again(see, canvas.pyramid(pixels), xy, score, there, settings)

    arguments = jax.device_put((large.variables, picture(side), xy, score))
    some, none = jax.device_put((np.arange(slots) < PEOPLE, np.zeros(slots, bool)))
    measured = medians(
        {
            "some": partial(look, *arguments, some),
            "none": partial(look, *arguments, none),
            "product": product(),
        },
        budget,
    )
    each = (measured["some"] - measured["none"]) / PEOPLE
    size = settings.second_size
    yield Row(PART, f"second look, crops of {size}", 1e3 * each, "ms/person", note="by `large`")
    note = f"{PRODUCT}³ float32"
    yield Row(PART, "second look: product", 1e3 * measured["product"], "ms", note=note)


def _onnx(size: int, budget: float) -> Iterator[Row]:
    try:
        import onnx  # noqa: F401 (whether it is there)
        import onnxruntime  # noqa: F401 (the same)
    except ImportError:
        yield not_measured(PART, f"ONNX Runtime, {size}", 'pip install "bodyjax[onnx]" for it')
        return
    detector = detect.load("small", size=size)
    system: Any = detector.system
    graph = onnx_network.onnx_bytes(detector.variables, size)
    pixels = picture(size)[None].astype(np.float32)
    ours = jax.jit(onnx_network.ours(system.model))
    away = difference(detector, ours, onnx_network.session(graph, 1), pixels)
    if not away <= CLOSE:
        raise ValueError(f"the graph's maps are {away:.2g} off ours")
    threads = sorted({1, rows.cores()}, reverse=True)
    placed = jax.device_put(pixels)
    programs: dict[str, Program] = {
        "XLA": partial(ours, detector.variables, placed),
        "product": product(),
    }
    programs |= {str(n): partial(onnx_network.session(graph, n), pixels) for n in threads}
    measured = medians(programs, budget)
    what = f"{size}: backbone and heads"
    note = f"{rows.cores()} cores"
    yield Row(PART, f"{what}, XLA", 1e3 * measured["XLA"], "ms", note=note)
    for n in threads:
        note = (
            f"XLA takes {measured['XLA'] / measured[str(n)]:.2f} times as long; maps {away:.1g} off"
        )
        name = f"{what}, ONNX Runtime, {n} thread{'s' if n > 1 else ''}"
        yield Row(PART, name, 1e3 * measured[str(n)], "ms", note=note)
    yield Row(PART, f"{what}: product", 1e3 * measured["product"], "ms")


def difference(
    detector: Detector, ours: Any, session: Callable[[np.ndarray], list[Any]], pixels: np.ndarray
) -> float:
    """The largest difference of the graph's maps from ours, in units of each map's largest value
    or of 1 where that is less."""
    mine = jax.device_get(ours(detector.variables, pixels))
    return max(
        float(np.abs(a.transpose(0, 3, 1, 2) - b).max() / max(np.abs(a).max(), 1.0))
        for a, b in zip(mine, session(pixels), strict=True)
    )
