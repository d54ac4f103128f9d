"""COCO keypoint files: many people a picture, any joints that BODY18 knows by name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bodyjax import skeleton
from bodyjax.data.pictures.labelled import (
    BODY18,
    FilePath,
    Manifest,
    People,
    Pictures,
    decoded_sizes,
    named_part,
    open_files,
)
from bodyjax.errors import DataError

VALID = ("val", "valid")
"""Names of the split for validation."""


def coco(
    path: FilePath, part: str, *, on_bad: str = "raise", check_pictures: bool = False
) -> Pictures:
    """COCO keypoints: a folder with images.zip (or pictures) and annotations.json or one *.json.

    PATH may also be the JSON file itself. Crowds and people without joints become `ignore` boxes;
    `complete` is the picture's `persons_complete` (absent: True); joints that a `source` of
    pictures hardly ever labels are masked for it. A picture's `split` is "train" (or absent),
    "test", or "val" ("valid"); without the last, "valid" is a fixed tenth of the training side, a
    third where that has fewer than 1,000 pictures. A file with other splits is read as a whole
    only: parts other than "all" raise DataError. There all but "train" are held out.
    Boxes that reach over the picture's edge stay as they are: hidden parts have boxes too.
    Categories without joints are passed over.
    Unknown categories, missing pictures, wrong joint counts, invalid numbers and boxes
    wholly outside the picture raise DataError or, with on_bad="skip", leave the picture out,
    counted and named; annotations that belong to no picture do so, too. `check_pictures` decodes
    every picture once while the manifest is made; else a broken one raises when it is read.
    """
    file = coco_file(Path(path))
    images, of_picture, categories, astray = read_coco(file)
    names = [str(image["file_name"]) for image in images]
    order = {key: category.get("keypoints") for key, category in categories.items()}
    joints = {key: _coco_skeleton(called, file) for key, called in order.items() if called}
    if not joints:
        raise DataError("no category has keypoints", file=file, hint="give a keypoint file")
    splits = splits_of(images)
    strange = sorted(set(splits) - {"train", "test", *VALID})
    if strange and part != "all":
        hint = 'the splits "train", "val" and "test" alone make parts; read all pictures instead'
        raise DataError(f"no split {strange[0]!r}", file=file, hint=hint)
    fixed = ("train",) if part == "all" else ("train", *VALID)
    heldout_all = np.array([split not in fixed for split in splits], bool)
    valid = np.array([split in VALID for split in splits], bool)
    wanted = np.flatnonzero(named_part(part, names, heldout_all, valid))
    files = open_files(file.parent)
    manifest = Manifest(file, on_bad)
    for place, reason in astray:
        manifest.bad(place, reason)
    decoded = decoded_sizes(files, [names[row] for row in wanted]) if check_pictures else {}
    rows, labels = [], []
    for row in wanted:
        reason = "" if names[row] in files else "no such picture"
        reason = reason or _picture_fault(images[row], decoded.get(names[row]))
        mine = [] if reason else of_picture.get(images[row]["id"], [])
        reason = reason or _coco_fault(mine, images[row], order, joints)
        if reason:
            manifest.bad(names[row], reason)
        else:
            rows.append(row)
            labels.append(_coco_people(mine, joints, bool(images[row].get("persons_complete", 1))))
    labels = _mask_untaught(labels, [str(images[row].get("source", "")) for row in rows])
    try:
        ids = np.array([int(images[row]["id"]) for row in rows], np.int64)
    except (ValueError, OverflowError):
        ids = np.arange(len(rows), dtype=np.int64)
    return manifest.source(files, [names[row] for row in rows], ids, labels, heldout_all[rows])


class CocoFile(NamedTuple):
    """The content of a keypoint file: its pictures, the annotations by picture id, the categories
    by id, and (place, reason) of annotations that belong to no picture."""

    images: list[dict[str, Any]]
    annotations: dict[Any, list[dict[str, Any]]]
    categories: dict[Any, dict[str, Any]]
    astray: list[tuple[str, str]]


def splits_of(images: list[dict[str, Any]]) -> list[str]:
    """The `split` of each picture, "train" where it has none."""
    return [str(image.get("split", "train")) for image in images]


def read_coco(file: Path) -> CocoFile:
    """Reads a keypoint file; DataError where it is not one."""
    try:
        content = json.loads(file.read_text())
        images = [dict(image) for image in content["images"]]
        categories = {category["id"]: dict(category) for category in content["categories"]}
        annotations = list(content["annotations"])
        listed = {image["id"]: image["file_name"] for image in images}
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", file=file) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a COCO keypoint file ({structure(error)})", file=file) from None
    if len(listed) < len(images):
        twice, _ = Counter(image["id"] for image in images).most_common(1)[0]
        raise DataError(f"picture id {twice!r} is listed more than once", file=file)
    of_picture: dict[Any, list[dict[str, Any]]] = {}
    astray = {}
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            astray[f"annotation {number}"] = "an annotation is not an object"
            continue
        key = annotation.get("image_id")
        if is_id(key) and key in listed:
            of_picture.setdefault(key, []).append(annotation)
        else:
            astray[f"annotations of picture {key}"] = "the picture is not listed"
    return CocoFile(images, of_picture, categories, sorted(astray.items()))


def structure(error: Exception) -> str:
    """What a COCO file lacks, by the error that reading it gave."""
    if isinstance(error, KeyError):
        return f"there is no {error}"
    if isinstance(error, TypeError):  # another type where a list or an object should be
        return "images, annotations and categories are not lists of objects"
    return f"not JSON: {error}"


def is_id(value: Any) -> bool:
    """Whether a JSON value can be the id of a picture: a number or a text."""
    return isinstance(value, int | float | str)


def numbers(values: Any) -> np.ndarray | None:
    """JSON numbers, one or (nested) lists of them, as float64; None where anything else is among
    them, such as a text that looks like a number."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "iuf" else None


def coco_file(path: Path) -> Path:
    """The keypoint file of a set: `path` itself, its annotations.json, or the one *.json in it.

    DataError where there is none, or several without an annotations.json.
    """
    if path.is_file():
        return path
    if (path / "annotations.json").is_file():
        return path / "annotations.json"
    found = sorted(path.glob("*.json")) if path.is_dir() else []
    if len(found) != 1:
        raise DataError(f"{len(found)} .json files", file=path, hint="want one, or name it")
    return found[0]


def _coco_skeleton(names: Any, file: Path) -> skeleton.Skeleton:
    known = skeleton.get("coco17")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError("keypoints is not a list of names", file=file, place="categories")
    if len(set(names)) < len(names):
        raise DataError("a joint is named twice", file=file, place="categories")
    if tuple(names) == known.joints:
        return known
    strange = sorted(set(names) - set(BODY18.joints))
    if strange:
        raise DataError(f"unknown joints {', '.join(strange)}", file=file, place="categories")
    return skeleton.Skeleton("custom", tuple(names), (), (), None, {})


def _picture_fault(image: dict, decoded: tuple[int, int] | str | None) -> str:
    """What is wrong with a picture, or ""; `decoded`: its width and height, or why it has none."""
    if isinstance(decoded, str):
        return decoded
    if not is_id(image["id"]):
        return "invalid picture id"
    said = [numbers(image[name]) for name in ("width", "height") if name in image]
    if any(side is None or side.shape != () or not side > 0 for side in said):
        return "invalid width or height"
    if decoded is None:
        return ""
    width, height = decoded
    same = (image.get("width", width), image.get("height", height)) == decoded
    return "" if same else f"is {width} x {height}, not as the file says"


def _coco_fault(annotations: list[dict], image: dict, order: dict, joints: dict) -> str:
    """What is wrong with the labels of one picture, or ""."""
    for annotation in annotations:
        category = annotation.get("category_id")
        if not isinstance(category, Hashable) or category not in order:
            return f"unknown category {category!r}"
        if category not in joints:
            continue
        if annotation.get("iscrowd") not in (None, 0, 1):
            return "iscrowd other than 0, 1"
        box = numbers(annotation.get("bbox"))
        if box is None or box.shape != (4,) or not np.isfinite(box).all() or (box[2:] <= 0).any():
            return "invalid bounding box"
        edge = (image.get("width", np.inf), image.get("height", np.inf))
        if (box[:2] >= edge).any() or (box[:2] + box[2:] <= 0).any():
            return "a box outside the picture"
        values = annotation.get("keypoints")
        if values is None and not annotation.get("num_keypoints"):
            continue
        count = len(joints[category].joints)
        points = numbers(values)
        if points is None:
            return "joints that are not numbers"
        if points.shape != (3 * count,):
            return f"{points.size} joint values instead of {3 * count}"
        if not np.isfinite(points).all():
            return "joints that are not numbers"
        if not np.isin(points[2::3], (0, 1, 2)).all():
            return "a joint flag other than 0, 1, 2"
    return ""


def _coco_people(annotations: list[dict], joints: dict, complete: bool) -> People:
    boxes: list[list[float]] = []
    ignore: list[list[float]] = []
    xy, visible = [np.zeros((0, 18, 2), np.float32)], [np.zeros((0, 18), np.uint8)]
    for category, mine in joints.items():
        points = []
        for annotation in annotations:
            if annotation["category_id"] != category:
                continue
            x, y, width, height = annotation["bbox"]
            values = np.asarray(annotation.get("keypoints") or (), np.float32).reshape(-1, 3)
            if annotation.get("iscrowd") or not (values[:, 2] > 0).any():
                ignore.append([x, y, x + width, y + height])
            else:
                boxes.append([x, y, x + width, y + height])
                points.append(values)
        if points:
            every = np.stack(points)
            flags = every[..., 2].astype(np.uint8)
            body, seen = skeleton.convert(every[..., :2], flags, mine, BODY18)
            xy.append(body)
            visible.append(seen)
    return People(
        np.concatenate(xy),
        np.concatenate(visible),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(ignore, np.float32).reshape(-1, 4),
        np.ones(18, bool),
        complete,
    )


def _mask_untaught(labels: list[People], sources: list[str], share: float = 0.05) -> list[People]:
    """Mask the joints that fewer than `share` of a source's people have: it does not label them."""
    masks = {}
    for source in sorted(set(sources)):
        mine = [people for people, s in zip(labels, sources, strict=True) if s == source]
        have = np.concatenate([people.visible for people in mine]) > 0
        masks[source] = have.mean(0) >= share if len(have) else np.ones(18, bool)
    return [
        replace(people, joint_mask=masks[source])
        for people, source in zip(labels, sources, strict=True)
    ]
