"""Calibration error of a classifier of stored maps, before and after a temperature:

    python -m bodyjax.bench.confidence --checkpoint commands

The temperature is chosen on the validation clips of the checkpoint's data, the errors are those of
its test clips, as recognition sees them in the stored frames. Intervals hold 95 % of the resampled
clips; `less` is the error before less the error after.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from bodyjax import systems
from bodyjax.data import stream
from bodyjax.data.clips import feed
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.errors import ConfigError, UserError
from bodyjax.metrics.confidence import calibration_error, softmax, temperature
from bodyjax.metrics.intervals import bootstrap, paired_bootstrap
from bodyjax.systems.movement import Movement
from bodyjax.train import stored_maps

LEVEL = 0.95


def measure(name: str) -> dict[str, Any]:
    """The figures of a checkpoint. ConfigError for classifiers of frames, joints or several
    movements at once."""
    found = checkpoints.load(name)
    config, system = found.config, systems.build(found.config)
    what = "is no classifier of stored maps, one movement a clip"
    if not isinstance(system, Movement):
        raise ConfigError(what, file=name)
    if system.settings.input != "maps" or system.settings.several:
        raise ConfigError(what, file=name)
    detector, sides = found.variables["frozen"]["detector"], {}
    _, transform = feed.transforms(config)
    predict = jax.jit(system.predict)
    for part in ("valid", "test"):
        clips = feed.open_clips(config.data, part)
        maps = stored_maps.ensure(clips, system, detector, config.data.stored_frames)
        logits = [
            np.asarray(predict(found.variables, {"maps": batch["maps"]})["logits"])[batch["mask"]]
            for batch in stream.whole(maps, transform, 32)
        ]
        sides[part] = np.concatenate(logits), np.asarray(clips.labels)
    return report(*sides["valid"], *sides["test"])


def report(
    valid: np.ndarray, valid_labels: np.ndarray, logits: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """The figures of logits (N, C) with labels (N,), the temperature chosen on the first two."""
    chosen = temperature(valid, valid_labels)
    before, after = softmax(logits), softmax(logits / chosen)

    def error(probability: np.ndarray) -> Callable[[np.ndarray], float]:
        return partial(_of_rows, probability, labels)

    pair = paired_bootstrap(error(before), error(after), len(labels), level=LEVEL)
    return {
        "n": len(labels),
        "accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "temperature": chosen,
        "before": bootstrap(error(before), len(labels), level=LEVEL)._asdict(),
        "after": bootstrap(error(after), len(labels), level=LEVEL)._asdict(),
        "less": pair._asdict(),
    }


def _of_rows(probability: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> float:
    return calibration_error(probability[rows], labels[rows])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bodyjax.bench.confidence", description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    options = parser.parse_args(arguments)
    try:
        print(json.dumps(measure(options.checkpoint), indent=1))
    except UserError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
