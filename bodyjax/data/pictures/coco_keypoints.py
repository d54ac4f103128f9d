"""COCO keypoint files: many people (or animals, or hands) per picture, with joints of any names.

The rules for files are those of `coco_files`, the rules for a person's label those of
`coco_persons`; evaluation (evaluate.coco_labels) uses the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import skeleton
from bodyjax.data.opened_once import Notes
from bodyjax.data.pictures.coco_files import (
    CocoFile,
    coco_file,
    located,
    picture_faults,
    pictures_of,
    read_coco,
)
from bodyjax.data.pictures.coco_persons import AREA, Label, numbers, read_label, unknown_category
from bodyjax.data.pictures.labelled import (
    FilePath,
    Manifest,
    People,
    Pictures,
    decoded_sizes,
    named_part,
    size_fault,
)
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import SKELETONS, Skeleton

VALID = ("val", "valid")
"""Names of the validation split."""
OTHER = "labels of categories without joints"


def coco(
    path: FilePath,
    part: str,
    *,
    on_bad: str = "raise",
    check_pictures: bool = False,
    notes: Notes | None = None,
) -> Pictures:
    """COCO keypoints: a folder with images.zip (or pictures) and annotations.json or one *.json, or
    COCO's official layout as it is unpacked (annotations/person_keypoints_val2017.json, val2017/).

    PATH may also be the JSON file itself. The skeleton is what the category says in `keypoints`,
    `skeleton` (pairs of joint numbers from 1 on) and `sigmas` (of OKS, our own addition), or one of
    bodyjax's own skeletons if the joints match it. Joints with the same name in several categories
    are the same. Crowds and people without joints become `ignore` boxes; `complete` is the
    picture's `persons_complete` (absent: True); joints that a `source` of pictures hardly ever
    labels are masked for it. A picture's `split` is "train" (or absent), "test", or "val"
    ("valid"); without the last, "valid" is a fixed tenth of the training side, or a third if that
    has fewer than 1,000 pictures. A file with other splits can only be read as a whole: parts other
    than "all" raise DataError. In it, everything but "train" is held out. Boxes that reach over the
    picture's edge stay as they are: hidden parts have boxes too; missing and empty ones are those
    of the joints, and counted. Categories without joints are skipped and counted. Names of
    pictures: `coco_files.located`. Unknown categories, missing pictures, wrong joint counts,
    invalid numbers, ids and pictures that are listed twice, and boxes wholly outside the picture
    raise DataError or, with on_bad="skip", leave the picture out, counted and named; so do
    annotations that belong to no picture. A picture whose size differs from the width and height
    in the file raises when it is read. `check_pictures` decodes every picture once while the
    manifest is made; otherwise a broken one raises when it is read. notes: pictures that are noted
    there are not decoded again (bodyjax.data.opened_once).
    """
    file = coco_file(Path(path))
    content = read_coco(file)
    images = content.images
    if images and not any("file_name" in image for image in images if isinstance(image, dict)):
        raise DataError("not a COCO keypoint file (there is no 'file_name')", file=file)
    names = picture_names(images)
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
    files = pictures_of(file)
    manifest = Manifest(file, on_bad)
    of_picture, astray = content.by_picture()
    for place, reason in astray:
        manifest.bad(place, reason)
    faults, places = picture_faults(images), located(files, names)
    decoded = {}
    if check_pictures:
        there = [places[row][0] for row in wanted if places[row][0]]
        decoded = decoded_sizes(files, there, notes)
    rows, labels = [], []
    for row in wanted:
        stored, missing = places[row]
        reason = faults[row] or missing or _picture_fault(images[row], decoded.get(stored))
        mine = [] if reason else of_picture.get(images[row]["id"], [])
        reason = reason or _category_fault(mine, content.categories)
        found = [] if reason else _labels(mine, images[row], joints)
        reason = reason or next((label.fault for _, label in found if label.fault), "")
        if reason:
            manifest.bad(names[row], reason)
            continue
        rows.append(row)
        complete = bool(images[row].get("persons_complete", 1))
        labels.append(_people(found, joints, bones, complete))
        for _, label in found:
            manifest.left_out.update(set(label.repaired) - {AREA})  # no area is read here
        manifest.left_out[OTHER] += len(mine) - len(found)
    labels = _mask_untaught(labels, [str(images[row].get("source", "")) for row in rows])
    try:
        ids = np.array([int(images[row]["id"]) for row in rows], np.int64)
    except (ValueError, OverflowError):
        ids = np.arange(len(rows), dtype=np.int64)
    there = [names[row] for row in rows]
    return manifest.source(
        files, there, ids, labels, heldout_all[rows], bones,
        stored=tuple(places[row][0] for row in rows),
        sizes=tuple(_stated_size(images[row]) for row in rows),
    )  # fmt: skip


def picture_names(images: Sequence[Any]) -> list[str]:
    """The `file_name` of each entry of `images`; "" if it has none."""
    return [str(one.get("file_name", "")) if isinstance(one, Mapping) else "" for one in images]


def splits_of(images: Sequence[Any]) -> list[str]:
    """The `split` of each picture, "train" if it has none."""
    return [str(one.get("split", "train")) if isinstance(one, Mapping) else "train"
            for one in images]  # fmt: skip


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
    if pairs is None or pairs.shape[1:] != (2,) or not _are_joints(pairs, len(names)):
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


# ---- people ----


def _stated_size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height as the file says, None if it does not."""
    if "width" not in image or "height" not in image:
        return None
    return int(image["width"]), int(image["height"])


def _picture_fault(image: Mapping[str, Any], decoded: tuple[int, int] | str | None) -> str:
    """What is wrong with a picture, or ""; `decoded`: its width and height, or why they are
    unknown."""
    if isinstance(decoded, str):
        return decoded
    said = [numbers(image[name]) for name in ("width", "height") if name in image]
    if any(side is None or side.shape != () or not side > 0 for side in said):
        return "invalid width or height"
    return "" if decoded is None else size_fault(_stated_size(image), decoded)


def _category_fault(annotations: list[dict[str, Any]], categories: Mapping[Any, Any]) -> str:
    faults = (unknown_category(annotation, categories) for annotation in annotations)
    return next((fault for fault in faults if fault), "")


def _labels(
    annotations: list[dict[str, Any]], image: Mapping[str, Any], joints: Mapping[Any, Skeleton]
) -> list[tuple[Any, Label]]:
    """(category, label) of each annotation of a category with joints."""
    return [
        (one["category_id"], read_label(one, len(joints[one["category_id"]].joints), image))
        for one in annotations
        if one["category_id"] in joints
    ]


def _people(
    labels: list[tuple[Any, Label]], joints: dict[Any, Skeleton], bones: Skeleton, complete: bool
) -> People:
    """The labels of one picture in the joints of `bones`."""
    boxes: list[list[float]] = []
    ignore: list[list[float]] = []
    count = len(bones.joints)
    xy, visible = [np.zeros((0, count, 2), np.float32)], [np.zeros((0, count), np.uint8)]
    for category, mine in joints.items():
        points = []
        for label in (label for key, label in labels if key == category):
            x, y, width, height = label.box
            if label.crowd or not (label.points[:, 2] > 0).any():
                ignore.append([x, y, x + width, y + height])
            else:
                boxes.append([x, y, x + width, y + height])
                points.append(label.points.astype(np.float32))
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
