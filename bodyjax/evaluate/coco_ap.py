"""COCO's average precision of people: pycocotools on the official JSON (host code).

Only pictures whose `persons_complete` is true or absent count for AP: elsewhere there may be people
without any label, and an extra detection is not a mistake. For those pictures the recall of the
labelled persons is given separately.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bodyjax import metrics
from bodyjax.data.pictures.coco_files import read_json, same_picture
from bodyjax.errors import DataError
from bodyjax.evaluate.coco_labels import Annotations, Labels, read_labels
from bodyjax.metrics.intervals import Interval, PairedInterval, bootstrap, paired_bootstrap
from bodyjax.skeleton import COCO17, Skeleton

STATS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
MAX_PEOPLE = 20
"""pycocotools counts the 20 people with the highest scores in a picture."""
Results = str | PathLike[str] | Sequence[Mapping[str, Any]]


def read_results(
    results: Results, labels: Labels, joints: int
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """A COCO results list, checked: [{"image_id", "category_id", "keypoints", "score"}, ...].

    Joints may be flat or rows of x, y, score. A joint that is NaN is written as 0, 0, 0, COCO's
    form of a missing one; people without any joint and people whose score is NaN are left out and
    counted. Pictures that the labels do not list, a `file_name` that is another picture's, other
    categories and wrong joint counts raise DataError.
    """
    content, file = read_json(results)
    if not isinstance(content, Sequence):
        raise DataError("results are a list of people", file=file)
    known = {image["id"]: image.get("file_name") for image in labels.dataset["images"]}
    kept, left_out = [], Counter[str]()
    for number, person in enumerate(content):
        place = f"result {number}"
        try:
            image, score = person["image_id"], float(person["score"])
            points, listed = np.array(person["keypoints"], np.float64), image in known
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a COCO result ({error!r})", file=file, place=place) from None
        if not listed:
            raise DataError(f"picture {image!r} is not in the labels", file=file, place=place)
        ours, theirs = known[image], person.get("file_name")
        if ours is not None and theirs is not None and not same_picture(str(ours), str(theirs)):
            what = f"is of {theirs}, but picture {image!r} is {ours} in the labels"
            hint = "other ids: bodyjax detect --ids LABELS.json writes those of the labels"
            raise DataError(what, file=file, place=place, hint=hint)
        if person.get("category_id", labels.category) != labels.category:
            raise DataError(
                f"category {person['category_id']!r} is not {labels.category!r}",
                file=file,
                place=place,
            )
        if points.shape not in ((3 * joints,), (joints, 3)):
            raise DataError(f"{points.size} numbers for {joints} joints", file=file, place=place)
        points = points.reshape(joints, 3)
        missing = ~np.isfinite(points[:, :2]).all(axis=1)
        if missing.all():
            left_out["results without joints"] += 1
            continue
        if math.isnan(score):
            left_out["results without score"] += 1
            continue
        left_out["joints without number, written as 0, 0"] += int(missing.sum())
        points[missing] = 0
        kept.append(
            {
                "image_id": image,
                "category_id": labels.category,
                "keypoints": points.ravel().tolist(),
                "score": score,
                "number": number,
            }
        )
    return kept, +left_out


def match(
    labels: Labels,
    people: Sequence[dict[str, Any]],
    sigmas: np.ndarray,
    image_ids: Iterable[Any] | None = None,
) -> COCOeval:
    """pycocotools' evaluation of the named pictures (all if None), matched and accumulated.

    people: from `read_results`; those on other pictures are ignored.
    """
    wanted = {image["id"] for image in labels.dataset["images"]}
    if image_ids is not None:
        wanted &= set(image_ids)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(labels.dataset)
        truth.createIndex()
        mine = [dict(person) for person in people if person["image_id"] in wanted]
        if mine:
            found = truth.loadRes(mine)
        else:
            found = COCO()
            found.dataset = truth.dataset | {"annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, iouType="keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.params.imgIds = sorted(wanted)
        evaluation.params.catIds = [labels.category]
        evaluation.params.maxDets = [MAX_PEOPLE]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def statistics(evaluation: COCOeval) -> dict[str, float | None]:
    """The ten numbers of COCO's keypoint table; None if no person of that size is labelled."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    values = [float(value) for value in evaluation.stats]
    return {name: value if value > -1 else None for name, value in zip(STATS, values, strict=True)}


class PictureOks(NamedTuple):
    """results: (D,) positions in the results list, by falling score; labels: (G,) annotation ids;
    oks: (D, G)."""

    results: list[int]
    labels: list[int]
    oks: np.ndarray


def picture_oks(evaluation: COCOeval, image_id: Any) -> PictureOks:
    """OKS of every counted result with every labelled person of a picture."""
    key = (image_id, evaluation.params.catIds[0])
    truth, found = evaluation._gts[key], evaluation._dts[key]
    order = np.argsort([-person["score"] for person in found], kind="mergesort")[:MAX_PEOPLE]
    results = [found[i]["number"] for i in order]
    ids = [person["id"] for person in truth]
    shape = (len(results), len(ids))
    return PictureOks(results, ids, np.asarray(evaluation.ious[key]).reshape(shape))


class _AveragePrecision:
    """AP over all sizes of rows of pictures, for resampling."""

    def __init__(self, evaluation: COCOeval) -> None:
        self.pictures = evaluation.evalImgs[: len(evaluation.params.imgIds)]  # area "all" is first
        self.params = copy.deepcopy(evaluation.params)
        self.params.areaRng, self.params.areaRngLbl = [self.params.areaRng[0]], ["all"]

    def __call__(self, rows: np.ndarray) -> float:
        resampled = COCOeval(iouType="keypoints")
        self.params.imgIds = list(range(len(rows)))
        resampled.params = resampled._paramsEval = self.params
        resampled.evalImgs = [self.pictures[row] for row in rows]
        with contextlib.redirect_stdout(io.StringIO()):
            resampled.accumulate()
        precision = resampled.eval["precision"]
        counted = precision[precision > -1]
        return float(counted.mean()) if counted.size else math.nan


def ap_interval(evaluation: COCOeval, **options: Any) -> Interval:
    """AP with its bootstrap interval over pictures; options of `intervals.bootstrap`."""
    return bootstrap(_AveragePrecision(evaluation), len(evaluation.params.imgIds), **options)


def compare(
    annotations: Annotations,
    first: Results,
    second: Results,
    *,
    skeleton: Skeleton = COCO17,
    split: str | None = None,
    on_bad: str = "raise",
    **options: Any,
) -> PairedInterval:
    """AP of `first` less AP of `second` on the same complete pictures, by paired bootstrap.

    Options of `intervals.paired_bootstrap`: level, samples, seed.
    """
    labels = read_labels(annotations, skeleton, on_bad=on_bad)
    complete, _ = _pictures(labels, split)
    sigmas = metrics.sigmas(skeleton)

    def precision(results: Results) -> _AveragePrecision:
        people, _ = read_results(results, labels, len(skeleton.joints))
        return _AveragePrecision(match(labels, people, sigmas, complete))

    return paired_bootstrap(precision(first), precision(second), len(complete), **options)


def evaluate(
    annotations: Annotations,
    results: Results,
    *,
    skeleton: Skeleton = COCO17,
    split: str | None = None,
    on_bad: str = "raise",
    samples: int = 1000,
    level: float = 0.8,
    seed: int = 0,
) -> dict[str, Any]:
    """The ten numbers over the complete pictures, AP's interval, and the recall on the others.

    annotations: COCO labels, results: a COCO results list (both as a file or as its content), with
    joints in the skeleton's order, whatever the order in the labels; split: only pictures whose
    `split` is this. samples=0 leaves the interval out. Keys: STATS, "interval" {"AP": [low, high]},
    "n" pictures, "n_persons" labelled, "n_ignored", "left_out" pictures that are not complete,
    "left_out_reasons", "split" {name: pictures}, and "incomplete_pictures" {"AR", "AR50", "AR75",
    "n", "n_persons"} or None.
    """
    sigmas, joints = metrics.sigmas(skeleton), len(skeleton.joints)
    labels = read_labels(annotations, skeleton, on_bad=on_bad)
    people, left_out = read_results(results, labels, joints)
    complete, others = _pictures(labels, split)
    used = set(complete) | set(others)
    left_out["results on other pictures"] = sum(p["image_id"] not in used for p in people)
    per_picture = Counter(p["image_id"] for p in people if p["image_id"] in used)
    left_out["results beyond 20 in a picture"] = sum(
        max(n - MAX_PEOPLE, 0) for n in per_picture.values()
    )
    evaluation = match(labels, people, sigmas, complete)
    report: dict[str, Any] = dict(statistics(evaluation))
    if samples and complete and report["AP"] is not None:
        interval = ap_interval(evaluation, samples=samples, level=level, seed=seed)
        report["interval"] = {"AP": [interval.low, interval.high], "level": level}
    counted, ignored = persons(evaluation)
    report |= {"n": len(complete), "n_persons": counted, "n_ignored": ignored}
    report |= {"left_out": len(others), "left_out_reasons": dict(+(left_out + labels.left_out))}
    pictures = [image for image in labels.dataset["images"] if image["id"] in used]
    report["split"] = dict(Counter(str(i["split"]) for i in pictures if "split" in i))
    report["incomplete_pictures"] = None
    if others:
        apart = match(labels, people, sigmas, others)
        recall = {key: value for key, value in statistics(apart).items() if key[:2] == "AR"}
        report["incomplete_pictures"] = {name: recall[name] for name in ("AR", "AR50", "AR75")}
        report["incomplete_pictures"] |= {"n": len(others), "n_persons": persons(apart)[0]}
    return report


def _pictures(labels: Labels, split: str | None) -> tuple[list[Any], list[Any]]:
    """Ids of the complete and of the other pictures of a split (of all if None)."""
    images = labels.dataset["images"]
    if split is not None:
        images = [image for image in images if image.get("split") == split]
        if not images:
            raise DataError(f"no picture is of split {split!r}")
    complete = [image["id"] for image in images if image.get("persons_complete", True)]
    others = [image["id"] for image in images if not image.get("persons_complete", True)]
    return sorted(complete), sorted(others)


def persons(evaluation: COCOeval) -> tuple[int, int]:
    """How many labelled persons count in AP over all sizes, and how many are ignored."""
    pictures = evaluation.evalImgs[: len(evaluation.params.imgIds)]
    flags = [np.asarray(picture["gtIgnore"]) for picture in pictures if picture is not None]
    ignored = np.concatenate([*flags, np.zeros(0)])
    return int((ignored == 0).sum()), int((ignored != 0).sum())
