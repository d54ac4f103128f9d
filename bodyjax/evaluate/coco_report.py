"""What a report on COCO pictures contains besides AP: precision and recall of the people shown, AP
by the origin of the pictures, a comparison with another detector, and figures for single joints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from bodyjax import metrics
from bodyjax.data.pictures.coco_files import is_id, read_json
from bodyjax.errors import DataError
from bodyjax.evaluate import coco_ap
from bodyjax.evaluate.coco_labels import Labels, read_labels
from bodyjax.metrics.intervals import LEVEL
from bodyjax.skeleton import COCO17, Skeleton

RIGHT = 0.5
"""Least OKS of a right person."""
LEAST_TORSO = 10.0
"""Pixels; a fifth of a smaller person is less than the accuracy of labels."""
LOOSE = 0.2
"""Sigma of every joint for matching results to people if the skeleton has none: at a distance of
half the square root of the area, OKS is 0.5. PCK then judges the joints."""
UNKNOWN = "unknown"

People = Sequence[Mapping[str, Any]]


class Judged(NamedTuple):
    """The people found on the complete pictures: score (N,); right (N,), matched at OKS 0.5 to a
    labelled person, each of them once, best first; ignored (N,), not right, but the middle of the
    joints lies in the box of a crowd or of somebody without labelled joints. persons: labelled."""

    score: np.ndarray
    right: np.ndarray
    ignored: np.ndarray
    persons: int


def judge(labels: Labels, people: People, skeleton: Skeleton = COCO17) -> Judged:
    """Judges a COCO results list; the 20 people with the highest scores in a picture count, as for
    AP."""
    known, _ = coco_ap.read_results(people, labels, len(skeleton.joints))
    complete = [i["id"] for i in labels.dataset["images"] if i.get("persons_complete", True)]
    evaluation = coco_ap.match(labels, known, metrics.sigmas(skeleton), complete)
    score: list[float] = []
    right: list[bool] = []
    ignored: list[bool] = []
    persons = 0
    for image in evaluation.params.imgIds:
        truth = evaluation._gts[image, labels.category]
        counts = np.array([not label["ignore"] for label in truth], bool)
        boxes = np.reshape([label["bbox"] for label in truth], (-1, 4))[~counts]
        persons += int(counts.sum())
        picture = coco_ap.picture_oks(evaluation, image)
        free = picture.oks[:, counts]
        for number, row in zip(picture.results, free, strict=True):  # best first
            right.append(bool((row >= RIGHT).any()))
            if right[-1]:
                free[:, int(row.argmax())] = -1  # each labelled one once
            score.append(float(people[number]["score"]))
            ignored.append(not right[-1] and _inside(people[number]["keypoints"], boxes))
    return Judged(np.array(score), np.array(right, bool), np.array(ignored, bool), persons)


def _inside(keypoints: Any, boxes: np.ndarray) -> bool:
    """Whether the mean of a person's joints lies in a box (K, 4), x, y, width, height."""
    xy = np.reshape(np.asarray(keypoints, np.float64), (-1, 3))[:, :2]
    there = np.isfinite(xy).all(-1) & xy.any(-1)  # 0, 0 is COCO's missing joint
    if not there.any():
        return False
    middle = xy[there].mean(0)
    return bool(((middle >= boxes[:, :2]) & (middle <= boxes[:, :2] + boxes[:, 2:])).all(-1).any())


def at_score(judged: Judged, least: float) -> dict[str, float | int | None]:
    """Precision and recall of the people whose score is at least `least`.

    "precision": those in ignored areas don't count, as in the choice of `min_person`
    (`calibration`); "precision_ignored_right": they count as right. None if nobody is left to
    count. "n_shown", of them "n_shown_ignored"; "n_persons" labelled.
    """
    shown = judged.score >= least
    right, ignored = int(judged.right[shown].sum()), int(judged.ignored[shown].sum())
    number = int(shown.sum())
    return {
        "min_score": least,
        "precision": _share(right, number - ignored),
        "precision_ignored_right": _share(right + ignored, number),
        "recall": _share(right, judged.persons),
        "n_shown": number,
        "n_shown_ignored": ignored,
        "n_persons": judged.persons,
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def at_precision(judged: Judged, precision: float) -> dict[str, float | int | None]:
    """`at_score` at the lowest score that reaches a precision, where recall is highest; a recall of
    0 and no score if none does."""
    for least in np.unique(judged.score):
        figures = at_score(judged, float(least))
        if figures["precision"] is not None and figures["precision"] >= precision:
            return figures
    return at_score(judged, float("inf")) | {"min_score": None}


def origin(image: Mapping[str, Any]) -> str:
    """The part of COCO that a picture comes from, such as "val2017": by its field `source`
    ("coco2017-val"), otherwise by the name of a folder in `file_name`, `origin_image` or
    `coco_url`, otherwise "unknown"."""
    if said := re.fullmatch(r"coco(\d{4})-(train|val)", str(image.get("source", ""))):
        return said[2] + said[1]
    for field in ("file_name", "origin_image", "coco_url"):
        if folder := re.search(r"(?:^|[/:])((?:train|val)\d{4})/", str(image.get(field, ""))):
            return folder[1]
    return UNKNOWN


def by_origin(
    labels: Mapping[str, Any],
    people: People,
    on_bad: str = "raise",
    skeleton: Skeleton = COCO17,
) -> dict[str, dict[str, float | int | None]]:
    """{origin: {"AP", "n" complete pictures, "n_persons" labelled}}, most pictures first."""
    groups: dict[str, list[Any]] = {}
    for image in labels["images"]:
        if image.get("persons_complete", True):
            groups.setdefault(origin(image), []).append(image["id"])
    checked = read_labels(labels, skeleton, on_bad=on_bad)
    known, _ = coco_ap.read_results(people, checked, len(skeleton.joints))
    report = {}
    for name, ids in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        evaluation = coco_ap.match(checked, known, metrics.sigmas(skeleton), ids)
        persons, _ = coco_ap.persons(evaluation)
        ap = coco_ap.statistics(evaluation)["AP"]
        report[name] = {"AP": ap, "n": len(ids), "n_persons": persons}
    return report


def read_other(
    file: str | PathLike[str],
    labels: Mapping[str, Any],
    on_bad: str = "raise",
    skeleton: Skeleton = COCO17,
) -> list[dict[str, Any]]:
    """Another detector's COCO results, those on pictures of the labels; DataError if the file is
    not a results list or has nobody on these pictures."""
    content, _ = read_json(file)
    if not isinstance(content, list):
        raise DataError("results are a list of people", file=file)
    checked = read_labels(labels, skeleton, on_bad=on_bad)
    known = {image["id"] for image in checked.dataset["images"]}
    mine = [person for person in content if _on(person, known)]
    try:
        coco_ap.read_results(mine, checked, len(skeleton.joints))
    except DataError as error:
        raise DataError(error.message, file=file, place=error.place, hint=error.hint) from None
    if not mine:
        hint = "give COCO results of the same set, as --results writes them"
        raise DataError("nobody in it is on these pictures", file=file, hint=hint)
    return mine


def _on(person: Any, known: set[Any]) -> bool:
    """Whether a result is on one of the pictures; anything that is not a result stays, to be
    refused later."""
    image = person.get("image_id") if isinstance(person, Mapping) else None
    return not is_id(image) or image in known


def against(
    labels: Mapping[str, Any],
    people: People,
    other: People,
    least: float,
    samples: int,
    on_bad: str = "raise",
    skeleton: Skeleton = COCO17,
) -> dict[str, Any]:
    """A detector compared with another one on the same complete pictures.

    "AP" of the other; "difference", ours less theirs, and with samples its "interval" by paired
    bootstrap and "share_above", the share of samples in which ours is better; "at_our_precision":
    the other's `at_score` at the precision of ours at `least`, None if ours shows nobody.
    """
    checked = read_labels(labels, skeleton, on_bad=on_bad)
    theirs = judge(checked, other, skeleton)
    precision = at_score(judge(checked, people, skeleton), least)["precision"]
    alone = coco_ap.evaluate(labels, other, skeleton=skeleton, on_bad=on_bad, samples=0)
    report: dict[str, Any] = {"AP": alone["AP"]}
    if report["AP"] is not None:
        paired = coco_ap.compare(
            labels, people, other, skeleton=skeleton, on_bad=on_bad, samples=max(samples, 1),
            level=LEVEL,
        )  # fmt: skip
        report["difference"] = paired.difference
        if samples:
            report["interval"] = {"difference": [paired.low, paired.high], "level": LEVEL}
            report["share_above"] = paired.share_above
    report["at_our_precision"] = None if precision is None else at_precision(theirs, precision)
    return report


def joint_similarity(
    labels: Mapping[str, Any], people: People, on_bad: str, skeleton: Skeleton = COCO17
) -> dict[str, float | None]:
    """Per joint the mean keypoint similarity of labelled joints (0 where the person was missed):
    each labelled person of the complete pictures with the result that pycocotools matched to it at
    OKS 0.5."""
    sigmas = metrics.sigmas(skeleton)
    total, counted = np.zeros(len(sigmas)), np.zeros(len(sigmas))
    complete = [i["id"] for i in labels["images"] if i.get("persons_complete", True)]
    for label, area, result in matched(labels, people, complete, on_bad, skeleton):
        labelled = label[:, 2] > 0
        counted += labelled
        if result is not None:
            squared = ((result - label)[:, :2] ** 2).sum(1)
            scale = 2 * (2 * sigmas) ** 2 * (area + np.spacing(1))
            total += np.where(labelled, np.exp(-squared / scale), 0)
    return {
        name: float(total[j] / counted[j]) if counted[j] else None
        for j, name in enumerate(skeleton.joints)
    }


def people_pck(
    labels: Mapping[str, Any], people: People, on_bad: str, skeleton: Skeleton = COCO17
) -> dict[str, float | int | None]:
    """PCK@0.2 over the 12 limb joints of the labelled people of all pictures, each with the result
    that pycocotools matched to it at OKS 0.5: without a match all their joints are wrong. People
    without a labelled torso are left out. For a skeleton without a torso (animals, hands), PCK is
    over all joints, and its reference length is the longer side of the labelled joints' box."""
    right = total = persons = 0
    torso = metrics.torso_of(skeleton)
    of_limbs = [i for i, j in enumerate(skeleton.joints) if j.split("_")[-1] in metrics.LIMB_PARTS]
    counted = of_limbs if torso else list(range(len(skeleton.joints)))
    every = [image["id"] for image in labels["images"]]
    for label, _, result in matched(labels, people, every, on_bad, skeleton):
        length = _length(label, [skeleton.index(joint) for joint in torso or ()])
        if length < LEAST_TORSO:
            continue
        labelled = label[counted, 2] > 0
        persons, total = persons + 1, total + int(labelled.sum())
        if result is not None:
            away = np.linalg.norm((result - label)[counted, :2], axis=-1)
            right += int((labelled & (result[counted, 2] > 0) & (away <= 0.2 * length)).sum())
    return {"pck_people": right / total if total else None, "n_pck_people": persons}


def _length(label: np.ndarray, torso: Sequence[int]) -> float:
    """Pixels that PCK measures a person (J, 3) by: the torso, two joints, or without one the longer
    side of the labelled joints' box; 0 where these are not labelled."""
    there = label[:, 2] > 0
    if not torso:
        return float(np.ptp(label[there, :2], axis=0).max()) if there.any() else 0.0
    first, second = torso
    apart = float(np.linalg.norm(label[first, :2] - label[second, :2]))
    return apart if there[[first, second]].all() else 0.0


def matched(
    labels: Mapping[str, Any],
    people: People,
    images: list[Any],
    on_bad: str,
    skeleton: Skeleton = COCO17,
) -> Iterator[tuple[np.ndarray, float, np.ndarray | None]]:
    """(label (J, 3), its area, result (J, 3)) of each labelled person that counts on the pictures
    `images`; the result is what pycocotools matched to it at OKS 0.5, None if there is none. A
    skeleton without sigmas is matched by `LOOSE`."""
    if not images:
        return
    checked = read_labels(labels, skeleton, on_bad=on_bad)
    known, _ = coco_ap.read_results(people, checked, len(skeleton.joints))
    sigmas = np.full(len(skeleton.joints), LOOSE)
    if skeleton.sigmas is not None:
        sigmas = metrics.sigmas(skeleton)
    evaluation = coco_ap.match(checked, known, sigmas, images)
    for picture in evaluation.evalImgs[: len(evaluation.params.imgIds)]:
        if picture is None:
            continue
        image, category = picture["image_id"], picture["category_id"]
        truth = {label["id"]: label for label in evaluation._gts[image, category]}
        found = {result["id"]: result for result in evaluation._dts[image, category]}
        ignored, matches = picture["gtIgnore"], picture["gtMatches"][0]
        for number, ignore, match in zip(picture["gtIds"], ignored, matches, strict=True):
            if not ignore:
                result = np.reshape(found[int(match)]["keypoints"], (-1, 3)) if int(match) else None
                yield np.reshape(truth[number]["keypoints"], (-1, 3)), truth[number]["area"], result
