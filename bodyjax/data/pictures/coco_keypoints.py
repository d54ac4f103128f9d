"""COCO keypoint files: many people (or animals, or hands) per picture, with joints of any names.

This module holds the rules for files, labels and boxes; evaluation (evaluate.coco_labels) uses the
same ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bodyjax import skeleton
from bodyjax.data.pictures.labelled import (
    FilePath,
    Manifest,
    People,
    Pictures,
    decoded_sizes,
    named_part,
    open_files,
)
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import SKELETONS, Skeleton

VALID = ("val", "valid")
"""Names of the validation split."""
NO_OBJECT = "an annotation is not an object"
NOT_LISTED = "the picture is not listed"


def coco(
    path: FilePath, part: str, *, on_bad: str = "raise", check_pictures: bool = False
) -> Pictures:
    """COCO keypoints: a folder with images.zip (or pictures) and annotations.json or one *.json.

    PATH may also be the JSON file itself. The skeleton is what the category says in `keypoints`,
    `skeleton` (pairs of joint numbers from 1 on) and `sigmas` (of OKS, our own addition), or one of
    bodyjax's own skeletons if the joints match it. Joints with the same name in several categories
    are the same. Crowds and people without joints become `ignore` boxes; `complete` is the
    picture's `persons_complete` (absent: True); joints that a `source` of pictures hardly ever
    labels are masked for it. A picture's `split` is "train" (or absent), "test", or "val"
    ("valid"); without the last, "valid" is a fixed tenth of the training side, or a third if that
    has fewer than 1,000 pictures. A file with other splits can only be read as a whole: parts other
    than "all" raise DataError. In it, everything but "train" is held out. Boxes that reach over the
    picture's edge stay as they are: hidden parts have boxes too. Categories without joints are
    skipped. Unknown categories, missing pictures, wrong joint counts, invalid numbers and boxes
    wholly outside the picture raise DataError or, with on_bad="skip", leave the picture out,
    counted and named; so do annotations that belong to no picture. `check_pictures` decodes every
    picture once while the manifest is made; otherwise a broken one raises when it is read.
    """
    file = coco_file(Path(path))
    content = read_coco(file)
    images = content.images
    if any("file_name" not in image for image in images):
        raise DataError("not a COCO keypoint file (there is no 'file_name')", file=file)
    names = [str(image["file_name"]) for image in images]
    joints = joints_of(content)
    bones = joined(list(joints.values()))
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
    of_picture, astray = content.by_picture()
    for place, reason in astray:
        manifest.bad(place, reason)
    decoded = decoded_sizes(files, [names[row] for row in wanted]) if check_pictures else {}
    rows, labels = [], []
    for row in wanted:
        reason = "" if names[row] in files else "no such picture"
        reason = reason or _picture_fault(images[row], decoded.get(names[row]))
        mine = [] if reason else of_picture.get(images[row]["id"], [])
        reason = reason or _labels_fault(mine, images[row], content.categories, joints)
        if reason:
            manifest.bad(names[row], reason)
        else:
            rows.append(row)
            complete = bool(images[row].get("persons_complete", 1))
            labels.append(_people(mine, joints, bones, complete))
    labels = _mask_untaught(labels, [str(images[row].get("source", "")) for row in rows])
    try:
        ids = np.array([int(images[row]["id"]) for row in rows], np.int64)
    except (ValueError, OverflowError):
        ids = np.arange(len(rows), dtype=np.int64)
    there = [names[row] for row in rows]
    return manifest.source(files, there, ids, labels, heldout_all[rows], bones)


class CocoFile(NamedTuple):
    """The content of a keypoint file: its pictures, its annotations in their order (unchecked), and
    the categories by id; file: its name, None for content without one."""

    images: list[dict[str, Any]]
    annotations: list[Any]
    categories: dict[Any, dict[str, Any]]
    file: str | None

    def by_picture(self) -> tuple[dict[Any, list[dict[str, Any]]], list[tuple[str, str]]]:
        """The annotations by picture id, and (place, reason) of those that belong to no picture."""
        known = {image["id"] for image in self.images}
        of_picture: dict[Any, list[dict[str, Any]]] = {}
        astray = {}
        for number, annotation in enumerate(self.annotations):
            reason = misplaced(annotation, known)
            if reason == NO_OBJECT:
                astray[f"annotation {number}"] = reason
            elif reason:
                astray[f"annotations of picture {annotation.get('image_id')}"] = reason
            else:
                of_picture.setdefault(annotation["image_id"], []).append(annotation)
        return of_picture, sorted(astray.items())


def splits_of(images: list[dict[str, Any]]) -> list[str]:
    """The `split` of each picture, "train" if it has none."""
    return [str(image.get("split", "train")) for image in images]


def read_json(source: Any) -> tuple[Any, str | None]:
    """The content of a JSON file, or the given content, and the file's name."""
    if not isinstance(source, str | PathLike):
        return source, None
    try:
        return json.loads(Path(source).read_text()), str(source)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error  # not the file's name twice
        raise DataError(f"can't be read as JSON ({what})", file=source) from None


def read_coco(source: FilePath | Mapping[str, Any]) -> CocoFile:
    """Reads a keypoint file, or takes its content; DataError if it is not one."""
    content, file = read_json(source)
    try:
        images = [dict(image) for image in content["images"]]
        categories = {category["id"]: dict(category) for category in content["categories"]}
        annotations = list(content["annotations"])
        listed = Counter(image["id"] for image in images)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a COCO keypoint file ({structure(error)})", file=file) from None
    if len(listed) < len(images):
        twice, _ = listed.most_common(1)[0]
        raise DataError(f"picture id {twice!r} is listed more than once", file=file)
    return CocoFile(images, annotations, categories, file)


def structure(error: Exception) -> str:
    """What a COCO file lacks, from the error in reading it."""
    if isinstance(error, KeyError):
        return f"there is no {error}"
    return "images, annotations and categories are not lists of objects"


def is_id(value: Any) -> bool:
    """Whether a JSON value can be the id of a picture: a number or a text."""
    return isinstance(value, int | float | str)


def numbers(values: Any) -> np.ndarray | None:
    """JSON numbers, one or (nested) lists of them, as float64; None if anything else is among them,
    such as a text that looks like a number."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "iuf" else None


def coco_file(path: Path) -> Path:
    """The keypoint file of a set: `path` itself, its annotations.json, or the one *.json in it that
    is not hidden.

    DataError if there is none, or several without an annotations.json.
    """
    if path.is_file():
        return path
    if (path / "annotations.json").is_file():
        return path / "annotations.json"
    found = sorted(path.glob("[!.]*.json")) if path.is_dir() else []
    if len(found) != 1:
        raise DataError(f"{len(found)} .json files", file=path, hint="want one, or name it")
    return found[0]


# ---- skeletons ----


def joints_of(content: CocoFile) -> dict[Any, Skeleton]:
    """The skeleton of each category that has keypoints; DataError if no category has any, or if
    they are not a skeleton."""
    found = {
        key: category_skeleton(category, content.file)
        for key, category in content.categories.items()
        if category.get("keypoints")
    }
    if not found:
        hint = "give a keypoint file"
        raise DataError("no category has keypoints", file=content.file, hint=hint)
    return found


def category_skeleton(category: Mapping[str, Any], file: str | None) -> Skeleton:
    """The skeleton in a category's `keypoints`, `skeleton` and `sigmas`, or the one that bodyjax
    knows with the same joints in the same order."""
    names, place = category["keypoints"], f"categories, {category.get('name', category['id'])}"
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise DataError("keypoints is not a list of names", file=file, place=place)
    pairs = numbers(category.get("skeleton") or np.zeros((0, 2)))
    if pairs is None or pairs.shape != (len(pairs), 2) or not _are_joints(pairs, len(names)):
        what = f"skeleton is not a list of pairs of joint numbers from 1 to {len(names)}"
        raise DataError(what, file=file, place=place)
    try:
        known = [bones for bones in SKELETONS.values() if bones.joints == tuple(names)]
        limbs = [(names[a], names[b]) for a, b in pairs.astype(int) - 1]
        made = known[0] if known else skeleton.make(str(category.get("name", "own")), names, limbs)
        sigmas = category.get("sigmas")
        return made if sigmas is None else skeleton.with_sigmas(made, sigmas)
    except (ConfigError, TypeError) as error:
        what = error.message if isinstance(error, ConfigError) else "sigmas is not a list"
        raise DataError(what, file=file, place=place) from None


def _are_joints(pairs: np.ndarray, count: int) -> bool:
    return bool(((pairs >= 1) & (pairs <= count) & (pairs == np.round(pairs))).all())


def joined(parts: Sequence[Skeleton]) -> Skeleton:
    """One skeleton of all joints and limbs; the first if all have the same joints."""
    if all(part.joints == parts[0].joints for part in parts):
        return parts[0]
    joints = tuple(dict.fromkeys(joint for part in parts for joint in part.joints))
    limbs = dict.fromkeys((p.joints[a], p.joints[b]) for p in parts for a, b in p.limbs)
    name = "+".join(dict.fromkeys(part.name for part in parts))
    known = [bones for bones in SKELETONS.values() if bones.joints == joints]
    return known[0] if known else skeleton.make(name, joints, list(limbs))


# ---- faults ----


def misplaced(annotation: Any, known: set[Any]) -> str:
    """Why an annotation belongs to none of the pictures whose ids are `known`, or ""."""
    if not isinstance(annotation, Mapping):
        return NO_OBJECT
    image = annotation.get("image_id")
    return "" if is_id(image) and image in known else NOT_LISTED


def unknown_category(annotation: Mapping[str, Any], categories: Mapping[Any, Any]) -> str:
    """Why an annotation is of no category, or ""."""
    category = annotation.get("category_id")
    there = isinstance(category, Hashable) and category in categories
    return "" if there else f"unknown category {category!r}"


def label_fault(annotation: Mapping[str, Any], joints: int, image: Mapping[str, Any]) -> str:
    """What is wrong with the label of a person with this many joints in a picture, or ""."""
    if annotation.get("iscrowd") not in (None, 0, 1):
        return "iscrowd other than 0, 1"
    box = numbers(annotation.get("bbox"))
    if box is None or box.shape != (4,) or not np.isfinite(box).all() or (box[2:] <= 0).any():
        return "invalid bounding box"
    edge = (image.get("width", np.inf), image.get("height", np.inf))
    if (box[:2] >= edge).any() or (box[:2] + box[2:] <= 0).any():
        return "a box outside the picture"
    values = annotation.get("keypoints")
    if values in (None, []) and not annotation.get("num_keypoints"):
        return ""
    points = numbers(values)
    if points is None:
        return "joints that are not numbers"
    if points.shape != (3 * joints,):
        return f"{points.size} joint values instead of {3 * joints}"
    if not np.isfinite(points).all():
        return "joints that are not numbers"
    if not np.isin(points[2::3], (0, 1, 2)).all():
        return "a joint flag other than 0, 1, 2"
    return ""


def _picture_fault(image: dict[str, Any], decoded: tuple[int, int] | str | None) -> str:
    """What is wrong with a picture, or ""; `decoded`: its width and height, or why they are
    unknown."""
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


def _labels_fault(
    annotations: list[dict[str, Any]],
    image: dict[str, Any],
    categories: dict[str, Any],
    joints: dict[Any, Skeleton],
) -> str:
    """What is wrong with the labels of one picture, or ""."""
    for annotation in annotations:
        fault = unknown_category(annotation, categories)
        if not fault and annotation["category_id"] in joints:
            fault = label_fault(annotation, len(joints[annotation["category_id"]].joints), image)
        if fault:
            return fault
    return ""


def _people(
    annotations: list[dict[str, Any]], joints: dict[Any, Skeleton], bones: Skeleton, complete: bool
) -> People:
    """The labels of one picture in the joints of `bones`."""
    boxes: list[list[float]] = []
    ignore: list[list[float]] = []
    count = len(bones.joints)
    xy, visible = [np.zeros((0, count, 2), np.float32)], [np.zeros((0, count), np.uint8)]
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
            places, seen = skeleton.convert(every[..., :2], flags, mine, bones)
            xy.append(places)
            visible.append(seen)
    return People(
        np.concatenate(xy),
        np.concatenate(visible),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(ignore, np.float32).reshape(-1, 4),
        np.ones(count, bool),
        complete,
    )


def _mask_untaught(labels: list[People], sources: list[str], share: float = 0.05) -> list[People]:
    """Mask the joints that fewer than `share` of a source's people have: it does not label them."""
    masks = {}
    for source in sorted(set(sources)):
        mine = [people for people, s in zip(labels, sources, strict=True) if s == source]
        have = np.concatenate([people.visible for people in mine]) > 0
        masks[source] = have.mean(0) >= share if len(have) else np.ones(have.shape[1], bool)
    return [
        replace(people, joint_mask=masks[source])
        for people, source in zip(labels, sources, strict=True)
    ]
