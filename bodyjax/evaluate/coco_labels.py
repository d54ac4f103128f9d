"""Person keypoints in COCO's format, read and checked for bodyjax.evaluate.coco_ap."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bodyjax.data.pictures.coco_keypoints import is_id, numbers, structure
from bodyjax.errors import DataError
from bodyjax.skeleton import AREA_OF_BOX, COCO17, Skeleton

SKIP = 'on_bad="skip" leaves it out'
NO_OBJECT = "an annotation is not an object"

Annotations = str | PathLike[str] | Mapping[str, Any]


class Labels(NamedTuple):
    """Checked COCO labels: a dataset for pycocotools, the person category, what was mended."""

    dataset: dict[str, Any]
    category: Any
    left_out: Counter[str]


def read_labels(
    annotations: Annotations, skeleton: Skeleton = COCO17, *, on_bad: str = "raise"
) -> Labels:
    """Reads person keypoints in COCO's format and checks them.

    Joints are taken by the names that the category gives them and put into the skeleton's order; a
    category without names is in that order already. DataError where the names are others.
    A person with a wrong number of joints or an invalid number raises DataError, or with
    on_bad="skip" counts as a person without labelled joints (detections of it are ignored);
    pictures without an id and labels without a listed picture or category raise, or are counted
    and left out. A missing `area` is AREA_OF_BOX x box. The caller's dictionaries are not changed.
    """
    content, file = read_json(annotations)
    try:
        images, people = [dict(image) for image in content["images"]], list(content["annotations"])
        categories = {category["id"]: category for category in content["categories"]}
        ids = [image["id"] for image in images]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"not a COCO keypoint file ({structure(error)})", file=file) from None
    category, order = _person(categories, skeleton, file)
    left_out: Counter[str] = Counter()
    if not all(is_id(key) for key in ids):
        if on_bad != "skip":
            raise DataError("invalid picture id", file=file, hint=SKIP)
        images = [image for image in images if is_id(image["id"])]
        left_out["pictures without an id"] = len(ids) - len(images)
    known = {image["id"] for image in images}
    if len({isinstance(key, str) for key in known}) > 1:
        raise DataError("picture ids are numbers and texts", file=file, hint="use one kind")
    kept = []
    for number, person in enumerate(people):
        fault = _misplaced(person, known, categories)
        place = f"annotation {number if fault == NO_OBJECT else person.get('id', number)}"
        if fault:
            if on_bad != "skip":
                raise DataError(fault, file=file, place=place, hint=SKIP)
            left_out["labels without a listed picture or category"] += 1
            continue
        if person["category_id"] != category:
            left_out["labels of other categories"] += 1
            continue
        fault, clean = _clean_person(person, order)
        if fault and on_bad != "skip":
            raise DataError(fault, file=file, place=place, hint=SKIP)
        left_out["persons with broken labels, ignored"] += bool(fault)
        kept.append(clean)
    ids = [person.get("id") for person in kept]
    # pycocotools takes the id 0 for "no match".
    if len(set(ids)) < len(ids) or not all(isinstance(i, int) and i > 0 for i in ids):
        kept = [person | {"id": number} for number, person in enumerate(kept, start=1)]
    dataset = {
        "info": {},
        "images": images,
        "annotations": kept,
        "categories": [{"id": category, "name": "person", "keypoints": list(skeleton.joints)}],
    }
    return Labels(dataset, category, +left_out)


def read_json(source: Any) -> tuple[Any, str | None]:
    """The content of a JSON file, or what was given, and the file's name."""
    if not isinstance(source, str | PathLike):
        return source, None
    try:
        return json.loads(Path(source).read_text()), str(source)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error  # not the file's name twice
        raise DataError(f"can't be read as JSON ({what})", file=source) from None


def _misplaced(person: Any, known: set[Any], categories: Mapping[Any, Any]) -> str:
    """Why a label belongs to no picture or category, or ""."""
    if not isinstance(person, Mapping):
        return NO_OBJECT
    image, category = person.get("image_id"), person.get("category_id")
    if not isinstance(image, Hashable) or image not in known:
        return f"picture {image!r} is not listed"
    if not isinstance(category, Hashable) or category not in categories:
        return f"unknown category {category!r}"
    return ""


def _person(
    categories: dict[Any, dict[str, Any]], skeleton: Skeleton, file: str | None
) -> tuple[Any, list[int]]:
    """The id of the one category that has joints, and where it has each joint of the skeleton."""
    with_joints = [key for key, category in categories.items() if category.get("keypoints")]
    named = [key for key, category in categories.items() if category.get("name") == "person"]
    found = with_joints or named
    if len(found) != 1:
        raise DataError(f"{len(found)} categories with keypoints, not one", file=file)
    joints, place = categories[found[0]].get("keypoints"), f"category {found[0]}"
    if not joints:
        return found[0], list(range(len(skeleton.joints)))
    if not isinstance(joints, list | tuple):
        raise DataError("keypoints is not a list of names", file=file, place=place)
    if len(joints) != len(skeleton.joints):
        raise DataError(
            f"people have {len(joints)} joints, {skeleton.name} has {len(skeleton.joints)}",
            file=file,
            place=place,
        )
    if missing := [joint for joint in skeleton.joints if joint not in joints]:
        raise DataError(f"no joint is called {', '.join(missing)}", file=file, place=place)
    return found[0], [joints.index(joint) for joint in skeleton.joints]


def _clean_person(person: Mapping[str, Any], order: list[int]) -> tuple[str, dict[str, Any]]:
    """What is wrong with a person's label, or "", and the label as pycocotools needs it, its joints
    in this order."""
    defaults: dict[str, Any] = {
        "keypoints": [0.0] * 3 * len(order),
        "bbox": [0.0] * 4,
        "area": math.nan,
        "num_keypoints": 0,
    }
    given = {
        name: numbers(default if person.get(name) in (None, []) else person[name])
        for name, default in defaults.items()
    }
    fault = _person_fault(given, len(order))
    if not fault and person.get("iscrowd") not in (None, 0, 1):
        fault = "iscrowd other than 0, 1"
    points, box, area, _ = given.values()
    if fault or points is None:
        points = np.zeros(3 * len(order))
    if box is None or box.shape != (4,) or not np.isfinite(box).all():
        box = np.zeros(4)
    if area is None or area.shape or not np.isfinite(area):
        area = AREA_OF_BOX * box[2] * box[3]
    clean = dict(person)
    clean["keypoints"] = points.reshape(-1, 3)[order].ravel().tolist()
    clean["bbox"], clean["area"] = box.tolist(), float(area)
    clean["iscrowd"] = 0 if fault else int(person.get("iscrowd") or 0)
    if fault or person.get("num_keypoints") is None:
        clean["num_keypoints"] = int((points[2::3] > 0).sum())
    return fault, clean


def _person_fault(given: Mapping[str, np.ndarray | None], joints: int) -> str:
    """What is wrong with the numbers of a person's label, or ""."""
    points, box, area, count = given.values()
    if points is None or box is None:
        return "a coordinate is not a number"
    if points.shape != (3 * joints,):
        return f"{points.size} numbers are not {joints} joints"
    if box.shape != (4,):
        return f"a box of {box.size} numbers"
    if not (np.isfinite(points).all() and np.isfinite(box).all()):
        return "a coordinate is not a number"
    if area is None or area.shape or count is None or count.shape:
        return "area or num_keypoints is not a number"
    return ""
