"""Whether an exported file gives what bodyjax gives: the largest difference, relative to the range
of each output, over pictures or structured noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import files
from bodyjax.data import affine
from bodyjax.data.pictures.images import read_image
from bodyjax.errors import DataError, UserError
from bodyjax.export.program import Arrays, Shape, by_path

EXAMPLES = 100
LIMITS = {"float32": 1e-3, "float16": 1e-2}
"""The largest relative difference that a file may have."""


def differences(
    ours: Callable[[Arrays], Any], theirs: Callable[[Arrays], Any], examples: Iterator[Arrays]
) -> dict[str, float]:
    """Each output's largest absolute difference over all examples, divided by the range of our
    values. Where either side isn't finite or shapes differ, the difference is infinite."""
    worst: dict[str, float] = {}
    low: dict[str, float] = defaultdict(lambda: np.inf)
    high: dict[str, float] = defaultdict(lambda: -np.inf)
    for example in examples:
        first, second = _leaves(ours(example)), _leaves(theirs(example))
        if first.keys() != second.keys():
            missing = ", ".join(sorted(first.keys() ^ second.keys()))
            raise UserError(f"the outputs {missing} are on one side only")
        for name, ours_is in first.items():
            theirs_is = second[name]
            if ours_is.shape != theirs_is.shape or not np.isfinite(theirs_is).all():
                worst[name] = np.inf
            elif ours_is.size:
                apart = float(np.abs(ours_is - theirs_is).max())
                worst[name] = max(worst.get(name, 0.0), apart)
                low[name] = min(low[name], float(ours_is.min()))
                high[name] = max(high[name], float(ours_is.max()))
    least = float(np.finfo(np.float32).tiny)
    return {
        name: apart / max(high[name] - low[name], least) if 0 < apart < np.inf else apart
        for name, apart in worst.items()
    }


def _leaves(tree: Any) -> Arrays:
    return {name: np.asarray(leaf, np.float64) for name, leaf in by_path(tree).items()}


def check(found: Mapping[str, float], kind: str, file: str | Path) -> None:
    """UserError if an output differs by more than `LIMITS[kind]`."""
    name, worst = max(found.items(), key=lambda pair: pair[1])
    if not worst <= LIMITS[kind]:
        what = f"output {name} differs by {worst:.2g} of its range, more than {LIMITS[kind]:g}"
        hint = "nothing is written; take --format stablehlo, or no --float16"
        raise UserError(what, file=file, hint=hint)


# ---- what it is tried on ----


def examples(
    specs: Mapping[str, Any], pictures: Sequence[Path] = (), count: int = EXAMPLES
) -> Iterator[Arrays]:
    """`count` inputs of these shapes: pictures where the input is a picture and files are given,
    otherwise structured noise, the same in every run. A free axis is 1."""
    specs = {
        name: spec.fixed() if isinstance(spec, Shape) else spec for name, spec in specs.items()
    }
    for number in range(min(count, len(pictures)) or count):
        rng = np.random.default_rng(number)
        made = {name: noise(name.split("/")[-1], spec, rng) for name, spec in specs.items()}
        for name, spec in specs.items():
            if pictures and len(spec.shape) == 4 and spec.shape[-1] == 3:
                made[name] = on_canvas(pictures[number], spec.shape[1:3])[None].astype(spec.dtype)
        yield made


def on_canvas(file: Path, size: tuple[int, int]) -> np.ndarray:
    """A picture centred on a canvas (height, width, 3) uint8, as `detect` does."""
    picture = read_image(file)
    return affine.warp(picture, affine.fit(picture.shape[:2], size), size, fill=affine.FILL)


def listed(folder: str | Path) -> list[Path]:
    """The first pictures of a folder. DataError if there are none."""
    if not Path(folder).is_dir():
        raise DataError("no such folder", file=folder, hint="name a folder of pictures")
    found = files.listed(folder, files.PICTURES).files[:EXAMPLES]
    if not found:
        raise DataError("no pictures", file=folder, hint=" ".join(files.PICTURES))
    return found


USUAL = {"size": (640, 480), "camera": (1000, 1000, 500, 500), "height": 1700}
"""Of a picture in pixels, of a camera (fx, fy, cx, cy), of a person in mm."""


def noise(name: str, spec: Any, rng: np.random.Generator) -> np.ndarray:
    """An input by its name (contract.System's batches): pictures of patches, maps with a peak,
    joints that move smoothly, everything seen, a clip that fills its steps."""
    shape, dtype = tuple(spec.shape), np.dtype(spec.dtype)
    if len(shape) > 3 and shape[-1] == 3:
        made: np.ndarray = patches(shape, rng)
    elif name == "maps":
        made = peaks(shape, rng)
    elif name in ("joints", "xy"):
        made = paths(shape, rng) if len(shape) == 4 else rng.uniform(50, 300, shape)
    elif name == "visible":
        made = np.where(rng.uniform(size=shape) < 0.9, 2, 0)
    elif name == "length":
        made = np.full(shape, 10_000)
    elif name in USUAL:
        made = np.broadcast_to(np.array(USUAL[name]), shape)
    elif np.issubdtype(dtype, np.floating):
        made = rng.uniform(size=shape)
    else:
        made = np.zeros(shape)
    return made.astype(dtype)


def patches(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(..., H, W, 3) in 0..255: rectangles of one colour each, and fine noise."""
    made = np.broadcast_to(rng.uniform(0, 255, 3), shape).copy()
    height, width = shape[-3:-1]
    for _ in range(12):
        top, left = rng.integers(height), rng.integers(width)
        down, across = rng.integers(2, height), rng.integers(2, width)
        made[..., top : top + down, left : left + across, :] = rng.uniform(0, 255, 3)
    return np.clip(np.round(made + rng.normal(0, 8, shape)), 0, 255)


def peaks(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(..., H, W, J) in 0..1: a Gaussian in each channel."""
    height, width = shape[-3:-1]
    lead = (*shape[:-3], 1, 1, shape[-1])
    y, x = rng.uniform(0, height, lead), rng.uniform(0, width, lead)
    down, across = np.arange(height)[:, None, None], np.arange(width)[:, None]
    distance = (across - x) ** 2 + (down - y) ** 2
    return rng.uniform(0.2, 1.0, lead) * np.exp(-distance / 4.0)


def paths(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(B, T, J, D) in pixels: every joint swings about a place of its own."""
    batch, steps, joints, dims = shape
    middle, reach, phase = (
        rng.uniform(low, high, (batch, 1, joints, dims))
        for low, high in ((50, 250), (5, 40), (0, 6.3))
    )
    turn = np.linspace(0, rng.uniform(4, 12), steps)[:, None, None]
    return middle + reach * np.sin(turn + phase)
