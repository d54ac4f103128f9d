"""What the commands ask of the movement classifier."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from bodyjax import draw, files, recognize, systems
from bodyjax.archive import Answer, Beat, Work
from bodyjax.archive.work import without_path
from bodyjax.contract import ArraySpec, Prepared, Source, System, Variables
from bodyjax.data import feeds, part_checks
from bodyjax.data.clips import feed as clip_feed
from bodyjax.data.clips import settings as clip_settings
from bodyjax.data.clips.feed import Clips
from bodyjax.data.clips.folder import ClipFolder
from bodyjax.data.stream import whole
from bodyjax.engine import checkpoint
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.engine.step import shapes
from bodyjax.errors import ConfigError, DataError
from bodyjax.evaluate import movements
from bodyjax.evaluate.movements import evaluate as evaluate
from bodyjax.metrics import intervals
from bodyjax.recognize import batches, clip_joints, familiar, overlay, sliding_windows
from bodyjax.recognize.recognizer import Clip, read_clip
from bodyjax.simulate import motion
from bodyjax.systems import movement_settings
from bodyjax.systems.movement import JOINTS, Movement
from bodyjax.systems.teaching import of_network
from bodyjax.tasks import (
    Deployed,
    Network,
    Opened,
    portable,
    predict_one,
    prediction,
    typed,
)
from bodyjax.train import stored_maps


def prepare(config: ConfigDict, host: tuple[int, int]) -> Prepared:
    """The classifier with its detector; `config.labels` and `config.detector` are filled in."""
    movement_settings.check_training(config)
    # What has been misspelt is said before any clip is drawn or opened.
    detector = checkpoint.load(config.start, system="pose") if config.start else None
    if config.second:
        checkpoint.load(config.second, system="pose")
    clips = open_all(config, host)
    take_labels(config, clips["train"].classes)
    fit_to_data(config, host)
    initial: Variables = {}
    if detector is not None and not config.second:
        config.detector = detector.config.model
        parts = of_network(detector.variables)
        if not config.model.fine_tune:
            initial = {"frozen": {"detector": parts}}
    else:
        parts = {}
    system = systems.build(config)
    if config.model.fine_tune:
        initial = fine_tuning(config, system, parts)
    feed = clip_feed.clip_feed(config, sources(config, system, parts, clips, host), host=host)
    meta = {"labels": list(config.labels), "skeleton": "body18"}
    return Prepared(system, feed, initial, meta)


def finish(config: ConfigDict, path: Path, workdir: Path, again: bool) -> list[str]:
    """Figures on the test clips, and how to use the trained model; writes FILE of
    recognize.familiar."""
    lines = tested(config, path, workdir, again)
    if not again or not (workdir / familiar.FILE).exists():
        learn_familiar(config, path, workdir)
    if not clip_joints.known(config):
        command = f"{typed('recognize')} --checkpoint {workdir} --video FILE"
        lines.append(f"recognise a video: {command}")
    return lines


def learn_familiar(config: ConfigDict, path: Path, workdir: Path) -> None:
    """Learns what the training clips look like to a classifier of stored maps, whose clips need not
    be decoded again; other classifiers recognise every clip with somebody in it."""
    if config.model.input != "maps" or config.data.shuffle or config.model.several:
        return
    trained = checkpoint.load(path)
    system: Any = systems.build(config)
    parts = clip_feed.with_validation(
        clip_feed.open_parts(config.data, **kind_of_clips(config)), config.data.holdout
    )
    if "valid" not in parts:
        return
    detector = trained.variables["frozen"]["detector"]
    made = sources(config, system, detector, {k: parts[k] for k in ("train", "valid")}, (0, 1))
    _, transform = clip_feed.transforms(config)
    predict = jax.jit(system.predict)
    training, held = (
        predicted(predict, trained.variables, made[k], transform) for k in ("train", "valid")
    )
    right = held["logits"].argmax(-1) == np.asarray(made["valid"].labels)
    known = familiar.fit(training["summary"], held["summary"], held["score"], right)
    if known is not None:
        familiar.save(workdir, known)


def predicted(
    predict: Callable[..., Any], variables: Variables, source: Source, transform: Any
) -> dict[str, np.ndarray]:
    """Outputs of `predict` for every example of a source, in its order."""
    parts = []
    for batch in whole(source, transform, 32):
        mask = np.asarray(batch["mask"])
        out = predict(variables, {k: v for k, v in batch.items() if k != "mask"})
        parts.append({k: np.asarray(out[k])[mask] for k in ("logits", "score", "summary")})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def tested(config: ConfigDict, path: Path, workdir: Path, again: bool) -> list[str]:
    """Evaluates on the test clips, if there are any: lines to print, test.json, confusion.png.

    again: the run had finished before, and its figures from then are kept."""
    if not clip_feed.has_test(config.data):
        return ["no test clips"]
    file = workdir / "test.json"
    if again and file.exists():
        measures = json.loads(file.read_text())
    else:
        trained = checkpoint.load(path)
        source = clip_feed.open_clips(config.data, "test", **kind_of_clips(config))
        order = "shuffled" if config.data.shuffle else "kept"
        measures = movements.measure(trained, source, order=order)
        files.write_text(file, json.dumps(measures, indent=1))
    counted = f"{measures['n']} clips, {measures['left_out']} left out"
    known = measures.get("accuracy_interval")  # finished runs of before have none
    bounds = f" {intervals.told(known)}" if known else ""
    if config.model.several:
        share, mean = measures["accuracy"], measures["f1"]
        return [f"held-out clips: all right {share:.3f}{bounds}, mean F1 {mean:.3f} ({counted})"]
    picture = workdir / "confusion.png"
    draw.confusion(np.array(measures["confusion"]), list(config.labels), picture)
    return [
        f"held-out clips: accuracy {measures['accuracy']:.3f}{bounds}, mean of classes "
        f"{measures['mean_class_accuracy']:.3f} ({counted})",
        f"confusion matrix: {picture}",
    ]


def kind_of_clips(config: ConfigDict) -> dict[str, bool]:
    """The options for opening a classifier's clips: joints, several labels."""
    return {"joints": clip_joints.known(config), "several": config.model.several}


def open_all(config: ConfigDict, host: tuple[int, int]) -> dict[str, Clips]:
    """Every part of the clips, test clips too, each opened once: a bad one ends the run before the
    training, or is reported there as left out."""
    opened = clip_feed.open_parts(config.data, **kind_of_clips(config))
    if host[0] == 0:
        for part, source in opened.items():
            feeds.say_left_out(part, source)
    opened = apart(opened, config, host)
    parts = clip_feed.with_validation(opened, config.data.holdout)
    check_taught(parts["train"], config, host)
    if "valid" in parts:
        parts["valid"] = clip_feed.few(parts["valid"], config.data.watched)
    for part, name in (("valid", "validation"), ("test", "test")):
        if part in parts:
            counts = class_counts(parts[part], len(parts["train"].classes))
            for line in part_checks.not_judged(parts["train"].classes, counts, name):
                say(line, host)
    return parts


def apart(opened: dict[str, Clips], config: ConfigDict, host: tuple[int, int]) -> dict[str, Clips]:
    """The parts without clips that a later part also has (part_checks.rows_apart), compared by
    file. A prepared set is left as its folder was."""
    folders = {part: source for part, source in opened.items() if isinstance(source, ClipFolder)}
    if not folders:
        return opened
    keys = part_checks.file_keys({part: source.files for part, source in folders.items()})
    names = {part: source.names for part, source in folders.items()}
    kept, lines = part_checks.rows_apart(
        keys, names, on_bad=config.data.on_bad, file=clip_feed.folder_of(config.data)
    )
    for line in lines:
        say(line, host)
    return {
        part: source if len(kept[part]) == len(source) else source.take(kept[part])
        for part, source in folders.items()
    }


def class_counts(source: Clips, classes: int) -> np.ndarray:
    """(classes,): the clips of each class, or in which each movement holds if several may."""
    if isinstance(source, ClipFolder) and source.several is not None:
        return np.asarray((source.several > 0).sum(axis=0))
    return np.bincount(np.asarray(source.labels), minlength=classes)


def check_taught(train: Clips, config: ConfigDict, host: tuple[int, int]) -> None:
    """part_checks.check_classes for the training clips. If several movements may hold at once, a
    single one is enough: it holds or not."""
    counts = class_counts(train, len(train.classes))
    several = isinstance(train, ClipFolder) and train.several is not None
    if several and len(train.classes) == 1 and counts.all():
        return
    file = clip_feed.folder_of(config.data)
    for line in part_checks.check_classes(
        train.classes, counts, on_bad=config.data.on_bad, file=file
    ):
        say(line, host)


def say(line: str, host: tuple[int, int]) -> None:
    """Prints on the first of the processes that train together."""
    if host[0] == 0:
        print(line)


def take_labels(config: ConfigDict, classes: tuple[str, ...]) -> None:
    """Fills in `config.labels`; ConfigError if it names other classes than the data's, or in
    another order."""
    if not config.labels:
        config.labels = classes
    elif tuple(config.labels) != classes:
        message = f"{', '.join(config.labels)} are not the data's classes"
        hint = f"leave it empty, or {', '.join(classes)} in this order"
        raise ConfigError(message, place="labels", hint=hint)


def sources(
    config: ConfigDict,
    system: System,
    detector: Variables,
    clips: Mapping[str, Clips],
    host: tuple[int, int],
) -> dict[str, Source]:
    """What the feed reads of the parts "train" and "valid": clips, with simulated copies if the
    config says so, or their stored maps."""
    parts: dict[str, Source] = {k: clips[k] for k in ("train", "valid") if k in clips}
    count = config.data.stored_frames
    if config.second:
        found = clip_joints.detector_of(config)
        return {k: clip_joints.ensure(clips[k], found, count) for k in parts}
    if config.model.input == "maps":
        assert isinstance(system, Movement)
        made = {k: stored_maps.ensure(clips[k], system, detector, count) for k in parts}
        data = clip_settings.read(config.data)
        copies = stored_maps.copies(
            clips["train"], system, detector, count,
            worn=data.worn_copies, simulated=data.simulated_copies,
        )  # fmt: skip
        made["train"] = stored_maps.joined([made["train"], *copies])
        return dict(made)
    if config.data.simulated_copies:
        assert isinstance(system, Movement)
        look = partial(stored_maps.regions, system=system, detector=detector, count=count)
        parts["train"] = clip_feed.with_copies(clips["train"], look)
    return parts


def fit_to_data(config: ConfigDict, host: tuple[int, int]) -> None:
    """Removes from the config what the data can't use, and reports it: operations of movements that
    the data lack, and the choice of the best checkpoint if nothing is held out for it."""
    unknown = [name for name in config.operations if name not in config.labels]
    if unknown:
        config.operations = ConfigDict(
            {name: row for name, row in config.operations.items() if name not in unknown}
        )
        if not set(unknown) <= set(motion.COMMANDS):  # those of the shipped configs say nothing
            say(f"left out: operations of {', '.join(unknown)} (no such class in the data)", host)
    sliding_windows.read_operations(config.operations, tuple(config.labels), "the config")
    if config.train.best.metric and not clip_feed.has_validation(config.data):
        config.train.best.metric = ""
        say(
            "no clips are held out (data.holdout is 0): the last checkpoint is kept, not the best",
            host,
        )


def fine_tuning(config: ConfigDict, system: System, detector: Variables) -> Variables:
    """Initial variables of a classifier that trains its detector too: the detector's, in its
    place."""
    fresh = jax.device_get(jax.jit(system.init)(jax.random.key(config.seed)))
    return {
        "params": {**fresh["params"], "detector": detector["params"]},
        "frozen": {"detector_batch_stats": detector["batch_stats"]},
    }


def open(found: Checkpoint, *, window: float | None = None, on_bad: str = "raise") -> Opened:
    """Movements in videos; window: seconds of the sliding windows of long ones; on_bad: "skip"
    salvages damaged ones."""
    loaded = recognize.load(found)

    def one(video: Path) -> dict[str, Any]:
        if window is None:
            return recognize.recognize_video(loaded, video, on_bad)
        return recognize.recognize_long(loaded, video, window, on_bad=on_bad)

    return Opened(
        one,
        lambda videos: recognize.recognize_folder(loaded, videos, window, on_bad),
        lambda video, out, result: overlay.write(video, out, result, on_bad=on_bad),
        said,
    )


BATCH = 8
"""Clips of an archive that are computed at once."""


def archive(found: Checkpoint, *, on_bad: str = "raise") -> Work:
    """The movement in each clip; its `sure` is the probability."""
    loaded = recognize.load(found)

    def run(clips: list[Clip], beat: Beat) -> list[Answer | DataError]:
        beat()
        return [
            Answer(result["movement"], result["probability"], without_path(result))
            for result in batches.of_clips(loaded, clips, BATCH)
        ]

    def read(file: Path, beat: Beat) -> Clip:
        return read_clip(loaded, file, on_bad)

    parts = [loaded.variables]
    if found.config.get("second"):  # which is not part of the classifier
        parts.append(clip_joints.detector_of(found.config).variables)
    return Work(read, run, BATCH, files.VIDEOS, parts)


def deployed(config: Any) -> Deployed:
    """The movement in the frames (T, H, W, 3) uint8 of a clip: recognize.Result. A classifier of
    joints predicts from joints: the part that finds them follows people from frame to frame, which
    is not a single program."""
    system = systems.build(config)
    assert isinstance(system, Movement)
    settings, samples = system.settings, clip_settings.read(config["data"]).samples
    if settings.input == "joints":
        return predict_one(system)
    frames = jax.ShapeDtypeStruct((settings.frames * samples, *settings.size, 3), np.uint8)
    return Deployed(recognize.predictor(system, samples), (frames,))


def network(config: Any) -> Network:
    """A clip's maps, or known joints, to the movement: one sampling of `model.frames` frames."""
    system = systems.build(portable(config))
    assert isinstance(system, Movement)
    settings, specs = system.settings, system.input_spec(1)
    if settings.input != "joints":
        stride = system.looker.model.stride
        cells = (side // stride for side in settings.size)
        shape = (1, settings.frames, *cells, JOINTS)
        specs = {"maps": ArraySpec(shape, "float32")}

    def run(variables: Variables, *arrays: Any) -> dict[str, Any]:
        batch = dict(zip(specs, arrays, strict=True))
        if "maps" in batch:
            batch["maps"] = 255.0 * batch["maps"]  # as they are stored
        out = system.predict(variables, batch)
        return {name: out[name] for name in ("probability", "logits", "xy", "score")}

    says = {
        "maps": "the detector's heatmaps of each frame in the order of body18, 0 to 1",
        "probability": f"of {', '.join(system.labels)}",
        "logits": "before the probability",
        "xy": f"body18's joints in pixels of a frame of {settings.size} (height, width)",
        "score": "of each joint, 0 to 1",
    }
    return Network(run, shapes(specs), says)


def said(result: Mapping[str, Any]) -> str:
    """A result in one line."""
    if result["movement"] is None:
        return f"nothing recognised: {result['reason']}"
    return f"{result['movement']} {result['probability']:.2f}"


def measure(
    name: str, config: Any, variants: Callable[[str], Any], platform: str
) -> Iterator[tuple[str, Callable[..., Iterator[Any]], tuple[Any, ...]]]:
    """A training step, and videos to movements from end to end."""
    from bodyjax.bench import training, videos

    config = config.copy_and_resolve_references()
    config.labels = config.labels or tuple(f"class {number}" for number in range(9))
    config.detector = config.detector or variants("pose").model
    yield f"{name}: training step", training.training, (name, config, platform)
    yield f"{name}: prediction", prediction, (name, config, platform)
    yield "videos", videos.videos, (config, platform)
