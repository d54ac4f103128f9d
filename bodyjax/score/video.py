"""Scoring what people do in a video (system D): standard or not, when, why, how many times.

    scorer = score.load("pushup")
    score.recognize(scorer, "clip.mp4")["people"][0]["probability"]

`bodyjax.score.scorer` follows people and runs the model; this module makes the result for JSON
(windows, deciding joints, repetitions, events) and draws it on the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np

from bodyjax import draw
from bodyjax.data.video.files import Video, open_video
from bodyjax.data.video.writing import write_overlay
from bodyjax.score.repetitions import repetitions
from bodyjax.score.scorer import (
    Scorer,
    Track,
    frame_attention,
    frame_probability,
    load,
    missing_joints,
    score_track,
    tracks,
)

__all__ = ["Scorer", "load", "overlay", "recognize"]

FilePath = str | PathLike[str]
Result = dict[str, Any]

SHORTEST = 0.5
"""A person must be seen for this many seconds to be scored."""
BARS = 120
"""The most bars in the drawn strip of attention."""


# ---- the result ----


def recognize(
    scorer: Scorer, path: FilePath, on_bad: str = "raise", beat: Callable[[], None] | None = None
) -> Result:
    """What everyone in a video does, for JSON. VideoError if it can't be read; on_bad="skip"
    salvages the undamaged part of a damaged one (open_video). beat: called before every frame.

    video, duration, length (frames), fps, size; labels; people: see `person`; events: repetitions
    and stretches of one label, with person, start and stop in seconds, in the order of their
    starts; left_out: people seen for less than SHORTEST seconds, and pictures that can't be
    decoded, if any; joints_missing: joints of the model that the detector lacks; note: why nobody
    has a verdict, if nobody has.
    """
    video = open_video(path, on_bad)
    return result(scorer, video, tracks(scorer, path, on_bad, beat))


def result(scorer: Scorer, video: Video, everyone: list[Track]) -> Result:
    """`recognize` from the people of the video."""
    kept = [track for track in everyone if long_enough(track)]
    people = [person(scorer, track, video.size) for track in kept]
    described: Result = {
        "video": str(video.path),
        "duration": round(video.duration, 6),
        "length": video.frames,
        "fps": round(video.fps, 6),
        "size": list(video.size),
        "labels": list(scorer.labels),
        "people": people,
        "events": sorted(
            (event for one in people for event in events(scorer, one)),
            key=lambda event: (event["start"], event["person"], event["stop"]),
        ),
        "left_out": {"seen too short": len(everyone) - len(kept)}
        | ({"damaged pictures": video.left_out} if video.left_out else {}),
        "joints_missing": missing_joints(scorer.system),
    }
    if not any(one["label"] for one in people):
        reason = f"seen for less than {SHORTEST} s" if everyone else "no person was found"
        if people:
            reason = ", ".join(sorted({one["reason"] for one in people}))
        described["note"] = f"nothing to score: {reason}"
    return described


def long_enough(track: Track) -> bool:
    """Whether a person is seen for SHORTEST seconds, and in more than one frame."""
    return len(track.times) > 1 and float(track.times[-1] - track.times[0]) >= SHORTEST


def person(scorer: Scorer, track: Track, size: tuple[int, int]) -> Result:
    """One person, for JSON.

    person: its number; start, stop; label and probability (of `label`; mean over the windows with a
    verdict); probabilities of all labels; reason: why there is no verdict, otherwise None; windows:
    start, stop, label, probabilities, reason; joints: share of each in the decision (against the
    good label, if there is one), largest first; attention: frames and weights, the ten largest
    first; repetitions: count, and start, stop, label, probabilities. Only what has a verdict counts
    as a repetition. Without a verdict label and probability are None, the rest is empty.
    """
    scored = score_track(scorer, track, size)
    windows = [
        _stretch(*np.interp(rows[[0, -1]], np.arange(len(track.times)), track.times))
        | (unjudged(reason) if reason else verdict(scorer, probability))
        for rows, probability, reason in zip(
            scored.at, scored.probability, scored.reasons, strict=True
        )
    ]
    about = {
        "person": track.identity + 1,
        **_stretch(float(track.times[0]), float(track.times[-1])),
    }
    told = scored.told()
    if not len(told.at):
        reason = max(scored.reasons, key=scored.reasons.count)
        nothing = {"joints": {}, "attention": [], "repetitions": {"count": 0, "each": []}}
        return about | unjudged(reason) | {"windows": windows} | nothing
    count = len(track.times)
    by_frame, weights = frame_probability(scored, count), frame_attention(told, count)
    share = told.share.mean(axis=0)
    done = []
    for one in repetitions(track.times, track.xy, scorer.system.skeleton):
        inside = (track.times >= one.start) & (track.times <= one.stop)
        inside[np.abs(track.times - one.top).argmin()] = True
        judged = by_frame[inside & np.isfinite(by_frame).all(axis=-1)]
        if len(judged):
            done.append(_stretch(one.start, one.stop) | verdict(scorer, judged.mean(axis=0)))
    return {
        **about,
        **verdict(scorer, told.probability.mean(axis=0)),
        "windows": windows,
        "joints": {
            scorer.system.skeleton.joints[j]: round(float(share[j]), 4)
            for j in np.argsort(-share, kind="stable")
        },
        "attention": [
            {"frame": int(track.frames[i]), "time": _s(track.times[i]), "weight": _s(weights[i])}
            for i in np.argsort(-weights, kind="stable")[:10]
        ],
        "repetitions": {"count": len(done), "each": done},
    }


def verdict(scorer: Scorer, probability: np.ndarray) -> Result:
    """label, its probability, and those of all labels; no reason against it. Above 0.5 is good, as
    in the paper."""
    best = int(probability.argmax())
    if scorer.good is not None:
        best = scorer.good if probability[scorer.good] > 0.5 else 1 - scorer.good
    every = {name: _s(p) for name, p in zip(scorer.labels, probability, strict=True)}
    label = scorer.labels[best]
    return {"label": label, "probability": every[label], "probabilities": every, "reason": None}


def unjudged(reason: str) -> Result:
    """The fields of `verdict` if there is none."""
    return {"label": None, "probability": None, "probabilities": {}, "reason": reason}


def events(scorer: Scorer, one: Result) -> list[Result]:
    """A person's repetitions, and the stretches in which consecutive windows with a verdict
    agree."""
    found = [
        {"event": "repetition", "person": one["person"], "number": i + 1}
        | {name: done[name] for name in ("start", "stop", "label", "probability")}
        for i, done in enumerate(one["repetitions"]["each"])
    ]
    runs: list[list[Result]] = []
    for window in one["windows"]:
        if runs and runs[-1][-1]["label"] == window["label"]:
            runs[-1].append(window)
        else:
            runs.append([window])
    for run in runs:
        if run[0]["label"] is None:
            continue
        mean = float(np.mean([window["probability"] for window in run]))
        found.append(
            {"event": run[0]["label"], "person": one["person"]}
            | {"start": run[0]["start"], "stop": run[-1]["stop"], "probability": _s(mean)}
        )
    return found


def _stretch(start: float, stop: float) -> Result:
    return {"start": _s(start), "stop": _s(stop)}


def _s(value: Any) -> float:
    return round(float(value), 4)


# ---- drawn on the video ----


def overlay(
    scorer: Scorer, path: FilePath, out: FilePath, result: Mapping[str, Any], on_bad: str = "raise"
) -> None:
    """Writes the video with skeletons, the probability in the upper left corner (as in the paper's
    figures 9 and 10), repetitions so far, and the attention over time as a strip along the bottom.

    `result`: the result of `recognize` for this video, with the same on_bad; the people are
    detected again, frame by frame. The strip shows the person who is seen longest. Timing and sound
    are those of the video (write_overlay).
    """
    video = open_video(path, on_bad)
    kept = [track for track in tracks(scorer, path, on_bad) if long_enough(track)]
    write_overlay(out, drawn(scorer, video, kept, result), video)


def drawn(
    scorer: Scorer, video: Video, kept: list[Track], result: Mapping[str, Any]
) -> Iterator[np.ndarray]:
    """The frames of `overlay`, (height, width, 3) uint8, one in memory at a time."""
    known = {one["person"]: one for one in result["people"]}
    scored = [score_track(scorer, track, video.size) for track in kept]
    curves = [frame_probability(s, len(t.times)) for s, t in zip(scored, kept, strict=True)]
    longest = max(range(len(kept)), key=lambda i: len(kept[i].times), default=-1)
    strip = np.zeros(0)
    if kept:
        weights = np.zeros(video.frames)
        weights[kept[longest].frames] = frame_attention(
            scored[longest].told(), len(kept[longest].frames)
        )
        strip = np.array([part.sum() for part in np.array_split(weights, min(video.frames, BARS))])
    places = np.array_split(np.arange(video.frames), max(len(strip), 1))
    bar = {int(frame): i for i, part in enumerate(places) for frame in part}
    for number, frame in enumerate(video.iter_frames()):
        here = [
            (track, curve, int(number - track.frames[0]))
            for track, curve in zip(kept, curves, strict=True)
            if track.frames[0] <= number <= track.frames[-1]
        ]
        image, lines = frame, []
        if here:
            numbers = [track.identity + 1 for track, _, _ in here]
            image = draw.skeletons(
                frame,
                np.stack([track.xy[row] for track, _, row in here]),
                np.stack([track.score[row] for track, _, row in here]),
                scorer.system.skeleton,
                numbers=numbers if len(kept) > 1 else None,
            )
            for track, curve, row in here:
                name = f"{track.identity + 1}: " if len(kept) > 1 else ""
                done = known.get(track.identity + 1, {}).get("repetitions", {"each": []})["each"]
                so_far = sum(one["stop"] <= track.times[row] for one in done)
                lines.append(name + line(scorer, curve[row], so_far))
        elif not kept:
            lines = ["nobody to score"]
        if len(strip):
            image = draw.attention(image, strip, bar[number])
        yield draw.label(image, lines)


def line(scorer: Scorer, probability: np.ndarray, done: int) -> str:
    """The text about a person: the good label's probability, or the best label's, and the number of
    repetitions so far. probability (C,): NaN if there is no verdict."""
    if not np.isfinite(probability).all():
        return "not scored"
    best = int(probability.argmax()) if scorer.good is None else scorer.good
    count = f"  x{done}" if done else ""
    return f"{scorer.labels[best]} {probability[best]:.2f}{count}"
