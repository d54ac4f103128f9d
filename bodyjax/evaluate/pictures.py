"""A detector on labelled pictures: PCK, PCKh and OKS AP through the whole path of `detect`.

LSP arrays: PCK@0.2 (metrics.lsp_pck). COCO folders: AP and AR over the complete pictures, recall on
the others, and the figures of `coco_report`. Rendered people: both, and PCK over the pictures that
show one person.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bodyjax import detect, files, metrics, skeleton
from bodyjax.data import sets
from bodyjax.data.pictures import coco_files, coco_keypoints
from bodyjax.data.pictures.labelled import Pictures
from bodyjax.detect.detector import Detector
from bodyjax.detect.results import PicturePeople
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import ConfigError, DataError
from bodyjax.evaluate import best_worst, coco_ap, coco_report
from bodyjax.evaluate.coco_labels import Labels, read_labels
from bodyjax.evaluate.coco_report import LEAST_TORSO
from bodyjax.evaluate.found_people import Pass
from bodyjax.metrics import intervals
from bodyjax.metrics.intervals import LEVEL
from bodyjax.skeleton import AREA_OF_BOX, COCO17, LSP14, Skeleton


def evaluate(
    checkpoint: str | PathLike[str] | Checkpoint | Detector,
    data: str | PathLike[str],
    split: str | None = None,
    *,
    on_bad: str = "raise",
    samples: int = 1000,
    progress: bool = True,
    results: str | PathLike[str] | None = None,
    pictures: str | PathLike[str] | None = None,
    against: str | PathLike[str] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Metrics of a detector on the labelled pictures at a path.

    data: LSP arrays, a COCO folder or its JSON file, or rendered people (docs/DATA.md);
    split: "train", "valid", "trainvalid" or "test" (None: every row, with the counts of each part).
    on_bad: "raise" stops at the first picture or label that can't be used, "skip" counts and names
    them. samples: of the bootstrap intervals (80 %), 0: none. settings: of detect.Settings.
    results: a file for the people found, as COCO results (not for LSP arrays). pictures: a folder
    for best.jpg and worst.jpg (best_worst.write); "pictures" then names what they show. against: a
    file of another detector's COCO results on these pictures (not for LSP arrays), to compare with.

    Keys: the metrics; "n" pictures counted, "left_out" pictures not counted, "left_out_reasons",
    "split" {part: pictures}, "per_joint", "interval"; "bad" names what could not be used; "set",
    "settings", "checkpoint", "ms_per_picture" (decoding to results).
    """
    kind = sets.recognise(data, sets.LABELLED)
    if kind not in sets.PICTURES:
        raise ConfigError(
            f"a set of {kind}; a detector is evaluated on pictures with joints", file=data
        )
    for name, file in (("results", results), ("against", against)):
        if kind == "lsp" and file is not None:
            what = "COCO results are of people with COCO's joints, these pictures have LSP's"
            raise ConfigError(what, place=name, hint="take a COCO set")
    source: Pictures = sets.PICTURES[kind](data, split or "all", on_bad=on_bad)
    labels = {} if kind == "lsp" else coco_labels(kind, data, source)
    detector = _detector(checkpoint, settings)
    bones = skeleton.reported(detector.skeleton)
    if kind != "coco" and skeleton.own(detector.skeleton):
        what = f"shows people, the detector finds {detector.skeleton.name}"
        raise ConfigError(what, file=data, hint="take a COCO keypoint file of its joints")
    if against is not None or pictures is not None:
        metrics.sigmas(bones)
    other = None
    if against is not None:
        other = coco_report.read_other(against, labels, on_bad, bones)
    found = run(detector, source, on_bad=on_bad, progress=progress)
    if kind == "lsp":
        report = lsp_report(detector, source, found, samples)
    else:
        report = people_report(
            detector, found, labels, samples, on_bad=on_bad, results=results, other=other
        )
        if kind == "people":
            report |= _single_report(detector, source, found, samples)
    if against is not None:
        report["against"]["results"] = str(against)
    if pictures is not None:
        report["pictures"] = best_worst.write(detector, source, found, pictures)
    unusable = len(source.bad) + len(found.unread)
    report["left_out"] += unusable
    reasons = Counter(report["left_out_reasons"])
    reasons.update(source.left_out)
    reasons["pictures that can't be read"] += len(found.unread)
    report["left_out_reasons"] = dict(+reasons)
    if unusable:
        report["bad"] = [*source.bad, *found.unread]
    report["split"] = _parts(source, found.rows)
    if kind == "coco":
        report["split"] = _stored_splits(labels["images"], found.rows)
    report["set"] = {"kind": kind, "path": str(data), "part": split or "all"}
    report["checkpoint"], report["settings"] = detector.name, asdict(detector.settings)
    report["ms_per_picture"] = 1000 * found.seconds / max(len(found.rows), 1)
    return report


def _detector(
    checkpoint: str | PathLike[str] | Checkpoint | Detector, settings: dict[str, Any]
) -> Detector:
    if not isinstance(checkpoint, Detector):
        return detect.load(checkpoint, **settings)
    if settings:
        raise ConfigError(
            "settings of a loaded detector can't be changed", hint="load it with them"
        )
    return checkpoint


def run(detector: Detector, source: Pictures, *, on_bad: str, progress: bool) -> Pass:
    """The people on every picture of a source; labels are not used."""
    rows, people, unread = [], [], []
    side = detector.side
    detector.predict(detector.variables, np.zeros((side, side, 3), np.uint8))  # compiles
    start = time.perf_counter()
    bar = tqdm(range(len(source)), disable=not progress or not sys.stderr.isatty(), unit="picture")
    for row in bar:
        try:
            picture = source.image(row)
        except DataError as error:
            if on_bad != "skip":
                raise
            unread.append(str(error))
            continue
        people.append(detect.detect(detector, picture))
        rows.append(row)
    if not rows:
        raise DataError("no picture could be read", file=source.files.path)
    return Pass(np.array(rows), people, tuple(unread), time.perf_counter() - start)


def _parts(source: Pictures, rows: np.ndarray) -> dict[str, int]:
    """Pictures of each side of the set among `rows`; a set without a test side is all "train"."""
    test = int(source.heldout[rows].sum())
    return {"train": len(rows) - test, "test": test}


def _stored_splits(images: list[dict[str, Any]], rows: np.ndarray) -> dict[str, int]:
    """Pictures of each `split` that a COCO file names; those without one are "train"."""
    names = Counter(str(images[row].get("split", "train")) for row in rows)
    return {"train": 0, "test": 0, **names}


def best_person(found: PicturePeople) -> tuple[np.ndarray, np.ndarray]:
    """xy (J, 2) and score (J,) of the person of highest score; if nobody was found, the highest
    point of each map."""
    if len(found.person_score):
        best = int(np.argmax(found.person_score))
        return found.xy[best], found.score[best]
    there = found.maxima_score > 0
    return np.where(there[:, None], found.maxima_xy, np.nan), found.maxima_score


def predictions(detector: Detector, people: list[PicturePeople], target: Skeleton) -> np.ndarray:
    """One person per picture, (N, J, 2) in the target's joints, NaN where missing."""
    xy = np.stack([best_person(found)[0] for found in people])
    seen = np.where(np.isfinite(xy).all(-1), skeleton.SEEN, 0).astype(np.uint8)
    joints, seen = skeleton.convert(xy, seen, detector.skeleton, target)
    return np.where(seen[..., None] > 0, joints, np.nan)


def lsp_report(detector: Detector, source: Pictures, found: Pass, samples: int) -> dict[str, Any]:
    """PCK@0.2 and PCKh@0.5 of LSP arrays; `nobody`: pictures for which the maxima were used."""
    ours = predictions(detector, found.people, LSP14)
    joints = source.extra["lsp_xy"][found.rows]
    labelled = source.extra["lsp_visible"][found.rows] > 0
    report = _pck(ours, joints, labelled, LSP14, samples)
    report |= _pckh(ours, joints, labelled)
    report["nobody"] = sum(not len(people.person_score) for people in found.people)
    return report


def _pck(
    ours: np.ndarray, joints: np.ndarray, labelled: np.ndarray, bones: Skeleton, samples: int
) -> dict[str, Any]:
    """PCK@0.2 over the 12 limb joints first, over all labelled joints, and per joint."""
    if bones is LSP14:
        report = metrics.lsp_pck(ours, joints, labelled)
    else:
        report = _keypoints(ours, joints, labelled, bones)
    report = {"pck_limbs": report.pop("pck_limbs"), **report}
    if samples:
        limbs = [i for i, j in enumerate(bones.joints) if j.split("_")[-1] in metrics.LIMB_PARTS]
        first, second = (bones.index(joint) for joint in metrics.TORSO)
        torso = np.linalg.norm(joints[:, first] - joints[:, second], axis=-1)
        usable = labelled[:, first] & labelled[:, second] & (torso >= LEAST_TORSO)
        counted = (labelled & usable[:, None])[:, limbs]
        with np.errstate(invalid="ignore"):
            near = np.linalg.norm(ours - joints, axis=-1) <= 0.2 * torso[:, None]
        right = (counted & near[:, limbs]).sum(1)[usable]
        number = counted.sum(1)[usable]
        if number.sum():

            def share(rows: np.ndarray) -> float:
                return float(right[rows].sum() / max(number[rows].sum(), 1))

            interval = intervals.bootstrap(share, len(number), level=LEVEL, samples=samples)
            report["interval"] = {"pck_limbs": [interval.low, interval.high], "level": LEVEL}
    return report


def _keypoints(
    ours: np.ndarray, joints: np.ndarray, labelled: np.ndarray, bones: Skeleton
) -> dict[str, Any]:
    fold = metrics.Keypoints(bones)
    batch = {"xy": joints, "visible": labelled.astype(np.uint8)}
    return dict(fold.compute(fold.update(fold.init(), {"xy": ours}, batch)))


def _pckh(ours: np.ndarray, joints: np.ndarray, labelled: np.ndarray) -> dict[str, Any]:
    """PCKh@0.5: within half the head's length, neck to head top."""
    length = metrics.reference_length(joints, labelled, LSP14, ("neck", "head_top"))
    counts = metrics.pck_counts(ours, joints, labelled, length, 0.5)
    right, counted = np.asarray(counts.right), np.asarray(counts.counted)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = right / counted
    return {
        "pckh_limbs": float(right[:12].sum() / counted[:12].sum()) if counted[:12].any() else None,
        "per_joint_pckh": {
            name: float(value) if np.isfinite(value) else None
            for name, value in zip(LSP14.joints, each, strict=True)
        },
    }


def _single_report(
    detector: Detector, source: Pictures, found: Pass, samples: int
) -> dict[str, Any]:
    """PCK of the pictures that show exactly one labelled person and nobody who is ignored."""
    alone = [
        i
        for i, row in enumerate(found.rows)
        if len(source.people[row].xy) == 1 and not len(source.people[row].ignore)
    ]
    if not alone:
        return {}
    labels = [source.people[found.rows[i]] for i in alone]
    joints, seen = skeleton.convert(
        np.stack([label.xy[0] for label in labels]),
        np.stack([label.visible[0] for label in labels]),
        source.skeleton,
        COCO17,
    )
    ours = predictions(detector, [found.people[i] for i in alone], COCO17)
    report = _pck(ours, joints, seen > 0, COCO17, samples)
    return {
        "pck_limbs": report["pck_limbs"],
        "pck": report["pck"],
        "per_joint_pck": report["per_joint"],
        "pck_pictures": report["n"],
        "pck_left_out": report["left_out"] + len(found.rows) - len(alone),
    }


def coco_labels(kind: str, data: str | PathLike[str], source: Pictures) -> dict[str, Any]:
    """COCO labels of the pictures of a source; `images` has one entry per row, in its order."""
    if kind == "people":
        return labels_of(source)
    content = coco_files.read_coco(coco_files.coco_file(Path(data)))
    names = coco_keypoints.picture_names(content.images)
    by_name = dict(zip(names, content.images, strict=True))
    images = [by_name[name] for name in source.names]
    of_picture, _ = content.by_picture()
    people = [person for image in images for person in of_picture.get(image["id"], [])]
    categories = list(content.categories.values())
    return {"images": images, "annotations": people, "categories": categories}


def labels_of(source: Pictures) -> dict[str, Any]:
    """COCO labels made from a source's own: AREA_OF_BOX, ignored people without joints."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for row, (name, people) in enumerate(zip(source.names, source.people, strict=True)):
        images.append({"id": row + 1, "file_name": name, "persons_complete": people.complete})
        xy, visible = skeleton.convert(people.xy, people.visible, source.skeleton, COCO17)
        flat = np.concatenate([xy, visible[..., None]], axis=-1).reshape(len(xy), 51)
        none = np.zeros((len(people.ignore), 51))
        boxes = np.concatenate([people.boxes, people.ignore])
        for points, (x0, y0, x1, y1) in zip(np.concatenate([flat, none]), boxes, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": row + 1,
                    "category_id": 1,
                    "iscrowd": 0,
                    "keypoints": points.astype(float).tolist(),
                    "num_keypoints": int((points[2::3] > 0).sum()),
                    "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
                    "area": AREA_OF_BOX * float(x1 - x0) * float(y1 - y0),
                }
            )
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}
    return {"images": images, "annotations": annotations, "categories": [category]}


def people_report(
    detector: Detector,
    found: Pass,
    labels: dict[str, Any],
    samples: int,
    *,
    on_bad: str,
    results: str | PathLike[str] | None = None,
    other: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """AP and AR over complete pictures, also by origin, recall on the others, precision and recall
    of the people shown, the OKS of each joint alone, and, with the COCO results of another
    detector, the figures of `coco_report.against`. For joints without sigmas only PCK, and in
    "refused" why there is no AP."""
    bones = skeleton.reported(detector.skeleton)
    images = [labels["images"][row] for row in found.rows]
    read = {image["id"] for image in images}
    truth = [person for person in labels["annotations"] if person["image_id"] in read]
    labels = {**labels, "images": images, "annotations": truth}
    checked = read_labels(labels, bones, on_bad=on_bad)
    category = checked.category
    people = []
    for image, picture in zip(images, found.people, strict=True):
        mine = detect.coco_results(picture, detector.skeleton, image["id"])
        people += [person | {"category_id": category} for person in mine]
    if results is not None:
        files.write_text(results, json.dumps(people))
    if bones.sigmas is None:
        return _without_sigmas(checked, labels, people, bones, on_bad)
    report = coco_ap.evaluate(
        labels, people, skeleton=bones, on_bad=on_bad, samples=samples, level=LEVEL
    )
    if report["left_out"]:
        report["left_out_reasons"]["not complete, recall only"] = report["left_out"]
    report["results"] = len(people)
    report["overflow"] = sum(picture.overflow > 0 for picture in found.people)
    least = detector.settings.min_person
    report["shown"] = coco_report.at_score(coco_report.judge(checked, people, bones), least)
    report["by_origin"] = coco_report.by_origin(labels, people, on_bad, bones)
    if other is not None:
        theirs = [person for person in other if person["image_id"] in read]
        report["against"] = coco_report.against(
            labels, people, theirs, least, samples, on_bad, bones
        )
    report["per_joint"] = coco_report.joint_similarity(labels, people, on_bad, bones)
    report |= coco_report.people_pck(labels, people, on_bad, bones)
    return report


def _without_sigmas(
    checked: Labels,
    labels: dict[str, Any],
    people: list[dict[str, Any]],
    bones: Skeleton,
    on_bad: str,
) -> dict[str, Any]:
    """The report on joints for which OKS is not defined."""
    try:
        metrics.sigmas(bones)
    except ConfigError as error:
        refused = str(error)
    return {
        "AP": None,
        "AR": None,
        "refused": refused,
        "n": len(labels["images"]),
        "left_out": 0,
        "left_out_reasons": dict(checked.left_out),
        "incomplete_pictures": None,
        "results": len(people),
        **coco_report.people_pck(labels, people, on_bad, bones),
    }
