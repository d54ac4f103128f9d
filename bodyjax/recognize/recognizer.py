"""Movements in videos (system A): restore once, then run one compiled program to the class.

    recognizer = recognize.load("commands")
    recognize.recognize_video(recognizer, "clip.mp4")["movement"]

    frames = open_video("clip.mp4").read(range(64))               # (64, H, W, 3) uint8
    result = recognizer.predict(recognizer.variables, frames)     # pure: jit, vmap, jax.export

A thread decodes every file ahead of the device and fits it into the size that the model was trained
at, so all files share one compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from bodyjax import files, systems
from bodyjax.contract import Variables
from bodyjax.data import affine
from bodyjax.data.clips.folder import chosen
from bodyjax.data.read_ahead import taken_ahead
from bodyjax.data.video.files import Video, open_video
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import CheckpointError, DataError
from bodyjax.recognize import clip_joints, familiar
from bodyjax.recognize.sliding_windows import (
    Held,
    Operation,
    Span,
    operation_events,
    read_operations,
    window_spans,
)

Array = jax.Array
FilePath = str | PathLike[str]


class Result(NamedTuple):
    """The result for one clip, or for each of B clips (a leading axis B).

    label: index of the most probable movement; probability, logits (C,); xy (T, 18, 2) joints of
    BODY18 in the frames of the first sampling, in pixels of the frames that were given; score (T,
    18); strange: above 1 the clip is unlike those of training (bodyjax.recognize.familiar), 0 if
    the classifier can't tell.
    """

    label: Array
    probability: Array
    logits: Array
    xy: Array
    score: Array
    strange: Array | float = 0.0


# A program that returns them can be written to a file.
export.register_namedtuple_serialization(Result, serialized_name="bodyjax.recognize.Result")


@dataclass(frozen=True, eq=False)
class Recognizer:
    """A trained classifier; `predict(variables, frames) -> Result` is jitted and pure, unless a
    detector with a second look finds the joints: then it follows people from frame to frame.

    frames: T frames are one sampling of a clip; samples: the number of samplings averaged; size:
    (height, width) that the model sees; sampling: the rule by which frames are chosen; several:
    several movements may hold at once (sigmoid).
    """

    variables: Variables
    predict: Callable[[Variables, Any], Result]
    labels: tuple[str, ...]
    frames: int
    samples: int
    size: tuple[int, int]
    sampling: str
    several: bool
    operations: Mapping[str, Operation]


def load(checkpoint: FilePath | Checkpoint) -> Recognizer:
    """The classifier of a run's folder, or of shipped weights by name ("commands", "jhmdb").

    CheckpointError if it is missing, damaged, belongs to another system, or does not fit its
    config.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = checkpoints.load(checkpoint, system="movement")
    if checkpoint.system != "movement":
        raise CheckpointError(
            f"is of system {checkpoint.system}, not movement",
            file=checkpoint.path,
            hint="name a classifier",
        )
    system = systems.build(checkpoint.config)
    known = familiar.of_checkpoint(checkpoint)
    return from_system(system, checkpoint.variables, checkpoint.config, checkpoint.path, known)


def from_system(
    system: Any,
    variables: Variables,
    config: Mapping[str, Any],
    place: str | Path = "",
    known: familiar.Familiar | None = None,
) -> Recognizer:
    """A recognizer of a system of bodyjax.systems.movement and its variables; errors name `place`.
    `config.operations`: {label: {operation, probability, hold}}. known: the model of clips like
    those of training; None: every clip in which somebody is found is recognised."""
    if system.settings.input == "joints" and config["second"]:
        return of_joints(system, variables, config, place)
    if system.settings.input == "joints":
        raise CheckpointError(
            "was trained on known joints and has no detector of its own",
            file=place,
            hint="train with input 'frames' or 'maps', or with config.second, to recognise videos",
        )
    samples = int(config["data"]["samples"])
    checkpoints.check_variables(variables, jax.eval_shape(system.init, jax.random.key(0)), place)
    if known is not None:
        variables = {**variables, "familiar": known._asdict()}
    return Recognizer(
        jax.device_put(variables),
        jax.jit(predictor(system, samples)),
        system.labels,
        system.settings.frames,
        samples,
        system.settings.size,
        system.settings.sampling,
        system.settings.several,
        read_operations(config["operations"], system.labels, place),
    )


def of_joints(
    system: Any, variables: Variables, config: Mapping[str, Any], place: str | Path
) -> Recognizer:
    """A recognizer whose detector with a second look finds the joints of one person; it sees frames
    on the detector's canvas."""
    detector = clip_joints.detector_of(config)
    samples = int(config["data"]["samples"])
    find = clip_joints.predictor(system, detector, samples)
    checkpoints.check_variables(variables, jax.eval_shape(system.init, jax.random.key(0)), place)
    return Recognizer(
        jax.device_put(variables),
        lambda variables, frames: Result(*find(variables, frames)),
        system.labels,
        system.settings.frames,
        samples,
        (detector.side, detector.side),
        system.settings.sampling,
        system.settings.several,
        read_operations(config["operations"], system.labels, place),
    )


# ---- the compiled program ----


def predictor(system: Any, samples: int = 1) -> Callable[[Variables, Any], Result]:
    """The pure function from video frames to movement, not yet jitted.

    Its frames are (N, H, W, 3) or (B, N, H, W, 3) uint8 with any N, H, W, in order. T frames are
    one sampling and are used as they are; from any other N, samples x T frames are chosen as in
    evaluation (data.clips.folder.chosen) and the probabilities of the samplings averaged. Whole
    frames of another size than the model's are fitted and centred (`fit_frames`). ValueError for
    other shapes and types.
    """

    def predict(variables: Variables, frames: Any) -> Result:
        """The movement of a clip (N, H, W, 3), or of each of B clips (B, N, H, W, 3), uint8 RGB
        frames in order, any N, H and W: `Result`. Pure: jit, vmap, jax.export."""
        frames = jnp.asarray(frames)
        if frames.ndim not in (4, 5) or frames.shape[-1] != 3 or frames.dtype != jnp.uint8:
            raise ValueError(
                f"frames are {frames.dtype} {frames.shape}, not uint8 (N, H, W, 3), (B, N, H, W, 3)"
            )
        clips = frames if frames.ndim == 5 else frames[None]
        count, size = clips.shape[1], (clips.shape[2], clips.shape[3])
        one = samples == 1 or count == system.settings.frames
        wanted = system.settings.frames * (1 if one else samples)
        if count != wanted:
            clips = clips[:, chosen(count, wanted, system.settings.sampling)]
        clips = fit_frames(clips, system.settings.size)
        if not one:  # frame t of sampling s is number t * samples + s
            clips = clips.reshape(len(clips), system.settings.frames, samples, *clips.shape[2:])
            clips = clips.swapaxes(1, 2)
        out = system.predict(variables, {"frames": clips})
        back = jnp.asarray(affine.inverse(affine.fit(size, system.settings.size)), jnp.float32)
        result = Result(
            out["logits"].argmax(axis=-1),
            out["probability"],
            out["logits"],
            out["xy"] @ back[:, :2].T + back[:, 2],
            out["score"],
            familiar.strange_of(variables, out),
        )
        return result if frames.ndim == 5 else jax.tree.map(lambda leaf: leaf[0], result)

    return predict


def fit_frames(frames: Array, size: tuple[int, int]) -> Array:
    """Whole frames (..., H, W, 3) uint8 centred in (..., *size, 3) uint8, on the device.

    The map of bodyjax.data.affine.fit, with a triangle filter as wide as the shrinking requires.
    Pillow fits files, as in training, before they reach the device.
    """
    height, width = frames.shape[-3:-1]
    if (height, width) == size:
        return frames
    scale = min(size[0] / height, size[1] / width)
    # scale_and_translate counts from the corner of the first pixel, not its centre.
    shift = [(new - scale * old) / 2 for new, old in zip(size, (height, width), strict=True)]
    flat = frames.reshape(-1, height, width, 3).astype(jnp.float32) - affine.FILL
    fitted = jax.image.scale_and_translate(
        flat,
        (len(flat), *size, 3),
        (1, 2),
        jnp.full(2, scale, jnp.float32),
        jnp.array(shift, jnp.float32),
        "linear",
    )
    pixels = jnp.clip(jnp.round(fitted + affine.FILL), 0, 255).astype(jnp.uint8)
    return pixels.reshape(*frames.shape[:-3], *size, 3)


# ---- one video ----


def recognize_video(
    recognizer: Recognizer, path: FilePath, on_bad: str = "raise"
) -> dict[str, Any]:
    """The movement of a whole video, for JSON. VideoError if it can't be read; on_bad: as for
    open_video.

    video: its path; movement: the most probable one, None if nothing is recognised; reason: why
    nothing is recognised, otherwise None; probability; top: the three most probable with their
    probabilities; movements (only if several may hold): all with at least 0.5; operation: from the
    command -> operation table, or None if the movement has none or its probability is below the
    table's (the clip counts as held for long enough); frames: numbers of the sampled frames
    (repeated if the video has fewer than the model takes); times: their seconds; duration in
    seconds, length in frames, fps, size [width, height], left_out: undecodable frames.
    """
    return of_clip(recognizer, read_clip(recognizer, Path(path), on_bad))


class Clip(NamedTuple):
    """A video with its sampled frames, fitted into the model's size."""

    video: Video
    numbers: np.ndarray
    frames: np.ndarray


def read_clip(recognizer: Recognizer, path: Path, on_bad: str) -> Clip:
    """The sampled frames of a video. VideoError if it can't be read."""
    video = open_video(path, on_bad)
    numbers = _sampled(recognizer, video.frames)
    matrix = fitting(recognizer, video)
    frames = [
        fitted(recognizer, frame, matrix) for piece in video.pieces(numbers) for frame in piece
    ]
    return Clip(video, numbers, np.stack(frames))


def _sampled(recognizer: Recognizer, count: int) -> np.ndarray:
    return chosen(count, recognizer.frames * recognizer.samples, recognizer.sampling)


def of_clip(recognizer: Recognizer, clip: Clip) -> dict[str, Any]:
    """The result of `recognize_video` for a video that has been read."""
    return clip_result(recognizer, clip, recognizer.predict(recognizer.variables, clip.frames))


def clip_result(recognizer: Recognizer, clip: Clip, found: Result) -> dict[str, Any]:
    """A clip's prediction as the result of `recognize_video`."""
    described = _described(
        recognizer, np.asarray(found.probability), familiar.unrecognised(found.score, found.strange)
    )
    entry = recognizer.operations.get(described["movement"])
    sure = entry is not None and described["probability"] >= entry.probability
    return {
        "video": str(clip.video.path),
        **described,
        "operation": entry.operation if entry is not None and sure else None,
        **_where(clip.video, clip.numbers),
        **_about(clip.video),
    }


def _described(recognizer: Recognizer, probability: np.ndarray, reason: str) -> dict[str, Any]:
    if not np.isfinite(probability).all():
        raise CheckpointError("the model gives no numbers (NaN)", hint="train it again")
    top = [
        {"movement": recognizer.labels[i], "probability": round(float(probability[i]), 6)}
        for i in np.argsort(-probability, kind="stable")[:3]
    ]
    several = {}
    if recognizer.several:
        several["movements"] = [
            name for name, p in zip(recognizer.labels, probability, strict=True) if p >= 0.5
        ]
    if reason:
        several = {name: [] for name in several}
    shown = {**top[0], "movement": None} if reason else top[0]
    return {**shown, "reason": reason or None, "top": top, **several}


def _where(video: Video, numbers: np.ndarray) -> dict[str, Any]:
    return {
        "frames": [int(number) for number in numbers],
        "times": [round(float(time), 6) for time in video.times[numbers]],
    }


def _about(video: Video) -> dict[str, Any]:
    return {
        "duration": round(video.duration, 6),
        "length": video.frames,
        "fps": round(video.fps, 6),
        "size": list(video.size),
        "left_out": video.left_out,
    }


def fitting(recognizer: Recognizer, video: Video) -> np.ndarray:
    """The map from the pixels of a video to those of the model's frames, (2, 3)."""
    return affine.fit(video.size[::-1], recognizer.size)


def fitted(recognizer: Recognizer, frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A frame as the model sees it, fitted by Pillow as in training."""
    return affine.warp(frame, matrix, recognizer.size, fill=affine.FILL)


# ---- long videos ----


def windows(
    recognizer: Recognizer, path: FilePath, window: float, hop: float | None = None
) -> Iterator[dict[str, Any]]:
    """The movement in every sliding window of a video, one after the other, while decoding.

    `window` seconds long, one every `hop` seconds (default: half a window); the last one ends with
    the video. A thread decodes the file once, ahead of the device. Each window gives start and stop
    in seconds, movement, probability, top, frames, times, and `operation`: set if the last `hold`
    windows, including this one, show the same command with at least the table's probability.

    ConfigError for lengths that are not above 0; VideoError if the video can't be read.
    """
    for described, _ in _each_window(recognizer, open_video(path), window, hop):
        yield described


def recognize_long(
    recognizer: Recognizer,
    path: FilePath,
    window: float,
    hop: float | None = None,
    on_bad: str = "raise",
) -> dict[str, Any]:
    """All windows of a video in one result, for JSON.

    Like recognize_video, but movement, probability and top come from the mean over the windows that
    show something (over all if none does), and operation is that movement's if a window holds it.
    windows: the result of `windows`. operations: the stretches in which an operation held, as
    operation, movement, and start and stop in seconds (from the first window of the row that holds
    it).
    """
    video = open_video(path, on_bad)
    found = list(_each_window(recognizer, video, window, hop))
    each = [described for described, _ in found]
    telling = [(one, p) for one, p in found if one["movement"] is not None] or found
    reason = telling[0][0]["reason"] or ""
    mean = _described(recognizer, np.mean([p for _, p in telling], axis=0), reason)
    events = operation_events(each, recognizer.operations)
    named = [event["operation"] for event in events if event["movement"] == mean["movement"]]
    return {
        "video": str(video.path),
        **mean,
        "operation": named[0] if named else None,
        "operations": events,
        "window": window,
        "hop": window / 2 if hop is None else hop,
        "windows": each,
        **_about(video),
    }


def _each_window(
    recognizer: Recognizer, video: Video, window: float, hop: float | None
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """The result of a window, and the probabilities of all movements."""
    spans = window_spans(video, window, window / 2 if hop is None else hop)
    held = Held(recognizer.operations)
    for span, numbers, frames in taken_ahead(_read_windows(recognizer, video, spans)):
        shown = recognizer.predict(recognizer.variables, frames)
        probability = np.asarray(shown.probability)
        described = _described(
            recognizer, probability, familiar.unrecognised(shown.score, shown.strange)
        )
        operation = held.add(described["movement"], described["probability"])
        times = {"start": round(span.start, 6), "stop": round(span.stop, 6)}
        where = _where(video, numbers)
        yield {**times, **described, "operation": operation, **where}, probability


def _read_windows(
    recognizer: Recognizer, video: Video, spans: list[Span]
) -> Iterator[tuple[Span, np.ndarray, np.ndarray]]:
    """Each window's sampled frames, fitted, from one pass over the file; only frames that a later
    window needs stay in memory."""
    chosen = [span.first + _sampled(recognizer, span.last - span.first) for span in spans]
    wanted = {int(number) for numbers in chosen for number in numbers}
    matrix, kept, following = fitting(recognizer, video), {}, 0
    for number, frame in enumerate(video.iter_frames(0, max(wanted) + 1)):
        if number not in wanted:
            continue
        kept[number] = fitted(recognizer, frame, matrix)
        while following < len(spans) and chosen[following][-1] <= number:
            numbers = chosen[following]
            yield spans[following], numbers, np.stack([kept[int(i)] for i in numbers])
            following += 1
            # Windows rise in time, so none to come needs a frame before the next one's first.
            first = spans[following].first if following < len(spans) else number + 1
            kept = {i: pixels for i, pixels in kept.items() if i >= first}


# ---- folders ----


def video_files(folder: FilePath) -> list[Path]:
    """The videos of a folder and the folders in it, as `files.listed` finds them; DataError if
    there is none."""
    found = files.listed(folder, files.VIDEOS).files
    if not found:
        endings = ", ".join(files.VIDEOS)
        raise DataError("no videos are in this folder", file=folder, hint=f"endings: {endings}")
    return found
