"""What the commands ask of the classifier of joint sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from bodyjax import config_history, files, recognize, score, systems
from bodyjax.archive import Answer, Beat, Work
from bodyjax.archive.work import without_path
from bodyjax.contract import Prepared, Variables
from bodyjax.data import part_checks
from bodyjax.data.folds import Fold, official
from bodyjax.data.sequences import source as sequences
from bodyjax.data.sequences.source import Sequences
from bodyjax.data.stream import Stream
from bodyjax.data.video.files import open_video
from bodyjax.engine import settings
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.engine.step import shapes
from bodyjax.errors import ConfigError, DataError, VideoError
from bodyjax.evaluate.sequences import evaluate as evaluate
from bodyjax.score import scorer
from bodyjax.tasks import Network, Opened, prediction
from bodyjax.train import cross_validation, start


def prepare(config: ConfigDict, host: tuple[int, int]) -> Prepared:
    """One model (`folds.kind` empty): an official split's training side, with its test side for
    evaluation, or otherwise every row. Fills in the config what only the data know."""
    config_history.refuse(config)
    if config.get("balance"):
        raise ConfigError(
            "is for folds only", place="balance", hint="one model takes loss.class_weights"
        )
    chosen = settings.train(config.train)
    if chosen.best.metric or chosen.stop.plateau:
        what = "joint sequences are evaluated on their test side, which must not choose"
        hint = "leave train.best and train.stop.plateau out; compare settings by folds.inner"
        raise ConfigError(what, place="train", hint=hint)
    if chosen.compute_dtype != "float32":
        raise ConfigError("sequences are computed in float32", place="train.compute_dtype")
    scorer.score_settings(config)
    data = sequences.from_config(config.data)
    with config.unlocked(), config.ignore_type():
        config.update(ConfigDict(cross_validation.complete(config, data)))
    fold = checked_split(data, config.data, host)
    feed = Stream(
        data if fold is None else data.rows(fold.train),
        as_stored,
        seed=config.seed,
        batch_size=config.data.batch,
        eval_source=None if fold is None else data.rows(fold.test),
        host_index=host[0],
        host_count=host[1],
    )
    meta = {
        "labels": list(data.classes), "skeleton": data.skeleton.name,
        "conditions": list(data.conditions),
    }  # fmt: skip
    system = systems.build(config)
    return Prepared(system, feed, start.variables(config, system, feed), meta)


def folds(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """The figures of all folds and seeds of `config.folds`: train.cross_validation."""
    return cross_validation.run(config, workdir)


def checked_split(data: Sequences, section: Any, host: tuple[int, int]) -> Fold | None:
    """The first official split, if there is one, after checking that its classes and sides suit a
    training (bodyjax.data.part_checks)."""
    on_bad, file = section.get("on_bad") or "raise", section.get("path") or None
    lines: list[str] = []
    fold = next((official(split, name) for name, split in data.splits.items()), None)
    if fold is None:
        counts = np.bincount(data.labels, minlength=len(data.classes))
        lines = part_checks.check_classes(data.classes, counts, on_bad=on_bad, file=file)
    else:
        keys = part_checks.row_keys(data.arrays())
        fold, lines = part_checks.checked_fold(fold, data, keys, on_bad=on_bad, file=file)
        lines += part_checks.folds_not_judged([fold], data)
    for line in lines if host[0] == 0 else ():
        print(line)
    return fold


def as_stored(example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The transform of joint sequences: the system changes clips itself, on the device."""
    del rng
    return example


def open(
    found: Checkpoint, *, exercise: str | None = None, on_bad: str = "raise", **settings: Any
) -> Opened:
    """Standard or not, per person and repetition. exercise: which one is done, if the model takes
    it as input; on_bad: "skip" salvages damaged videos; settings: the detector's, as detect.load
    takes them."""
    scorer = score.load(found, condition=exercise, settings=settings)

    def every(videos: Path) -> Iterator[dict[str, Any]]:
        for file in recognize.video_files(videos):
            try:
                yield score.recognize(scorer, file, on_bad)
            except VideoError as error:
                yield {"video": str(file), "error": error.message}

    return Opened(
        lambda video: score.recognize(scorer, video, on_bad),
        every,
        lambda video, out, result: score.overlay(scorer, video, out, result, on_bad),
        lambda result: f"{len(result['people'])} people",
    )


def archive(
    found: Checkpoint, *, exercise: str | None = None, on_bad: str = "raise", **settings: Any
) -> Work:
    """Each clip scored, one after the other; label and `sure` are those of the person with a
    verdict who is seen longest. The parameters are those of `open`."""
    scorer = score.load(found, condition=exercise, settings=settings)

    def run(videos: list[Path], beat: Beat) -> list[Answer | DataError]:
        return [answer(score.recognize(scorer, video, on_bad, beat)) for video in videos]

    return Work(
        lambda file, beat: open_video(file, on_bad).path,
        run,
        1,
        files.VIDEOS,
        [scorer.variables, scorer.detector.variables],
    )


def answer(result: dict[str, Any]) -> Answer:
    """The result of a video as an archive has it."""
    told = without_path(result)
    judged = [one for one in told["people"] if one["label"] is not None]
    if not judged:
        return Answer(None, None, told)
    longest = max(judged, key=lambda one: one["stop"] - one["start"])
    return Answer(longest["label"], longest["probability"], told)


def network(config: Any) -> Network:
    """The joints of one clip to the probability of each class: the system's whole prediction."""
    system: Any = systems.build(config)
    specs = system.input_spec(1)
    if not system.model.conditions:
        specs.pop("condition")

    def run(variables: Variables, *arrays: Any) -> dict[str, Any]:
        batch = {"condition": np.zeros(1, np.int32)} | dict(zip(specs, arrays, strict=True))
        out: dict[str, Any] = system.predict(variables, batch)
        return out

    names = " ".join(system.skeleton.joints)
    says = {
        "joints": f"x, y (, z) at each step, in pixels; {names}",
        "visible": "0 absent, 1 hidden, 2 seen",
        "score": "of each joint, 0 to 1",
        "length": "the steps that count, from the first on",
        "size": "width, height of the picture in pixels, 0 where not known",
        "condition": "number of the exercise",
        "probability": f"of {', '.join(system.labels)}",
        "logits": "the logarithm of the probability",
        "attention": "share of each of the steps that the model sees",
    }
    return Network(run, shapes(specs), says)


def measure(
    name: str, config: Any, variants: Callable[[str], Any], platform: str
) -> Iterator[tuple[str, Callable[..., Iterator[Any]], tuple[Any, ...]]]:
    """A training step, and the sequence model beside PyTorch and in a stream."""
    from bodyjax.bench import sequence, training

    del variants
    config = config.copy_and_resolve_references()
    config.labels = config.labels or tuple(f"class {number}" for number in range(9))
    config.skeleton = config.skeleton or "coco17"
    yield f"{name}: training step", training.training, (name, config, platform)
    yield f"{name}: prediction", prediction, (name, config, platform)
    yield "sequence model", sequence.sequence, (config, platform)
