"""What the commands ask of the detector."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from bodyjax import detect, files, skeleton, systems
from bodyjax.archive import Answer, Beat, Work
from bodyjax.archive.work import beating, people_seen, picture_or_video
from bodyjax.contract import Prepared, Variables
from bodyjax.data import feeds, own_pictures
from bodyjax.data.video.files import Video, open_video
from bodyjax.detect import teacher_maps, videos
from bodyjax.detect.canvas import last_stage
from bodyjax.detect.detector import Detector
from bodyjax.engine import checkpoint
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import CheckpointError, ConfigError, DataError
from bodyjax.evaluate import fine_tuning
from bodyjax.evaluate.pictures import evaluate as evaluate
from bodyjax.systems import pose_settings
from bodyjax.systems.teaching import of_network
from bodyjax.tasks import Deployed, Network, portable, prediction, typed
from bodyjax.train import run

COMPARED = ("small", "large", "tiny", "se", "cmu")
"""Variants whose networks are timed, if the config has them."""


def prepare(config: ConfigDict, host: tuple[int, int]) -> Prepared:
    """What every system needs, and the frozen teacher. If the config leaves them open, this fills
    in the skeleton of the data, the form of stored teacher maps and, for training on your own
    pictures, the test-time settings of the start."""
    if not config.model.skeleton:
        take_skeleton(config)
    distill = pose_settings.distill(config)
    if distill and distill.stored:
        teacher_maps.take_form(config)
    frozen = frozen_teacher(config)
    if frozen:  # before the data are read and a start is cut out, which takes minutes
        check_teacher(config, systems.build(config), frozen)
    prepared = run.prepare(config, host)
    prepared = prepared._replace(initial={**prepared.initial, **frozen})
    if config.data.kind == own_pictures.KIND:
        fine_tuning.check(config.data.path, config.data.on_bad, skeleton.of(config.model.skeleton))
        take_settings(config)
    return prepared


def frozen_teacher(config: ConfigDict) -> Variables:
    """The network of `config.distill.teacher` (a run's folder, or the name of shipped weights) in
    the part "frozen"; {} if no teacher runs in the step."""
    distill = pose_settings.distill(config)
    if distill is None or distill.stored or not distill.teacher:
        return {}
    loaded = checkpoint.load(distill.teacher, system="pose")
    return {"frozen": {"teacher": of_network(loaded.variables)}}


def check_teacher(config: ConfigDict, system: Any, frozen: Variables) -> None:
    """CheckpointError if the frozen teacher has another network than `config.distill.model`."""
    expected: Any = jax.eval_shape(system.init, jax.random.key(0))
    path = config.distill.teacher
    try:
        checkpoint.check_variables(frozen["frozen"], expected["frozen"], path)
    except CheckpointError as error:
        raise error.also("distill.model should be config.model of distill.teacher") from None


def take_skeleton(config: ConfigDict) -> None:
    """Fills in `model.skeleton`, so that a checkpoint is complete by itself: that of your own
    pictures, or of the first of `data.sets`."""
    data = config.data
    if data.get("kind") == own_pictures.KIND:
        bones = own_pictures.skeleton_of(data.path)
    else:
        first = next((name for name, share in data.sets.items() if share), "")
        bones = feeds.picture_source(first, Path(data.path), "train", on_bad=data.on_bad).skeleton
    words = skeleton.words(bones)
    with config.unlocked(), config.ignore_type():
        config.model.skeleton = words if isinstance(words, str) else ConfigDict(words)


def take_settings(config: ConfigDict) -> None:
    """Fills in test-time settings that the start has and the config leaves out, so that start and
    result are measured alike."""
    if config.start and not config.start.endswith(".npz"):
        stored = checkpoint.load(config.start, system="pose").config.get("detect", {})
        with config.unlocked(), config.ignore_type():
            config.detect = ConfigDict({**stored, **config.get("detect", {})})


def finish(config: ConfigDict, path: Path, workdir: Path, again: bool) -> list[str]:
    """For training on your own pictures, start and result on the held-back ones: lines, test.json.

    again: the run had finished before, and its figures from then are kept."""
    if config.data.kind != own_pictures.KIND:
        return []
    file = workdir / "test.json"
    if again and file.exists():
        measures = json.loads(file.read_text())
    else:
        measures = fine_tuning.measure(config.start, path, config.data.path, workdir)
        files.write_text(file, json.dumps(measures, indent=1))
    command = f"{typed('detect')} --checkpoint {workdir} --input FILE --out overlay.jpg"
    return [*fine_tuning.lines(measures), f"find people: {command}"]


def deployed(config: Any) -> Deployed:
    """The people of a canvas (side, side, 3) uint8: detect.Detections."""
    settings = detect.merged(dict(config.get("detect", {})))
    system: Any = systems.build(config)
    detector = detect.make(system, {}, settings)
    canvas = jax.ShapeDtypeStruct((detector.side, detector.side, 3), np.uint8)
    return Deployed(detector.predict, (canvas,))


def archive(found: Checkpoint, *, on_bad: str = "raise", **settings: Any) -> Work:
    """The people of each picture and video, one after the other. The class is how many are seen (at
    once, in a video), `sure` the mean of their scores. settings: as detect.load takes them."""
    detector = detect.load(found, **settings)

    def run(clips: list[Any], beat: Beat) -> list[Answer | DataError]:
        return [
            of_picture(detector, clip)
            if isinstance(clip, np.ndarray)
            else of_video(detector, open_video(clip, on_bad), beat)
            for clip in clips
        ]

    # With a second look, the variables hold both networks.
    return Work(
        lambda file, beat: picture_or_video(file, on_bad),
        run,
        1,
        files.PICTURES + files.VIDEOS,
        detector.variables,
    )


def of_picture(detector: Detector, picture: np.ndarray) -> Answer:
    """The people of a picture, for an archive."""
    people = detect.find(detector, picture)
    size = list(people.size[::-1])
    told = {"size": size, "people": people.coco(), "left_out": people.left_out}
    return people_seen(len(people), people.person_scores.tolist(), told)


def of_video(detector: Detector, clip: Video, beat: Beat) -> Answer:
    """The people of a video by frame, for an archive."""
    each = detect.in_video(detector, clip, progress=lambda frames, count: beating(beat, frames))
    frames, left_out = videos.without_weak(each, detector.settings.min_person)
    people = videos.coco_list(frames, clip)
    about = {"size": list(clip.size), "length": clip.frames, "duration": round(clip.duration, 6)}
    told = {**about, "damaged": clip.left_out, "people": people, "left_out": left_out}
    most = max((len(frame.identity) for frame in frames), default=0)
    return people_seen(most, [person["score"] for person in people], told)


def network(config: Any) -> Network:
    """Pixels of a canvas to the maps of the last stage: models.pose.Maps without background."""
    system: Any = systems.build(portable(config))
    settings = detect.merged(dict(config.get("detect", {})))
    side = detect.make(system, {}, settings).side

    def run(variables: Variables, pixels: Any) -> dict[str, Any]:
        maps = last_stage(system.maps(variables, pixels), system.bones)
        found = {name: part for name, part in maps._asdict().items() if part is not None}
        return {name: part for name, part in found.items() if part.size}  # no fields without stages

    stride = system.model.stride
    says = {
        "pixels": "RGB of the canvas, 0 to 255",
        "heatmaps": f"a joint in each channel, 0 to 1, cells of {stride} pixels",
        "pafs": "x and y of each limb's direction, -1 to 1",
        "center": "probability that a person's middle is there, 0 to 1",
        "regress": "x, y from a person's middle to each joint, in cells",
        "offset": "x, y from a joint's cell to the joint, in cells",
    }
    return Network(run, {"pixels": jax.ShapeDtypeStruct((1, side, side, 3), np.float32)}, says)


def measure(
    name: str, config: Any, variants: Callable[[str], Any], platform: str
) -> Iterator[tuple[str, Callable[..., Iterator[Any]], tuple[Any, ...]]]:
    """The shipped detectors from canvas to people, the networks, labels, and grouping; of a config
    without the variants `COMPARED` its step and prediction alone."""
    from bodyjax.bench import detector, people, training

    compared = {}
    for variant in COMPARED:
        try:
            compared[variant] = variants(f"{name}:{variant}")
        except ConfigError:
            continue
    yield f"{name}: training step", training.training, (name, config, platform)
    yield f"{name}: prediction", prediction, (name, config, platform)
    if not compared:  # another config of detectors has these parts
        return
    yield "detector", people.people, (platform,)
    yield "networks", detector.detector, (compared, platform)
    yield "labels", detector.labels, (config, platform)
    yield "grouping", detector.grouping, (platform,)
