"""Person keypoints in COCO's format as pycocotools needs them, for bodyjax.evaluate.coco_ap.

The rules for files and labels: bodyjax.data.pictures.coco_files and coco_persons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from bodyjax.data.pictures.coco_files import (
    NO_OBJECT,
    CocoFile,
    is_listed,
    misplaced,
    picture_faults,
    read_coco,
)
from bodyjax.data.pictures.coco_keypoints import category_skeleton
from bodyjax.data.pictures.coco_persons import Label, read_label, unknown_category
from bodyjax.errors import DataError
from bodyjax.skeleton import COCO17, Skeleton

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
    pictures without an id of their own and labels without a listed picture or category raise, or
    are counted and left out. What a label lacks is taken from its joints and counted
    (coco_persons.read_label). The caller's dictionaries are not changed.
    """
    content = read_coco(annotations)
    categories, order = _persons(content, skeleton)
    left_out: Counter[str] = Counter()
    images = []
    for image, fault in zip(content.images, picture_faults(content.images), strict=True):
        if not fault:
            images.append(image)
        elif on_bad != "skip":
            raise DataError(fault, file=content.file, hint=SKIP)
        else:
            what = "with an id of several" if is_listed(image) else "without an id"
            left_out[f"pictures {what}"] += 1
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
        label = read_label(person, len(order), known[person["image_id"]])
        if label.fault and on_bad != "skip":
            raise DataError(label.fault, file=content.file, place=place, hint=SKIP)
        left_out["persons with broken labels, ignored"] += bool(label.fault)
        left_out.update(label.repaired)
        kept.append(_clean(person, label, order) | {"category_id": categories[0]})
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


def _clean(person: Mapping[str, Any], label: Label, order: list[int]) -> dict[str, Any]:
    """The label of a person as pycocotools needs it, its joints in this order; a faulty one has no
    labelled joints, so detections of it are ignored."""
    points = np.zeros((len(order), 3))
    if not label.fault and len(label.points):
        points = label.points[order]
    return dict(person) | {
        "keypoints": points.ravel().tolist(),
        "num_keypoints": int((points[:, 2] > 0).sum()),
        "bbox": label.box.tolist(),
        "area": label.area,
        "iscrowd": 0 if label.fault else int(label.crowd),
    }
