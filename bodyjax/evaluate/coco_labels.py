"""Person keypoints in COCO's format as pycocotools needs them, for bodyjax.evaluate.coco_ap.

The rules for files and labels: bodyjax.data.pictures.coco_keypoints.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from bodyjax.data.pictures.coco_keypoints import (
    NO_OBJECT,
    CocoFile,
    category_skeleton,
    is_id,
    label_fault,
    misplaced,
    numbers,
    read_coco,
    unknown_category,
)
from bodyjax.errors import DataError
from bodyjax.skeleton import AREA_OF_BOX, COCO17, Skeleton

SKIP = 'on_bad="skip" leaves it out'

Annotations = str | PathLike[str] | Mapping[str, Any]


class Labels(NamedTuple):
    """Checked COCO labels: a dataset for pycocotools, the person category, what was repaired."""

    dataset: dict[str, Any]
    category: Any
    left_out: Counter[str]


def read_labels(
    annotations: Annotations, skeleton: Skeleton = COCO17, *, on_bad: str = "raise"
) -> Labels:
    """Reads person keypoints in COCO's format and checks them.

    Joints are identified by the category's names and put into the skeleton's order; a category
    without names is already in that order. DataError if the names differ. Categories with the same
    joints (species) count as one. A person whose label can't be used raises DataError, or with
    on_bad="skip" counts as a person without labelled joints (detections of it are ignored);
    pictures without an id and labels without a listed picture or category raise, or are counted and
    left out. A missing `area` is AREA_OF_BOX x box. The caller's dictionaries are not changed.
    """
    content = read_coco(annotations)
    categories, order = _persons(content, skeleton)
    left_out: Counter[str] = Counter()
    images = [image for image in content.images if is_id(image["id"])]
    if len(images) < len(content.images):
        if on_bad != "skip":
            raise DataError("invalid picture id", file=content.file, hint=SKIP)
        left_out["pictures without an id"] = len(content.images) - len(images)
    known = {image["id"]: image for image in images}
    if len({isinstance(key, str) for key in known}) > 1:
        what, hint = "picture ids are numbers and texts", "use one kind"
        raise DataError(what, file=content.file, hint=hint)
    kept = []
    for number, person in enumerate(content.annotations):
        fault = misplaced(person, set(known)) or unknown_category(person, content.categories)
        place = f"annotation {number if fault == NO_OBJECT else person.get('id', number)}"
        if fault:
            if on_bad != "skip":
                raise DataError(fault, file=content.file, place=place, hint=SKIP)
            left_out["labels without a listed picture or category"] += 1
            continue
        if person["category_id"] not in categories:
            left_out["labels of other categories"] += 1
            continue
        fault, clean = _clean_person(person, order, known[person["image_id"]])
        if fault and on_bad != "skip":
            raise DataError(fault, file=content.file, place=place, hint=SKIP)
        left_out["persons with broken labels, ignored"] += bool(fault)
        kept.append(clean | {"category_id": categories[0]})
    ids = [person.get("id") for person in kept]
    # pycocotools takes the id 0 for "no match".
    if len(set(ids)) < len(ids) or not all(isinstance(i, int) and i > 0 for i in ids):
        kept = [person | {"id": number} for number, person in enumerate(kept, start=1)]
    category = {"id": categories[0], "name": "person", "keypoints": list(skeleton.joints)}
    dataset = {"info": {}, "images": images, "annotations": kept, "categories": [category]}
    return Labels(dataset, categories[0], +left_out)


def _persons(content: CocoFile, skeleton: Skeleton) -> tuple[list[Any], list[int]]:
    """The ids of the categories that have joints, all the same ones, and where these have each
    joint of the skeleton."""
    categories, file = content.categories, content.file
    with_joints = [key for key, category in categories.items() if category.get("keypoints")]
    named = [key for key, category in categories.items() if category.get("name") == "person"]
    bones = [category_skeleton(categories[key], file) for key in with_joints]
    if len({one.joints for one in bones}) > 1 or (not bones and len(named) != 1):
        count = len(bones) or len(named)
        raise DataError(f"{count} categories with keypoints, not one", file=file)
    if not bones:
        return named, list(range(len(skeleton.joints)))
    joints, place = bones[0].joints, f"category {with_joints[0]}"
    if len(joints) != len(skeleton.joints):
        raise DataError(
            f"people have {len(joints)} joints, {skeleton.name} has {len(skeleton.joints)}",
            file=file,
            place=place,
        )
    if missing := [joint for joint in skeleton.joints if joint not in joints]:
        raise DataError(f"no joint is called {', '.join(missing)}", file=file, place=place)
    return with_joints, [joints.index(joint) for joint in skeleton.joints]


def _clean_person(
    person: Mapping[str, Any], order: list[int], image: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """What is wrong with a person's label, or "", and the label as pycocotools needs it, its joints
    in this order."""
    fault = label_fault(person, len(order), image)
    area, count = numbers(person.get("area", math.nan)), numbers(person.get("num_keypoints") or 0)
    if not fault and (area is None or area.shape or count is None or count.shape):
        fault = "area or num_keypoints is not a number"
    box = numbers(person.get("bbox"))
    if box is None or box.shape != (4,) or not np.isfinite(box).all():
        box = np.zeros(4)
    if area is None or area.shape or not np.isfinite(area):
        area = AREA_OF_BOX * box[2] * box[3]
    points = np.zeros(3 * len(order))
    if not fault and person.get("keypoints"):
        points = np.asarray(person["keypoints"], np.float64)
    clean = dict(person)
    clean["keypoints"] = points.reshape(-1, 3)[order].ravel().tolist()
    clean["bbox"], clean["area"] = box.tolist(), float(area)
    clean["iscrowd"] = 0 if fault else int(person.get("iscrowd") or 0)
    if fault or person.get("num_keypoints") is None:
        clean["num_keypoints"] = int((points[2::3] > 0).sum())
    return fault, clean
