"""What the commands ask of the detector."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from bodyjax import files
from bodyjax.contract import Prepared
from bodyjax.data.pictures import own_pictures
from bodyjax.detect import teacher_maps
from bodyjax.engine import checkpoint
from bodyjax.errors import ConfigError
from bodyjax.evaluate import fine_tuning
from bodyjax.evaluate.pictures import evaluate as evaluate
from bodyjax.train import run

COMPARED = ("small", "large", "tiny", "se", "cmu")
"""Variants whose networks are timed, where the config has them."""


def prepare(config: ConfigDict, host: tuple[int, int]) -> Prepared:
    """What every system needs; the form of stored teacher maps and, where one's own pictures are
    trained on, the test-time settings of the start are filled in the config."""
    if config.get("distill") and config.distill.stored:
        teacher_maps.take_form(config)
    prepared = run.prepare(config, host)
    if config.data.kind == own_pictures.KIND:
        fine_tuning.check(config.data.path, config.data.on_bad)
        take_settings(config)
    return prepared


def take_settings(config: ConfigDict) -> None:
    """Fills in test-time settings that the config leaves out and the start has: so start and result
    are measured alike."""
    if config.start and not config.start.endswith(".npz"):
        stored = checkpoint.load(config.start, system="pose").config.get("detect", {})
        with config.unlocked(), config.ignore_type():
            config.detect = ConfigDict({**stored, **config.get("detect", {})})


def finish(config: ConfigDict, path: Path, workdir: Path, again: bool) -> list[str]:
    """Start and result on the pictures held back, where they are one's own: lines, test.json.

    again: the run was finished before, and what it then measured stands."""
    if config.data.kind != own_pictures.KIND:
        return []
    file = workdir / "test.json"
    if again and file.exists():
        measures = json.loads(file.read_text())
    else:
        measures = fine_tuning.measure(config.start, path, config.data.path, workdir)
        files.write_text(file, json.dumps(measures, indent=1))
    python = os.path.relpath(sys.executable)
    command = f"{python} -m launch.detect --checkpoint {workdir} --input FILE --out overlay.jpg"
    return [*fine_tuning.lines(measures), f"find people: {command}"]


def measure(
    name: str, config: Any, variants: Callable[[str], Any], platform: str
) -> Iterator[tuple[str, Callable[..., Iterator[Any]], tuple[Any, ...]]]:
    """The shipped detectors from canvas to people, the networks, labels, and grouping."""
    from bodyjax.bench import detector, people, training

    compared = {}
    for variant in COMPARED:
        try:
            compared[variant] = variants(f"{name}:{variant}")
        except ConfigError:
            continue
    yield f"{name}: training step", training.training, (name, config, platform)
    yield "detector", people.people, (platform,)
    yield "networks", detector.detector, (compared, platform)
    yield "labels", detector.labels, (config, platform)
    yield "grouping", detector.grouping, (platform,)
