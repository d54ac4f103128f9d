"""A sequence classifier's results for the people in a video, as arrays: who, when, how probable.

Video -> detector -> people followed from frame to frame -> windows in time as in training -> the
probability of every person and window, the attention over frames, and each joint's share.
`bodyjax.score` turns it into a result and a drawn video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any, NamedTuple

import jax
import numpy as np

from bodyjax import detect, sections, skeleton, systems
from bodyjax.data.read_ahead import taken_ahead
from bodyjax.data.sampling import window_frames
from bodyjax.data.sequences import settings as data_settings
from bodyjax.data.sequences.source import fill_in_time
from bodyjax.data.video.files import open_video
from bodyjax.deform import Clip, even_times, resample
from bodyjax.detect.detector import Detector
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import CheckpointError, ConfigError
from bodyjax.score import exercise
from bodyjax.skeleton import COCO17
from bodyjax.systems.sequence import SequenceSystem, joint_share

FilePath = str | PathLike[str]

GOOD = ("standard", "correct")
"""Labels that say "as it should be"; a classifier with one of them and one other label is a
scorer."""
SECONDS = 4.0
"""A classifier of whole clips sees this many seconds at a time (its config's `score.seconds` takes
precedence); half of the clips of pushfit are shorter."""
ROWS = 16
"""Windows given to the device at once: all videos share one compiled program."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """A trained classifier of joint sequences with the detector that feeds it.

    predict(variables, batch) and share(variables, batch) are jitted. good: index of the label that
    says "as it should be", None if labels are movements. window, hop (frames), rate (frames a
    second), every (if no rate is known): how training cut clips into windows; window 0: whole
    clips, here `seconds` at a time. condition: the known side input. exercise: weights of
    score.exercise, () if everything is scored.
    """

    system: SequenceSystem
    variables: Any
    detector: Detector
    predict: Callable[[Any, Any], Any]
    share: Callable[[Any, Any, int], Any]
    good: int | None
    window: int = 0
    hop: int = 5
    rate: float = 5.0
    every: int = 6
    seconds: float = SECONDS
    condition: int = 0
    exercise: tuple[float, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return self.system.labels


class Track(NamedTuple):
    """One person: identity; frames (F,) consecutive numbers; times (F,) seconds; xy (F, J, 2)
    pixels in the model's joints, NaN where absent; score (F, J)."""

    identity: int
    frames: np.ndarray
    times: np.ndarray
    xy: np.ndarray
    score: np.ndarray


class Scored(NamedTuple):
    """W windows of a track: at (W, S), the rows of the track that the model saw; probability (W,
    C); attention (W, T) and its rows attended (W, T); share (W, J); reasons (W,) why a window has
    no verdict, "" if it has one (score.exercise)."""

    at: np.ndarray
    probability: np.ndarray
    attention: np.ndarray
    attended: np.ndarray
    share: np.ndarray
    reasons: tuple[str, ...]

    def told(self) -> Scored:
        """The windows that have a verdict, perhaps none."""
        rows = [row for row, reason in enumerate(self.reasons) if not reason]
        return Scored(
            self.at[rows],
            self.probability[rows],
            self.attention[rows],
            self.attended[rows],
            self.share[rows],
            ("",) * len(rows),
        )


def load(
    checkpoint: FilePath | Checkpoint,
    detector: Detector | None = None,
    condition: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Scorer:
    """The scorer of a run's folder or of shipped weights by name ("pushup").

    settings: what detect.load takes besides the name of the detector, if none is given, such as
    {"second": "large"}. condition: the exercise, if it is the model's input; the config's section
    `score` may name it too, besides detector ("small") and seconds. CheckpointError if the
    checkpoint can't score videos: another system, 3D joints, joints that no detector finds, or an
    exercise that is not named; ConfigError for an unknown exercise, or a model that takes none.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = checkpoints.load(checkpoint, system="sequence")
    if checkpoint.system != "sequence":
        raise CheckpointError(
            f"is of system {checkpoint.system}, not sequence", file=checkpoint.path
        )
    system: Any = systems.build(checkpoint.config)
    place = checkpoint.path
    if system.dims != 2:
        raise CheckpointError("was trained on 3D joints; videos give 2D ones", file=place)
    if len(missing_joints(system)) == len(system.skeleton.joints):
        raise CheckpointError(
            f"has joints that no detector finds ({system.skeleton.name})", file=place
        )
    expected = jax.eval_shape(system.init, jax.random.key(0))
    checkpoints.check_variables(checkpoint.variables, expected, place)
    chosen = score_settings(checkpoint.config)
    data = data_settings.read(checkpoint.config["data"])
    named = condition if condition is not None else chosen.condition
    number = _condition(system, named, checkpoint.meta.get("conditions"), place)
    good = [i for i, label in enumerate(system.labels) if label in GOOD]
    return Scorer(
        system,
        jax.device_put(checkpoint.variables),
        detector or detect.load(chosen.detector, **(settings or {})),
        jax.jit(system.predict),
        jax.jit(partial(joint_share, system), static_argnums=2),
        good[0] if len(good) == 1 and len(system.labels) == 2 else None,
        **data.chosen("window", "hop", "rate", "every"),
        seconds=chosen.seconds,
        condition=number,
        exercise=chosen.exercise,
    )


@dataclass(frozen=True)
class ScoreSettings:
    """`config.score`, which may be left out: the detector that feeds the classifier in videos, how
    many seconds it sees at a time, the exercise if it is an input, and the weights that tell the
    exercise from other movements (score.exercise; none: everything is scored)."""

    detector: str = "small"
    seconds: float = SECONDS
    condition: Any = None
    exercise: tuple[float, ...] = ()


def score_settings(config: Mapping[str, Any]) -> ScoreSettings:
    """`config.score`; ConfigError for invalid seconds or weights."""
    found = sections.read(ScoreSettings, config.get("score", {}), "score")
    sections.check(found.seconds > 0, "score.seconds", found.seconds, "above 0")
    exercise.check(found.exercise)
    return found


def _condition(system: SequenceSystem, named: Any, known: Any, place: FilePath) -> int:
    """The number of the side input: looked up by name if the checkpoint lists names, otherwise as
    given."""
    count, names = system.model.conditions, [str(name) for name in known or ()]
    known = ", ".join(names) or f"0 to {count - 1}"
    if not count and named is None:
        return 0
    if not count:
        what = f"has no exercise as input, so {named!r} says nothing"
        raise ConfigError(what, file=place, hint="leave it out")
    if named is None:
        hint = f"--exercise NAME, one of {known}"
        raise CheckpointError("needs to know the exercise", file=place, hint=hint)
    if str(named) in names:
        return names.index(str(named))
    if str(named).isdecimal() and int(named) < count:
        return int(named)
    raise ConfigError(f"no exercise {named!r}", file=place, hint=f"one of {known}")


def missing_joints(system: SequenceSystem) -> list[str]:
    """Joints of the model that no detector finds: they are absent (masked) in every video."""
    there = np.full(len(COCO17.joints), skeleton.SEEN, np.uint8)
    _, seen = skeleton.convert(np.zeros((len(there), 2)), there, COCO17, system.skeleton)
    return [name for name, ok in zip(system.skeleton.joints, seen, strict=True) if not ok]


# ---- a video to people ----


def tracks(
    scorer: Scorer, path: FilePath, on_bad: str = "raise", beat: Callable[[], None] | None = None
) -> list[Track]:
    """The people of a video in the model's joints, by identity; on_bad: as for open_video; beat:
    called before every frame."""
    clip = open_video(path, on_bad)

    def images() -> Iterator[np.ndarray]:
        for image in taken_ahead(clip.iter_frames()):
            if beat is not None:
                beat()
            yield image

    frames = detect.tracked(scorer.detector, images(), clip.times)
    identities = np.unique(np.concatenate([frame.identity for frame in frames]))
    return [_track(scorer, int(identity), frames, clip.times) for identity in identities]


def _track(
    scorer: Scorer, identity: int, frames: list[detect.FramePeople], times: np.ndarray
) -> Track:
    where = [
        (number, int(row))
        for number, frame in enumerate(frames)
        for row in np.flatnonzero(frame.identity == identity)
    ]
    xy = np.stack([frames[number].xy[row] for number, row in where])
    score = np.stack([frames[number].score[row] for number, row in where])
    there = np.isfinite(xy).all(-1) & (score > 0)
    table = np.where(there[..., None], np.concatenate([xy, score[..., None]], -1), 0.0)
    visible = np.where(there, skeleton.SEEN, 0).astype(np.uint8)
    joints, seen = skeleton.convert(
        table.astype(np.float32), visible, COCO17, scorer.system.skeleton
    )
    numbers = np.array([number for number, _ in where])
    return Track(
        identity,
        numbers,
        np.asarray(times, float)[numbers],
        np.where((seen > 0)[..., None], joints[..., :2], np.nan),
        np.where(seen > 0, joints[..., 2], 0.0),
    )


# ---- people to probabilities ----


def window_rows(scorer: Scorer, times: np.ndarray) -> np.ndarray:
    """(W, S) rows of a track that each window shows, as training cuts clips.

    Windows of `window` frames at `rate`; a track that is too short gives one window, spread over
    all of it. For a classifier of whole clips: the track as it is, or stretches of `seconds`, each
    starting a quarter after the one before, the last one up to the end.
    """
    count, steps = len(times), scorer.system.stored
    step = float(times[-1] - times[0]) / max(count - 1, 1)
    if scorer.window:
        stride = max(round(1 / (step * scorer.rate)), 1) if step > 0 else scorer.every
        frames = np.arange(0, count, stride)
        if len(frames) < scorer.window:
            return np.linspace(0, count - 1, steps)[None]
        spans = window_frames(len(frames), scorer.window, scorer.hop)
        return np.stack([frames[a:b] for a, b in spans]).astype(float)
    length = scorer.seconds / step if step > 0 else count
    if count - 1 <= 1.25 * length:
        return np.linspace(0, count - 1, steps)[None]
    starts = np.append(np.arange(0, count - 1 - length, length / 4), count - 1 - length)
    return starts[:, None] + np.linspace(0, length, steps)


def score_track(scorer: Scorer, track: Track, size: tuple[int, int]) -> Scored:
    """The model's answers for all windows of a person; size: width and height of the picture."""
    system, at = scorer.system, window_rows(scorer, track.times)
    whole = Clip(*fill_in_time(track.xy), track.score.astype(np.float32))
    windows = [resample(whole, rows.astype(np.float32)) for rows in at]
    arrays = [np.stack(parts) for parts in zip(*windows, strict=True)]
    batches: list[dict[str, np.ndarray]] = []
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for first in range(0, len(at), ROWS):
        index = np.arange(first, first + ROWS).clip(max=len(at) - 1)
        batch = {
            "joints": arrays[0][index].astype(np.float32),
            "visible": arrays[1][index].astype(np.uint8),
            "score": arrays[2][index].astype(np.float32),
            "length": np.full(ROWS, at.shape[1], np.int32),
            "size": np.tile(np.array(size, np.float32), (ROWS, 1)),
            "condition": np.full(ROWS, scorer.condition, np.int32),
        }
        out = jax.device_get(scorer.predict(scorer.variables, batch))
        batches.append(batch)
        found.append((out["probability"], out["attention"]))
    probability, attention = (
        np.concatenate(parts)[: len(at)] for parts in zip(*found, strict=True)
    )
    label = int(probability.mean(axis=0).argmax()) if scorer.good is None else 1 - scorer.good
    share = np.concatenate([scorer.share(scorer.variables, batch, label) for batch in batches])
    if not np.isfinite(probability).all():
        raise CheckpointError("the model gives no numbers (NaN)", hint="train it again")
    steps = attention.shape[1]
    shares = np.array(even_times(steps)) if system.steps else np.linspace(0, 1, steps)
    attended = np.stack([np.interp(shares, np.linspace(0, 1, len(rows)), rows) for rows in at])
    joints, visible, score = arrays
    reasons = exercise.reasons(scorer.exercise, joints, visible, score, system.skeleton)
    return Scored(at, probability, attention, attended, share[: len(at)], reasons)


def frame_probability(scored: Scored, count: int) -> np.ndarray:
    """(count, C): each frame's mean over the windows with a verdict that hold it, NaN if there are
    none; a frame in no window takes the window whose middle is nearest."""
    rows = np.arange(count)[:, None]
    inside = (rows >= scored.at[:, 0]) & (rows <= scored.at[:, -1])
    nearest = np.abs(rows - scored.at.mean(axis=1)).argmin(axis=1)
    inside[np.arange(count), nearest] |= ~inside.any(axis=1)
    inside &= [not reason for reason in scored.reasons]
    total = inside.sum(axis=1, keepdims=True)
    return np.where(total > 0, inside @ scored.probability / np.maximum(total, 1), np.nan)


def frame_attention(scored: Scored, count: int) -> np.ndarray:
    """(count,) each frame's share of the attention over all windows; they sum to 1."""
    total = np.zeros(count)
    nearest = np.rint(scored.attended).astype(int).clip(0, count - 1)
    np.add.at(total, nearest.ravel(), scored.attention.ravel())
    return total / max(total.sum(), 1e-12)
