"""Whether one way of training a movement classifier is better than another, on the same test clips:

    python -m bodyjax.bench.movement_pairs --first runs/a_0 runs/a_1 --other runs/b_0 runs/b_1

The runs of both sides belong together in their order, usually by their seeds. For each side: the
accuracy of every run, mean and spread (standard deviation, n - 1). `by_seed`: the differences other
less first of each pair of runs. `by_clip`: the mean difference over the runs, with the interval
that holds 95 % of the resampled clips. Classifiers of stored maps are tested on stored maps of the
frames that recognition takes; these are made once. --samples overrides the samplings of a clip.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from bodyjax.bench import rows
from bodyjax.contract import Source
from bodyjax.data import stream
from bodyjax.data.clips import feed
from bodyjax.data.stream import Transform
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.errors import ConfigError
from bodyjax.evaluate import movements
from bodyjax.metrics.intervals import paired_bootstrap
from bodyjax.metrics.pooled import spread
from bodyjax.systems import build
from bodyjax.systems.movement import Movement
from bodyjax.train import stored_maps

LEVEL = 0.95
CLIPS_AT_ONCE = 8


@dataclass(frozen=True)
class Samplings:
    """All stored maps of a clip as `samples` samplings of `frames` frames, dealt out as feed.spread
    does."""

    frames: int
    samples: int

    def __call__(self, example: feed.Example, rng: np.random.Generator) -> feed.Example:
        del rng
        maps = example["maps"].reshape(self.frames, self.samples, *example["maps"].shape[1:])
        return {"maps": np.swapaxes(maps, 0, 1), "label": feed.label_of(example)}


def right(name: str, samples: int | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Whether a checkpoint is right about each test clip of its data, (N,) bool, and the clips'
    names; `samples` overrides the number of samplings of a clip. ConfigError for other systems and
    for classifiers of several movements at once, of shuffled frames or of a second look."""
    found = checkpoints.load(name)
    config, system = found.config, build(found.config)
    if not isinstance(system, Movement) or system.settings.several:
        raise ConfigError("is no classifier of one movement a clip", file=name)
    if config.second or config.data.shuffle:
        raise ConfigError("is a control, or needs a second look", file=name)
    settings, samples = system.settings, samples or int(config.data.samples)
    clips = feed.open_clips(config.data, "test", joints=settings.input == "joints")
    examples: Source = clips
    transform: Transform = movements.transform(found, system, samples=samples)
    if settings.input == "maps":
        if settings.sampling not in ("random", "middle"):
            hint = "random or middle: stored maps are of the middles of segments"
            raise ConfigError(f"is {settings.sampling!r}", file=name, place="sampling", hint=hint)
        detector = found.variables["frozen"]["detector"]
        examples = stored_maps.ensure(clips, system, detector, settings.frames * samples)
        transform = Samplings(settings.frames, samples)
    predict, variables = jax.jit(system.predict), jax.device_put(found.variables)
    answers = []
    for batch in stream.whole(examples, transform, CLIPS_AT_ONCE):
        seen = {key: batch[key] for key in batch if key not in ("mask", "label")}
        best = np.asarray(predict(variables, seen)["probability"]).argmax(-1)
        answers.append((best == batch["label"])[batch["mask"]])
    return np.concatenate(answers), clips.names


def report(first: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """The figures of two sides, (S, N) bool each: S runs, right or not about the same N clips."""
    sides = {
        name: {**told(table.mean(axis=1).tolist()), "runs": table.mean(axis=1).tolist()}
        for name, table in (("first", first), ("other", other))
    }
    apart = (other.mean(axis=1) - first.mean(axis=1)).tolist()
    pair = paired_bootstrap(
        partial(_share, other), partial(_share, first), first.shape[1], level=LEVEL
    )
    return {
        "clips": first.shape[1],
        **sides,
        "by_seed": {**told(apart), "differences": apart},
        "by_clip": pair._asdict(),
    }


def told(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and spread of the runs."""
    return {"mean": float(np.mean(values)), "spread": spread(values)}


def _share(table: np.ndarray, rows: np.ndarray) -> float:
    """The share right of these clips, over all runs."""
    return float(table[:, rows].mean())


def measure(
    first: Sequence[str], other: Sequence[str], samples: int | None = None
) -> dict[str, Any]:
    """`report` of two lists of checkpoints. ConfigError if they are not of the same clips."""
    if len(first) != len(other):
        message = f"{len(other)} runs, and {len(first)} of --first"
        raise ConfigError(message, place="--other", hint="name as many, in the same order")
    runs = [*first, *other]
    found = [right(name, samples) for name in runs]
    for name, (_, clips) in zip(runs, found, strict=True):
        if clips != found[0][1]:
            raise ConfigError(f"has other test clips than {runs[0]}", file=name)
    table = np.stack([answers for answers, _ in found])
    return report(table[: len(first)], table[len(first) :])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bodyjax.bench.movement_pairs", description=__doc__)
    parser.add_argument("--first", nargs="+", required=True)
    parser.add_argument("--other", nargs="+", required=True)
    parser.add_argument("--samples", type=int, help="samplings of a clip")
    parser.add_argument("--json", help="write what is printed to a file as well")
    options = parser.parse_args(arguments)
    rows.print_json(
        parser, lambda: measure(options.first, options.other, options.samples), options.json
    )


if __name__ == "__main__":
    main(sys.argv[1:])
