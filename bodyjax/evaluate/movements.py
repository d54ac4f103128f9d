"""Evaluation of a movement classifier on clips: as launch.evaluate and the end of training show it.

A classifier of frames or stored maps is evaluated on the frames themselves: detector, maps and
classifier in one program, as in recognition. A classifier of joints reads the set's stored joints,
or where it has a detector with a second look those that this finds.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from bodyjax import systems
from bodyjax.contract import Source
from bodyjax.data import sets
from bodyjax.data.clips import feed, folder
from bodyjax.data.clips.feed import Clips, WholeClip
from bodyjax.data.clips.folder import ClipFolder
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import DataError
from bodyjax.metrics.classes import SeveralAtOnce
from bodyjax.recognize import clip_joints
from bodyjax.systems.movement import Movement

FRAMES_AT_ONCE = 64
"""About as many frames are given to the device at once."""
BATCHES_AT_ONCE = 2
"""While one batch is read, or leaves a core idle, another one computes."""


def evaluate(
    checkpoint: Checkpoint, data: str | Path, split: str | None = None, *, order: str = "kept",
    samples: int | None = None, on_bad: str = "skip",
) -> dict[str, Any]:  # fmt: skip
    """Top-1, top-3 and mean-class accuracy and the confusion matrix; of a classifier of several
    movements at once what `metrics.SeveralAtOnce` measures.

    `data`: a folder of clips (CLASS/NAME.mp4, with splits.json, or with train, valid, test), or
    "simulated:commands", made as the checkpoint's config says;
    `split`: "test", "1:test", ...; None: all clips, with the counts of each side (of numbered
    splits, those of the one that the checkpoint was trained on, its config's data.split; where the
    data have no such number, clips that are held out in any split count as held out). `order`: as
    in WholeClip; `samples` overrides the number of samplings of a clip.
    Clips that can't be read are left out, counted and named. Classes that the checkpoint does not
    know are a DataError.
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
    if checkpoint.config.get("second"):
        detector = clip_joints.detector_of(checkpoint.config)
        examples = clip_joints.ensure(source, detector, seen.frames * seen.samples)
    probability = predict(system, checkpoint.variables, examples, seen)
    measures = several_report if system.settings.several else report
    return {**measures(probability, source, system.labels), **counts(source)}


def transform(
    checkpoint: Checkpoint, system: Movement, *, order: str = "kept", samples: int | None = None
) -> WholeClip:
    """What the system sees of a clip: the frames that recognition takes, or the joints of these."""
    samples = samples or int(checkpoint.config.data.samples)
    settings, pixels = system.settings, system.settings.input == "frames"
    return WholeClip(settings.frames, settings.size, pixels, samples, order, settings.sampling)


def runnable(checkpoint: Checkpoint) -> Movement:
    """The system of a checkpoint as it is used: on frames where it was trained on stored maps."""
    system = systems.build(checkpoint.config)
    assert isinstance(system, Movement)
    if system.settings.input != "maps":
        return system
    return replace(system, settings=replace(system.settings, input="frames"))


def open_source(
    path: Path, split: str | None, system: Movement, on_bad: str, joints: bool
) -> Clips:
    """The clips of one part, with the checkpoint's classes in its order, and with `joints` those
    that lie beside them."""
    if split == "test" and (path / "splits.json").exists():
        raise DataError("has numbered splits", file=path, hint="name one: --split 1:test")
    if path.is_dir() and sets.recognise(path) == "prepared":
        source = feed.open_part(path, split or "all", on_bad, joints, system.settings.several)
        check_classes(source, system, path)
        return source
    return folder.clips(
        path, split or "all", classes=system.labels, on_bad=on_bad, joints=joints,
        several=system.settings.several,
    )  # fmt: skip


def check_classes(source: Clips, system: Movement, file: str | Path | None) -> None:
    """DataError where a source's classes are not the system's in its order."""
    if tuple(source.classes) != system.labels:
        hint = f"the checkpoint's are {', '.join(system.labels)}"
        raise DataError(f"the data's classes are {', '.join(source.classes)}", file=file, hint=hint)


def predict(system: Movement, variables: Any, source: Source, transform: WholeClip) -> np.ndarray:
    """Probabilities (N, classes) of all clips; shows progress."""
    size = max(1, FRAMES_AT_ONCE // (transform.samples * transform.frames))
    size = 32 if system.settings.input == "joints" else size
    run = jax.jit(lambda v, batch: system.predict(v, batch)["probability"])

    def answer(first: int) -> np.ndarray:
        filled, count = batch(source, transform, first, size)
        return np.asarray(run(variables, filled))[:count]

    bar = tqdm(total=len(source), desc="evaluating", unit="clip", disable=None)
    firsts = range(0, len(source), size)
    rows = [answer(0)]  # compiles, once for all threads
    bar.update(len(rows[0]))
    with ThreadPoolExecutor(BATCHES_AT_ONCE) as pool:
        for answers in pool.map(answer, firsts[1:]):
            rows.append(answers)
            bar.update(len(answers))
    bar.close()
    return np.concatenate(rows)


def batch(
    source: Source, transform: WholeClip, first: int, size: int
) -> tuple[dict[str, np.ndarray], int]:
    """`size` clips from the `first` on, and how many of them are not filling."""
    rng = np.random.default_rng(0)  # the transform draws nothing
    rows = [transform(source[i], rng) for i in range(first, min(first + size, len(source)))]
    count = len(rows)
    rows += rows[-1:] * (size - count)
    names = [name for name in rows[0] if name != "label"]
    return {name: np.stack([row[name] for row in rows]) for name in names}, count


def report(probability: np.ndarray, source: Clips, labels: tuple[str, ...]) -> dict[str, Any]:
    """The measures of one class a clip, from probabilities (N, C)."""
    truth = np.asarray(source.labels)
    rank = np.argsort(-probability, axis=1, kind="stable")
    right = rank[:, 0] == truth
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (truth, rank[:, 0]), 1)
    of_class = confusion.sum(1)
    per_class = {
        label: float(confusion[i, i] / of_class[i]) for i, label in enumerate(labels) if of_class[i]
    }
    return {
        "accuracy": float(right.mean()),
        "top3": float((rank[:, :3] == truth[:, None]).any(1).mean()),
        "mean_class_accuracy": float(np.mean(list(per_class.values()))),
        "n": len(truth),
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "labels": list(labels),
    }


def several_report(
    probability: np.ndarray, source: Clips, labels: tuple[str, ...]
) -> dict[str, Any]:
    """The measures of several movements at once, from probabilities (N, C)."""
    assert isinstance(source, ClipFolder)
    measure = SeveralAtOnce(labels)
    state = measure.update(measure.init(), {"probability": probability}, {"label": source.several})
    return {**measure.compute(state), "labels": list(labels)}


def counts(source: Clips) -> dict[str, Any]:
    """What was left out, and how many clips are held out."""
    heldout = np.asarray(source.heldout)
    return {
        "left_out": len(source.bad),
        "bad": list(source.bad),
        "split": {"held_out": int(heldout.sum()), "other": int((~heldout).sum())},
    }
