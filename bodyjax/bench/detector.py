"""Networks of detectors: frames per second at each size, labels' share of a step, grouping."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax import grouping as grouper
from bodyjax.bench import scenes, timing, training
from bodyjax.bench.rows import Row, attempt
from bodyjax.detect import canvas

SIZES = (128, 192, 224, 256, 384)
"""Multiples of 32, which networks with a pyramid need."""
CELLS, STRIDE = 46, 8


def detector(configs: Mapping[str, Mapping[str, Any]], platform: str) -> Iterator[Row]:
    """For each config {variant: config}: parameters, GFLOP and frames per second, one picture at a
    time, of the maps and of the people that `detect` finds. The first one also at other sizes.
    """
    timing.use_platform(platform)
    rows, rate = timing.matmul_rows("networks")
    yield from rows
    for number, (variant, config) in enumerate(configs.items()):
        yield from attempt(
            "networks", variant, partial(_network, variant, config, rate, number == 0)
        )


def _network(variant: str, config: Mapping[str, Any], rate: float, every: bool) -> Iterator[Row]:
    from bodyjax.systems import pose

    system = pose.build(config)
    variables = training.variables_of(system)
    yield Row("networks", f"{variant}: parameters", training.millions(variables["params"]), "M")
    sizes = {system.size, *((side, side) for side in SIZES if every)}
    for size in sorted(sizes):
        image = np.random.default_rng(0).integers(0, 256, (1, *size, 3)).astype(np.uint8)
        timed = timing.measure(lambda v, x: system.maps(v, x)[:2], variables, image)
        name = f"{variant}: {size[1]} x {size[0]}"
        note = "; ".join(x for x in (f"{timed.gflop:.3g} GFLOP", timing.share(timed, rate)) if x)
        yield Row("networks", name, 1 / timed.seconds, "frames/s", timed.compile_seconds, note)
        whole = timing.measure(partial(_people, system), variables, image)
        yield Row(
            "networks",
            f"{name} with grouping",
            1 / whole.seconds,
            "frames/s",
            whole.compile_seconds,
        )


def _people(system: Any, variables: Any, image: jax.Array) -> canvas.Detections:
    """What `detect` computes from a canvas: maps, grouping, completion and refinement."""
    settings = canvas.Settings(size=image.shape[1])
    return canvas.predictor(system, settings)(variables, image[0])


def labels(
    config: Mapping[str, Any], platform: str, size: int = 384, batch: int = 8
) -> Iterator[Row]:
    """The share of a training step spent drawing the labels (48 x 48 x 57 at 384 pixels)."""
    from bodyjax.systems import pose

    timing.use_platform(platform)
    system = dataclasses.replace(pose.build(config), size=(size, size))
    arrays = timing.random_batch(system.batch_spec(batch))
    people = scenes.figures(batch * system.max_people, size, 0)
    arrays["xy"] = people.reshape(arrays["xy"].shape)
    drawn = timing.measure(system.targets, {k: v for k, v in arrays.items() if k != "image"})
    step = training.step(config, system, training.variables_of(system), arrays)
    where = f"batch {batch}, {size} pixels"
    yield Row("labels", f"drawing, {where}", drawn.seconds * 1e3, "ms", drawn.compile_seconds)
    yield Row("labels", f"training step, {where}", step.seconds * 1e3, "ms", step.compile_seconds)
    yield Row("labels", "share of the step", 100 * drawn.seconds / step.seconds, "%")


def grouping(platform: str) -> Iterator[Row]:
    """Milliseconds per picture for 1, 5 and 20 people on 46 x 46 maps, 16 candidates per joint, 10
    samples per limb; one picture, and a batch of 8."""
    timing.use_platform(platform)
    rows, _ = timing.matmul_rows("grouping")
    yield from rows
    group = partial(
        grouper.group, skeleton=scenes.BODY, stride=STRIDE, max_peaks=16, max_people=20, samples=10
    )
    for people in (1, 5, 20):
        pictures = [scenes.maps(people, CELLS, STRIDE, seed) for seed in range(8)]
        heatmaps, pafs = (jnp.stack(maps) for maps in zip(*pictures, strict=True))
        one = timing.measure(group, heatmaps[0], pafs[0], budget=1.0)
        found = f"found {int(one.outputs.count)}"
        name = f"{people} people, one picture"
        yield Row("grouping", name, one.seconds * 1e3, "ms", one.compile_seconds, found)
        eight = timing.measure(jax.vmap(group), heatmaps, pafs, budget=1.0)
        name = f"{people} people, a picture of a batch of 8"
        yield Row("grouping", name, eight.seconds / 8 * 1e3, "ms", eight.compile_seconds)
