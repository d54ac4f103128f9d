"""Evaluation of a movement classifier on clips: as shown by launch.evaluate and at the end of
training.

A classifier of frames or stored maps is evaluated on the frames themselves: detector, maps and
classifier in one program, as in recognition. A classifier of joints reads the set's stored joints,
or, if it has a detector with a second look, those that the detector finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from bodyjax import systems
from bodyjax.contract import Source, Variables
from bodyjax.data import sets, stream
from bodyjax.data.clips import feed, folder
from bodyjax.data.clips.feed import Clips, WholeClip
from bodyjax.engine import mesh as meshes
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.engine.evaluate import make_evaluator
from bodyjax.engine.report import plain
from bodyjax.errors import DataError
from bodyjax.recognize import clip_joints
from bodyjax.systems.movement import Movement

FRAMES_AT_ONCE = 64
"""About this many frames are given to the device at once."""
BATCHES_AT_ONCE = 2
"""If one batch leaves a core idle, another one computes."""


def evaluate(
    checkpoint: Checkpoint, data: str | Path, split: str | None = None, *, order: str = "kept",
    samples: int | None = None, on_bad: str = "skip",
) -> dict[str, Any]:  # fmt: skip
    """What the system's metrics measure, as during training: `metrics.Classification`, or
    `metrics.SeveralAtOnce` for a classifier of several movements at once; and the labels.

    `data`: a folder of clips (CLASS/NAME.mp4, with splits.json, or with train, valid, test), or
    "simulated:commands", made as in the checkpoint's config; `split`: "test", "1:test", ...; None:
    all clips, with the counts of each side (of numbered splits, those of the one that the
    checkpoint was trained on, its config's data.split; if the data have no such number, clips that
    are held out in any split count as held out). `order`: as in WholeClip; `samples` overrides the
    number of samplings of a clip. Clips that can't be read are left out, counted and named. Classes
    unknown to the checkpoint are a DataError.
    """
    if str(data).startswith(feed.SIMULATED):
        data = feed.simulated_folder({**dict(checkpoint.config.data), "path": str(data)})
    if split is None and str(checkpoint.config.data.split) in folder.numbers_of_splits(Path(data)):
        split = f"{checkpoint.config.data.split}:all"
    joints = clip_joints.known(checkpoint.config)
    source = open_source(Path(data), split, runnable(checkpoint), on_bad, joints)
    return measure(checkpoint, source, order=order, samples=samples)


def measure(
    checkpoint: Checkpoint, source: Clips, *, order: str = "kept", samples: int | None = None
) -> dict[str, Any]:
    """`evaluate` on an opened source of the checkpoint's classes; DataError for others."""
    system = runnable(checkpoint)
    check_classes(source, system, checkpoint.path)
    seen = transform(checkpoint, system, order=order, samples=samples)
    examples: Source = source
    if checkpoint.config.second:
        detector = clip_joints.detector_of(checkpoint.config)
        examples = clip_joints.ensure(source, detector, seen.frames * seen.samples)
    measures = passed(system, checkpoint.variables, examples, seen)
    unknown = measures.get("left_out", 0)
    measures |= {"labels": list(system.labels), **counts(source)}
    return {**measures, "left_out": measures["left_out"] + unknown}


def transform(
    checkpoint: Checkpoint, system: Movement, *, order: str = "kept", samples: int | None = None
) -> WholeClip:
    """What the system sees of a clip: the frames that recognition takes, or the joints of these."""
    samples = samples or int(checkpoint.config.data.samples)
    settings, pixels = system.settings, system.settings.input == "frames"
    return WholeClip(settings.frames, settings.size, pixels, samples, order, settings.sampling)


def runnable(checkpoint: Checkpoint) -> Movement:
    """The system of a checkpoint as it is used: on frames if it was trained on stored maps."""
    system = systems.build(checkpoint.config)
    assert isinstance(system, Movement)
    if system.settings.input != "maps":
        return system
    return replace(system, settings=replace(system.settings, input="frames"))


def open_source(
    path: Path, split: str | None, system: Movement, on_bad: str, joints: bool
) -> Clips:
    """The clips of one part, with the checkpoint's classes in its order, and with `joints` those
    beside them."""
    if split == "test" and (path / "splits.json").exists():
        raise DataError("has numbered splits", file=path, hint="name one: --split 1:test")
    if path.is_dir() and sets.recognise(path, folder.LAYOUT) == "prepared":
        source = feed.open_part(path, split or "all", on_bad, joints, system.settings.several)
        check_classes(source, system, path)
        return source
    return folder.clips(
        path, split or "all", classes=system.labels, on_bad=on_bad, joints=joints,
        several=system.settings.several,
    )  # fmt: skip


def check_classes(source: Clips, system: Movement, file: str | Path | None) -> None:
    """DataError if a source's classes are not the system's in its order."""
    if tuple(source.classes) != system.labels:
        hint = f"the checkpoint's are {', '.join(system.labels)}"
        raise DataError(f"the data's classes are {', '.join(source.classes)}", file=file, hint=hint)


def passed(
    system: Movement, variables: Variables, source: Source, transform: WholeClip
) -> dict[str, Any]:
    """What the system's own metrics measure on all clips; shows progress."""
    evaluator = make_evaluator(system, meshes.one_device(), BATCHES_AT_ONCE)
    size = batch_size(system, transform)
    with tqdm(total=len(source), desc="evaluating", unit="clip", disable=None) as bar:

        def told() -> Iterator[dict[str, np.ndarray]]:
            for batch in stream.whole(source, transform, size):
                bar.update(int(batch["mask"].sum()))
                yield batch

        return plain(evaluator(jax.device_put(variables), told()))


def batch_size(system: Movement, transform: WholeClip) -> int:
    """How many clips are given to the device at once."""
    if system.settings.input == "joints":
        return 32
    return max(1, FRAMES_AT_ONCE // (transform.samples * transform.frames))


def counts(source: Clips) -> dict[str, Any]:
    """What was left out, and how many clips are held out."""
    heldout = np.asarray(source.heldout)
    return {
        "left_out": len(source.bad),
        "bad": list(source.bad),
        "split": {"held_out": int(heldout.sum()), "other": int((~heldout).sum())},
    }
