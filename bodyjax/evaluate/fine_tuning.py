"""The gain of fine-tuning on your own pictures: start and result on the held-back pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bodyjax import skeleton
from bodyjax.data import own_pictures
from bodyjax.data.pictures.coco_keypoints import coco
from bodyjax.data.pictures.labelled import FilePath
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.engine.report import plain
from bodyjax.errors import DataError
from bodyjax.evaluate import coco_ap
from bodyjax.evaluate.coco_labels import read_labels
from bodyjax.evaluate.pictures import coco_labels, evaluate
from bodyjax.metrics.intervals import LEVEL
from bodyjax.skeleton import Skeleton, reported

SAMPLES = 200
"""Resamples of the bootstrap: with a dozen pictures its interval is rough anyway."""
FIGURES = {"AP": "AP", "AR": "AR", "pck_people": "PCK@0.2"}


def check(data: FilePath, on_bad: str, bones: Skeleton) -> None:
    """DataError, before the training of a detector of `bones`, if the held-back pictures could not
    be measured after it."""
    try:
        read_labels(_held(data), reported(bones), on_bad=on_bad)
    except DataError as error:
        hint = error.hint or 'all 17 joints of COCO; those that you don\'t label are "0, 0, 0"'
        file = own_pictures.sides(data).file
        raise DataError(error.message, file=file, place=error.place, hint=hint) from None


def measure(start: str, result: FilePath, data: FilePath, workdir: Path) -> dict[str, Any]:
    """{"start": report, "result": report, "gain": {"AP": [low, difference, high]}}, the reports of
    evaluate on the held-back pictures, as launch.evaluate gives them; test-time settings are those
    of the result.

    "gain": with its 80 % interval by paired bootstrap over the pictures; {} if no picture is
    complete. A start that is "" or an .npz of published weights is not a detector: its report is
    None. The people found are in WORKDIR/held_start.json and held_result.json, as COCO results.
    """
    own = own_pictures.sides(data)
    reports: dict[str, Any] = {"start": None}
    files = {name: workdir / f"held_{name}.json" for name in ("start", "result")}
    loaded = {"result": checkpoints.load(result, system="pose")}
    if start and not start.endswith(".npz"):
        loaded["start"] = checkpoints.load(start, system="pose")
    settings = loaded["result"].config.get("detect", {})
    for name, checkpoint in loaded.items():
        reports[name] = evaluate(
            checkpoint, own.file, own.held, on_bad="skip", samples=0, progress=False,
            results=files[name], **settings,
        )  # fmt: skip
    gain = {}
    if reports["start"] and reports["result"]["AP"] is not None:
        bones = skeleton.of(loaded["result"].config["model"]["skeleton"])
        difference = coco_ap.compare(
            _held(data), files["result"], files["start"], skeleton=reported(bones),
            on_bad="skip", samples=SAMPLES, level=LEVEL,
        )  # fmt: skip
        gain["AP"] = [difference.low, difference.difference, difference.high]
    return plain(reports | {"gain": gain})


def _held(data: FilePath) -> dict[str, Any]:
    """The labels of the held-back pictures, in COCO's form."""
    own = own_pictures.sides(data)
    return coco_labels("coco", own.file, coco(own.file, own.held, on_bad="skip"))


def lines(measures: dict[str, Any]) -> list[str]:
    """The result of `measure` as lines for people."""
    start, result = measures["start"], measures["result"]
    shown, fell = [], []
    for key, name in FIGURES.items():
        value = figure(result, key)
        before = figure(start, key) if start else None
        if value is None:
            continue
        shown.append(f"{name} {f'{before:.3f} -> ' if before is not None else ''}{value:.3f}")
        if before is not None and value < before:
            fell.append(name)
    pictures = sum(result["split"].values())
    said = [f"held-back pictures: {', '.join(shown)} ({pictures} pictures)"]
    if gain := measures["gain"].get("AP"):
        low, value, high = gain
        chance = " (chance alone may do that)" if low <= 0 <= high else ""
        said.append(f"AP changed by {value:+.3f}, 80 % interval {low:+.3f} to {high:+.3f}{chance}")
    if "refused" in result:
        said.append(f"no AP: {result['refused']}")
    if not start:
        said.append("no detector was the start: there is nothing to compare with")
    elif fell:
        said.append(f"WORSE than the start in {' and '.join(fell)}: the start may serve you better")
    return said


def figure(report: dict[str, Any], key: str) -> float | None:
    """AP and AR of the complete pictures; AR of the others if no picture is complete."""
    value = report.get(key)
    if value is None and key == "AR" and report["incomplete_pictures"]:
        return report["incomplete_pictures"]["AR"]
    return value
