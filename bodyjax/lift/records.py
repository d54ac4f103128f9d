"""The people of a video or of pictures in space, for JSON and as arrays in an .npz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from bodyjax import files
from bodyjax.data.video.files import Video
from bodyjax.lift.motions import Lifted, Motion
from bodyjax.lift.parameters import ranges
from bodyjax.lift.rules import Event, described
from bodyjax.skeleton import COCO17, H36M17


def video(
    clip: Video,
    lifted: Lifted,
    values: Sequence[Mapping[str, np.ndarray]],
    prompts: Sequence[Event],
    words: Mapping[str, str],
) -> dict[str, Any]:
    """The result for a video.

    video, duration, length (frames), fps, size; joints of xyz, picture_joints of xy; camera (4,)
    pixels and height in mm, and what `words` says of them; people: see `person`; events: prompts
    with person, text, start and stop in seconds; left_out: people seen too short and damaged
    pictures; note: why there is nobody, if so.
    """
    result = {
        "video": str(clip.path),
        "duration": round(clip.duration, 6),
        "length": clip.frames,
        "fps": round(clip.fps, 6),
        "size": list(clip.size),
        "joints": list(H36M17.joints),
        "picture_joints": list(COCO17.joints),
        "camera": np.asarray(lifted.camera, float).round(4).tolist(),
        "height": lifted.height,
        **words,
        "people": [
            person(motion, each) for motion, each in zip(lifted.motions, values, strict=True)
        ],
        "events": [described(event) for event in prompts],
        "left_out": {"seen too short": lifted.left_out}
        | ({"damaged pictures": clip.left_out} if clip.left_out else {}),
    }
    if not lifted.motions:
        reason = "people are seen too short" if lifted.left_out else "no person was found"
        result["note"] = f"nothing to lift: {reason}"
    return result


def person(motion: Motion, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """One person, for JSON: person, from 1 on; frames; times; xy pixels; score; xyz and root in mm,
    null where unknown; ranges of motion in degrees."""
    return {
        "person": motion.identity + 1,
        "frames": motion.frames.tolist(),
        "times": numbers(motion.times, 4),
        "xy": numbers(motion.xy, 2),
        "score": numbers(motion.score, 4),
        "xyz": numbers(motion.xyz, 1),
        "root": numbers(motion.root, 1),
        "ranges": ranges(values),
    }


def numbers(array: np.ndarray, digits: int) -> Any:
    """Nested lists of rounded numbers, None where there is none: JSON has no NaN."""
    rounded = np.round(np.asarray(array, float), digits)
    out = rounded.astype(object)
    out[~np.isfinite(rounded)] = None
    return out.tolist()


def write_npz(file: str | PathLike[str], lifted: Lifted, prompts: Sequence[Event] = ()) -> None:
    """A row for each frame of each person, by person and time.

    person (N,), from 1 on; frame (N,); time (N,) seconds; xy (N, 17, 2), score (N, 17), xyz (N, 17,
    3), root (N, 3); joints, picture_joints; camera (4,), height; events: event_person, event_text,
    event_start, event_stop (E,). DataError if it can't be written.
    """
    motions = lifted.motions
    count = len(H36M17.joints)
    empty = {"xy": (0, count, 2), "score": (0, count), "xyz": (0, count, 3), "root": (0, 3)}
    rows: dict[str, Any] = {
        name: np.concatenate([np.zeros(shape), *(getattr(one, name) for one in motions)])
        for name, shape in empty.items()
    }
    arrays = {name: values.astype(np.float32) for name, values in rows.items()} | {
        "person": np.repeat([one.identity + 1 for one in motions], [len(m.times) for m in motions])
        .astype(np.int32),
        "frame": np.concatenate([np.zeros(0, np.int64), *(one.frames for one in motions)]),
        "time": np.concatenate([np.zeros(0), *(one.times for one in motions)]),
        "joints": np.array(H36M17.joints),
        "picture_joints": np.array(COCO17.joints),
        "camera": np.asarray(lifted.camera, float),
        "height": np.float64(lifted.height),
        "event_person": np.array([event.person for event in prompts], np.int32),
        "event_text": np.array([event.rule.text for event in prompts], dtype=str),
        "event_start": np.array([event.start for event in prompts], float),
        "event_stop": np.array([event.stop for event in prompts], float),
    }  # fmt: skip
    try:
        with files.whole(file) as temporary, temporary.open("wb") as opened:
            np.savez_compressed(opened, **arrays)
    except OSError as error:
        raise files.unwritten(file, error) from None
