"""Joints in space from a canvas: the detector, its second look and the depth, by parts; and the
geometry of 1,000 poses beside NumPy and SciPy.

Each figure is a median of runs in turn. `CPU` in a note is the median of the process' own seconds
over all its threads: on one core it is what an idle core would take, whatever else runs there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np

from bodyjax import detect, geometry, lift, systems
from bodyjax.bench import people, rows, timing, training
from bodyjax.bench.rows import Row, attempt
from bodyjax.simulate import film
from bodyjax.skeleton import COCO17, H36M17

SPACE, GEOMETRY = "joints in space", "geometry"
SIZES = (192, 256, 384)
EVERY = 5
"""With a second look the first network sees one frame in so many (detect.videos.EVERY)."""
POSES = 1000

Program = Callable[[], Any]


class Spent(NamedTuple):
    """Median seconds of a program: by the clock, and of the process on all its threads."""

    wall: float
    cpu: float


def spent(programs: Mapping[str, Program], budget: float) -> dict[str, Spent]:
    """Of each program, run in turn for about `budget` seconds, 5 to 200 times, after one run that
    compiles."""
    for program in programs.values():
        jax.block_until_ready(program())
    every: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    end, rounds = time.perf_counter() + budget, 0
    while rounds < 5 or (time.perf_counter() < end and rounds < 200):
        for name, program in programs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(program())
            every[name].append((time.perf_counter() - wall, time.process_time() - cpu))
        rounds += 1
    return {name: Spent(*map(median, zip(*times, strict=True))) for name, times in every.items()}


def space(
    name: str, config: Any, platform: str, sizes: tuple[int, ...] = SIZES, budget: float = 6.0
) -> Iterator[Row]:
    """Frames a second from a canvas to joints in space of one person by the weights shipped under
    `name`, at each size; parameters and GFLOP; and what depth adds to the detector's time, and to
    the network of crops of `config`."""
    timing.use_platform(platform)
    yield Row(SPACE, "cores", rows.cores(), "")
    yield from attempt(SPACE, "sizes", partial(_sizes, name, sizes, budget))
    yield from attempt(SPACE, "crops", partial(_crops, config, budget))


def _one(part: str, name: str, took: Spent, note: str = "") -> Row:
    words = "; ".join(x for x in (f"CPU {1e3 * took.cpu:.3g} ms", note) if x)
    return Row(part, name, 1e3 * took.wall, "ms", note=words)


def _rate(name: str, *parts: tuple[float, Spent]) -> Row:
    """Frames a second of parts, each so many times a frame."""
    wall, cpu = (sum(share * took[i] for share, took in parts) for i in (0, 1))
    return Row(SPACE, name, 1 / wall, "frames/s", note=f"by CPU {1 / cpu:.3g}")


def _sizes(name: str, sizes: tuple[int, ...], budget: float) -> Iterator[Row]:
    lifter = lift.load(name)
    xy, score, lens, tall = _person(1)
    assert lifter.lift is not None
    depth = partial(lifter.lift, lifter.variables, xy, score, lens, tall)
    timed = timing.measure(lifter.lift, lifter.variables, xy, score, lens, tall, budget=0.1)
    millions = training.millions(lifter.variables["params"])
    yield Row(SPACE, "depth: parameters", millions, "M", note=f"{1e3 * timed.gflop:.3g} MFLOP")
    for size in sizes:
        one = detect.load("small", size=size)
        both = detect.load("small", second="large", size=size)
        pixels = jax.device_put(film.picture(0, (size, size), people=1)["image"])
        out = both.predict(both.variables, pixels)
        assert both.follow is not None
        programs: dict[str, Program] = {
            "depth of a person": depth,
            "canvas to people": partial(one.predict, one.variables, pixels),
            "with second look": partial(both.predict, both.variables, pixels),
            "second look alone": partial(
                both.follow, both.variables, pixels, out.xy, out.score, out.person_score
            ),
            "product": people.product(),
        }
        took = spent(programs, budget)
        seen = int((np.asarray(out.person_score) >= both.settings.min_person).sum())
        for what, each in took.items():
            yield _one(SPACE, f"{size}: {what}", each, f"{seen} people" if "look" in what else "")
        one_depth, first = took["depth of a person"], took["canvas to people"]
        share = 100 * one_depth.cpu / first.cpu
        yield Row(SPACE, f"{size}: depth over the 2D detector", share, "%")
        yield _rate(f"{size}: joints in space", (1, first), (1, one_depth))
        yield _rate(
            f"{size}: the same with a second look, in a video",
            (1 / EVERY, took["with second look"]),
            (1 - 1 / EVERY, took["second look alone"]),
            (seen, one_depth),
        )
    for detector in ("small", "large"):
        found = detect.load(detector)
        network: Any = found.system
        side = found.settings.size
        image = np.zeros((1, side, side, 3), np.uint8)
        maps = timing.measure(lambda v, x, n=network: n.maps(v, x), found.variables, image,
                              budget=0.1)  # fmt: skip
        note = f"{maps.gflop:.3g} GFLOP at {side} pixels"
        parameters = training.millions(found.variables["params"])
        yield Row(SPACE, f"detector {detector}: parameters", parameters, "M", note=note)


def _crops(config: Any, budget: float) -> Iterator[Row]:
    """The network of heat maps and maps of depth, and the same without its depth."""
    system: Any = systems.build(config)
    variables = jax.device_put(training.variables_of(system))
    batch = jax.device_put(
        {
            "image": people.picture(system.size)[None],
            "camera": np.array([[300.0, 300, system.size / 2, system.size / 2]], np.float32),
            "height": np.array([lift.MEAN_HEIGHT], np.float32),
        }
    )

    def flat(variables: Any, batch: Any) -> Any:
        out = system.predict(variables, batch)
        return out["xy"], out["score"]  # the compiler drops what nobody reads

    whole, alone = jax.jit(system.predict), jax.jit(flat)
    took = spent(
        {"whole": partial(whole, variables, batch), "flat": partial(alone, variables, batch)},
        budget,
    )
    more = 100 * (took["whole"].cpu / took["flat"].cpu - 1)
    size = system.size
    gflop = timing.measure(whole, variables, batch, budget=0.1).gflop
    millions = training.millions(variables["params"])
    yield Row(SPACE, "crops: parameters", millions, "M", note=f"{gflop:.3g} GFLOP at {size} pixels")
    yield _one(SPACE, f"crops of {size}: joints in space of a person", took["whole"])
    yield _one(SPACE, f"crops of {size}: the same without depth", took["flat"])
    yield Row(SPACE, f"crops of {size}: depth over joints in the picture", more, "%")


def _person(count: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    joints = len(COCO17.joints)
    lens = np.tile(np.array([300.0, 300, 128, 128], np.float32), (count, 1))
    xy = rng.uniform(40, 200, (count, joints, 2)).astype(np.float32)
    return xy, np.ones((count, joints), np.float32), lens, np.full(count, 1700, np.float32)


def poses(platform: str, count: int = POSES, budget: float = 4.0) -> Iterator[Row]:
    """Milliseconds of alignment (Procrustes) and of eight angles of `count` poses: ours, by NumPy
    all at once, and by SciPy one after the other; and how far their results are apart."""
    timing.use_platform(platform)
    from scipy.spatial import procrustes as of_scipy

    rng = np.random.default_rng(0)
    target = rng.normal(0, 300, (count, len(H36M17.joints), 3)).astype(np.float32)
    found = (1.1 * target + rng.normal(0, 50, target.shape)).astype(np.float32)
    ours, angles = jax.jit(geometry.procrustes), jax.jit(partial(geometry.flexions,
                                                                 skeleton=H36M17))  # fmt: skip
    placed = jax.device_put((found, target))
    programs: dict[str, Program] = {
        "alignment: ours": partial(ours, *placed),
        "alignment: NumPy": partial(aligned, found, target),
        "alignment: SciPy": lambda: [of_scipy(b, a) for a, b in zip(found, target, strict=True)],
        "angles: ours": partial(angles, placed[0]),
        "angles: NumPy": partial(flexions, found),
    }
    took = spent(programs, budget)
    away = {
        "alignment": np.abs(np.asarray(ours(*placed)) - aligned(found, target)).max(),
        "angles": np.abs(np.asarray(angles(placed[0])) - flexions(found)).max(),
    }
    for name, each in took.items():
        what, _, who = name.partition(": ")
        note = f"at most {away[what]:.1g} from ours" if who == "NumPy" else ""
        yield _one(GEOMETRY, f"{count} poses, {name}", each, note)


def aligned(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Umeyama's alignment of (N, J, 3) in NumPy: singular values of all poses at once."""
    middle, onto = points.mean(1, keepdims=True), target.mean(1, keepdims=True)
    a, b = points - middle, target - onto
    u, values, vt = np.linalg.svd(a.swapaxes(1, 2) @ b)
    signs = np.ones_like(values)
    signs[:, -1] = np.sign(np.linalg.det(u @ vt))
    scale = (values * signs).sum(-1) / np.square(a).sum((1, 2))
    return np.asarray(scale[:, None, None] * (a @ ((u * signs[:, None]) @ vt)) + onto)


def flexions(joints: np.ndarray) -> np.ndarray:
    """geometry.flexions of (N, 17, 3) in NumPy, by the arc cosine."""
    start, middle, end = (
        joints[:, [H36M17.index(names[k]) for names in geometry.FLEXIONS.values()]]
        for k in range(3)
    )
    a, b = start - middle, end - middle
    cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    inner = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return np.where(["shoulder" in name for name in geometry.FLEXIONS], inner, 180 - inner)
