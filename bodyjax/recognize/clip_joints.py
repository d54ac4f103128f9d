"""Joints of a clip's main person, found by a detector with a second look (system A).

`config.start` and `config.second` name its two networks; they are not trained, so the joints of a
set's clips are found once and stored, one file per clip, and an epoch costs only the classifier's
time. Recognition finds joints in the same way (`of_frames`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax import detect
from bodyjax.contract import Variables
from bodyjax.data import affine
from bodyjax.data.clips import feed, folder, stored
from bodyjax.data.clips.feed import Clips, StoredJoints
from bodyjax.detect import track, videos
from bodyjax.detect.detector import Detector, Image
from bodyjax.engine.digest import digest
from bodyjax.files import default_cache, remove_leftovers
from bodyjax.skeleton import BODY18

STEP = 0.1
"""Seconds from frame to frame for `track`: identities must not depend on the spacing of frames."""


def known(config: Mapping[str, Any]) -> bool:
    """Whether a classifier takes joints stored beside its clips."""
    return config["model"]["input"] == "joints" and not config["second"]


def detector_of(config: Mapping[str, Any]) -> Detector:
    """The detector that `config.start` and `config.second` name."""
    return detect.load(config["start"], second=config["second"])


def of_frames(detector: Detector, frames: Iterable[Image]) -> tuple[np.ndarray, np.ndarray]:
    """xy (T, 18, 2) pixels and score (T, 18) of one person of T frames, in BODY18.

    The person whose scores have the highest sum over the clip. Absent joints, and all joints where
    the person is not seen, are 0 with score 0; over short gaps both are interpolated.
    """
    frames = list(frames)
    plain = track.Settings(min_cutoff=0.0)
    times = STEP * np.arange(len(frames))
    followed = detect.tracked(detector, frames, times, BODY18, tracking=plain)
    xy = np.zeros((len(followed), len(BODY18.joints), 2), np.float32)
    score = np.zeros(xy.shape[:2], np.float32)
    best = videos.main_person(followed)
    for number, frame in enumerate(followed):
        for row in np.flatnonzero(frame.identity == best):
            there = np.isfinite(frame.xy[row]).all(-1)
            xy[number] = np.where(there[:, None], frame.xy[row], 0)
            score[number] = np.where(there, frame.score[row], 0)
    return xy, score


def ensure(source: Clips, detector: Detector, count: int) -> StoredJoints:
    """The joints in `count` evenly spread frames of each clip, from the cache or found now; a
    stopped run resumes where it was. Shows progress."""
    words = (digest(detector.variables), repr(detector.settings), count)
    name = hashlib.sha256(repr(words).encode()).hexdigest()[:24]
    place = default_cache() / "joints" / name
    place.mkdir(parents=True, exist_ok=True)
    shape = (count, len(BODY18.joints), 3)
    files = [place / f"{stored.clip_key(source, i)}.npy" for i in range(len(source))]
    missing = [i for i, file in enumerate(files) if not stored.whole(file, shape)]

    def write(index: int) -> None:
        example = source[index]
        numbers = feed.spread(int(example["length"]), count, 1)[0]
        distinct, inverse = np.unique(numbers, return_inverse=True)
        xy, score = of_frames(detector, folder.read_frames(example, distinct))
        stored.save(files[index], np.concatenate([xy, score[..., None]], -1)[inverse])

    if missing:
        remove_leftovers(place)
        stored.make_all(write, missing, "joints")
    tables = np.stack([np.load(file, allow_pickle=False) for file in files])
    print_of = hashlib.sha256(repr((words, source.fingerprint)).encode()).hexdigest()
    return StoredJoints(source, tables, print_of)


def predictor(
    system: Any, detector: Detector, samples: int
) -> Callable[[Variables, Any], tuple[Any, ...]]:
    """Video frames to the fields of recognize.Result, like recognize.predictor, from the joints
    that a detector finds."""
    classify = jax.jit(system.predict)

    def predict(variables: Variables, frames: Any) -> tuple[Any, ...]:
        frames = np.asarray(frames)
        if frames.ndim == 5:
            each = [predict(variables, clip) for clip in frames]
            return tuple(jnp.stack(parts) for parts in zip(*each, strict=True))
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(f"frames are {frames.dtype} {frames.shape}, not uint8 (N, H, W, 3)")
        one = samples == 1 or len(frames) == system.settings.frames
        wanted = system.settings.frames * (1 if one else samples)
        if len(frames) != wanted:
            frames = frames[folder.chosen(len(frames), wanted, system.settings.sampling)]
        xy, score = of_frames(detector, frames)
        matrix = affine.fit(frames.shape[1:3], system.settings.size)
        batch = {"xy": affine.move(xy, matrix).astype(np.float32), "score": score}
        lead = (system.settings.frames, wanted // system.settings.frames)
        # Frame t of sampling s is number t * samples + s.
        batch = {k: v.reshape(*lead, *v.shape[1:]).swapaxes(0, 1) for k, v in batch.items()}
        out = classify(variables, {name: value[None] for name, value in batch.items()})
        logits = out["logits"][0]
        places = jnp.asarray(xy[:: lead[1]]), jnp.asarray(score[:: lead[1]])
        return logits.argmax(), out["probability"][0], logits, *places

    return predict
