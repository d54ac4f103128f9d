"""COCO keypoint files as they lie on the disk: which file holds the labels, what it must contain,
and which stored picture it means by a name.

A set's labels are one JSON file, or COCO's official layout as it is unpacked:
annotations/person_keypoints_NAME.json beside the folders NAME (train2017, val2017).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from bodyjax import files
from bodyjax.data.pictures.images import Archive, Folder
from bodyjax.data.pictures.labelled import FilePath, open_files
from bodyjax.errors import DataError

OFFICIAL = "person_keypoints_"
"""What the names of COCO's own keypoint files begin with; the rest is the name of a folder."""
NO_OBJECT = "an annotation is not an object"
NOT_LISTED = "the picture is not listed"


class CocoFile(NamedTuple):
    """The content of a keypoint file: its pictures and its annotations in their order (unchecked),
    and the categories by id; file: its name, None for content without one."""

    images: list[Any]
    annotations: list[Any]
    categories: dict[Any, dict[str, Any]]
    file: str | None

    def by_picture(self) -> tuple[dict[Any, list[dict[str, Any]]], list[tuple[str, str]]]:
        """The annotations by picture id, and (place, reason) of those that belong to no picture."""
        known = {image["id"] for image in self.images if is_listed(image)}
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


def misplaced(annotation: Any, known: set[Any]) -> str:
    """Why an annotation belongs to none of the pictures whose ids are `known`, or ""."""
    if not isinstance(annotation, Mapping):
        return NO_OBJECT
    image = annotation.get("image_id")
    return "" if is_id(image) and image in known else NOT_LISTED


# ---- reading ----


def read_json(source: Any) -> tuple[Any, str | None]:
    """The content of a JSON file, or the given content, and the file's name."""
    if not isinstance(source, str | PathLike):
        return source, None
    return files.read_json(source), str(source)


def read_coco(source: FilePath | Mapping[str, Any]) -> CocoFile:
    """Reads a keypoint file (for a folder: COCO's official files in it, joined), or takes its
    content; DataError if it is not one. Single pictures and annotations aren't checked, but if no
    picture has an id, or two categories have the same one, it is no such file."""
    if isinstance(source, str | PathLike) and Path(source).is_dir():
        return _joined_official(Path(source))
    content, file = read_json(source)
    try:
        images, annotations = list(content["images"]), list(content["annotations"])
        categories = [dict(category) for category in content["categories"]]
        ids = Counter(category["id"] for category in categories)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a COCO keypoint file ({structure(error)})", file=file) from None
    objects = [image for image in images if isinstance(image, Mapping)]
    if images and not objects:
        what = f"not a COCO keypoint file ({structure(TypeError())})"
        raise DataError(what, file=file)
    if images and not any("id" in image for image in objects):
        raise DataError("not a COCO keypoint file (there is no 'id')", file=file)
    if ids and ids.most_common(1)[0][1] > 1:
        what = f"category id {ids.most_common(1)[0][0]!r} is listed more than once"
        raise DataError(what, file=file)
    plain = [dict(image) if isinstance(image, Mapping) else image for image in images]
    return CocoFile(plain, annotations, {one["id"]: one for one in categories}, file)


def _joined_official(folder: Path) -> CocoFile:
    """The official keypoint files of a folder `annotations` whose pictures are there, as one: names
    begin with the pictures' folder, and `split` is "val" for those of val2017, else "train"."""
    images: list[Any] = []
    annotations: list[Any] = []
    categories: dict[Any, dict[str, Any]] = {}
    for file in official_files(folder.parent):
        pictures = official_pictures(file)
        assert pictures is not None
        part = read_coco(file)
        split = "val" if pictures.name.startswith("val") else "train"
        place = pictures.relative_to(folder.parent).as_posix()
        for image in part.images:
            if isinstance(image, dict) and "file_name" in image:
                named = {"split": split, **image, "file_name": f"{place}/{image['file_name']}"}
                images.append(named)
            else:
                images.append(image)
        annotations += part.annotations
        if any(categories.get(key, one) != one for key, one in part.categories.items()):
            raise DataError("its categories are not those of the files beside it", file=file)
        categories |= part.categories
    return CocoFile(images, annotations, categories, str(folder))


def structure(error: Exception) -> str:
    """What a COCO file lacks, from the error in reading it."""
    if isinstance(error, KeyError):
        return f"there is no {error}"
    return "images, annotations and categories are not lists of objects"


def is_id(value: Any) -> bool:
    """Whether a JSON value can be the id of a picture: a finite number or a text."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int | str)


def is_listed(image: Any) -> bool:
    """Whether an entry of `images` has an id that annotations can name."""
    return isinstance(image, Mapping) and is_id(image.get("id"))


def picture_faults(images: Sequence[Any]) -> list[str]:
    """Why each entry of `images` can't be used, whatever its picture is; "" where it can."""
    listed = Counter(image["id"] for image in images if is_listed(image))

    def fault(image: Any) -> str:
        if not isinstance(image, Mapping):
            return "a picture's entry is not an object"
        if not is_id(image.get("id")):
            return "invalid picture id"
        if listed[image["id"]] > 1:
            return f"picture id {image['id']!r} is listed more than once"
        return ""

    return [fault(image) for image in images]


# ---- where labels and pictures are ----


def coco_file(path: Path) -> Path:
    """The keypoint file of a set: `path` itself, its annotations.json, the one *.json in it that is
    not hidden, or COCO's official file in annotations/; that folder if several of its files have
    their pictures.

    DataError if there is none, or several without an annotations.json.
    """
    if path.is_file() or (path.name == "annotations" and len(official_files(path.parent)) > 1):
        return path
    if (path / "annotations.json").is_file():
        return path / "annotations.json"
    found = json_files(path)
    official = official_files(path)
    if not found and official:
        return official[0] if len(official) == 1 else path / "annotations"
    if len(found) != 1:
        hint = "want one, or name it"
        if not found and any((path / "annotations").glob(f"{OFFICIAL}*.json")):
            hint = f"annotations/{OFFICIAL}NAME.json needs the folder NAME of its pictures"
        raise DataError(f"{len(found)} .json files", file=path, hint=hint)
    return found[0]


def json_files(folder: Path) -> list[Path]:
    """The files *.json in a folder (not below it) that are not hidden, sorted."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [file for file in there if file.suffix.lower() == ".json" and file.name[0] != "."]
    return [file for file in named if file.is_file()]


def holds_coco(folder: Path) -> bool:
    """Whether a folder has the layout of a COCO set, its own or the official one."""
    official = any((folder / "annotations").glob(f"{OFFICIAL}*.json"))
    return official or bool(json_files(folder))


def official_files(root: Path) -> list[Path]:
    """The files ROOT/annotations/person_keypoints_NAME.json whose folder NAME is there."""
    found = sorted((root / "annotations").glob(f"{OFFICIAL}*.json"))
    return [file for file in found if official_pictures(file) is not None]


def official_pictures(file: Path) -> Path | None:
    """The folder of the pictures of COCO's own keypoint file, beside `annotations` or in `images`
    there; None if it is not here."""
    if file.parent.name != "annotations" or not file.name.startswith(OFFICIAL):
        return None
    name, root = file.stem.removeprefix(OFFICIAL), file.parent.parent
    places = (root / name, root / "images" / name)
    return next((place for place in places if place.is_dir()), None)


def pictures_of(file: Path) -> Archive | Folder:
    """The pictures of a keypoint file (of `coco_file`): beside it, or where the official layout has
    them."""
    if file.is_dir():
        return Folder(file.absolute().parent)
    official = official_pictures(file.absolute())
    return open_files(file.parent) if official is None else Folder(official)


# ---- names ----


def name_parts(name: str) -> tuple[str, ...]:
    """The folders and the file in a name as any system writes it, in small letters."""
    parts = PurePosixPath(name.replace("\\", "/").lower()).parts
    return tuple(part for part in parts if part != "/")


def same_picture(first: str, second: str) -> bool:
    """Whether two names can mean the same file: one ends with the other (val2017/1.jpg, 1.jpg)."""
    one, two = sorted((name_parts(first), name_parts(second)), key=len)
    return bool(one) and two[-len(one) :] == one


def located(pictures: Archive | Folder, names: Sequence[str]) -> list[tuple[str, str]]:
    """(stored name, "") of each picture that a label file names, or ("", the reason).

    A name stands as it is; otherwise back-slashes are folders, leading folders that are not here
    are left out (images/1.png, paths of another machine), or the one file here that ends with the
    name is taken (a folder inside the zip, other capitals). Two names of one file are a fault of
    both.
    """
    everywhere: dict[str, list[str]] | None = None
    found = []
    for name in names:
        stored, reason = _as_named(pictures, name), ""
        if not stored:
            if everywhere is None:  # the whole folder is listed only if a name needs it
                everywhere = {}
                for one in pictures.names():
                    everywhere.setdefault(name_parts(one)[-1], []).append(one)
            last = (name_parts(name) or ("",))[-1]
            here = [one for one in everywhere.get(last, ()) if _ends_with(one, name)]
            stored = here[0] if len(here) == 1 else ""
            if len(here) > 1:
                reason = f"several pictures have this name ({', '.join(here[:3])})"
            elif not here:
                reason = f"no such picture ({_tried(pictures, name)})"
        found.append((stored, reason))
    taken = Counter(stored for stored, _ in found if stored)
    twice = {stored for stored, count in taken.items() if count > 1}
    return [
        ("", f"listed more than once (the file {stored})") if stored in twice else (stored, reason)
        for stored, reason in found
    ]


def _as_named(pictures: Archive | Folder, name: str) -> str:
    """The stored name of a picture by its name or the end of it, "" if there is none."""
    if name in pictures:
        return name
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "/"]
    ends = ("/".join(parts[k:]) for k in range(len(parts)))
    return next((end for end in ends if end in pictures), "")


def _tried(pictures: Archive | Folder, name: str) -> Path:
    """Where a picture was looked for last: here, of an absolute name the file alone."""
    plain = PurePosixPath(name.replace("\\", "/"))
    return pictures.path / (plain.name if plain.is_absolute() or ":" in name else plain)


def _ends_with(stored: str, name: str) -> bool:
    """Whether a stored file's path ends with the whole name."""
    parts, wanted = name_parts(stored), name_parts(name)
    return parts[-len(wanted) :] == wanted


def ids_of(annotations: FilePath, names: Sequence[str]) -> list[Any]:
    """The picture ids that a COCO file gives to pictures by name, None for those that it does not
    list. A name may be the end of the other's; the longest common end decides. DataError if it
    lists none of them, or if two are equally good."""
    content = read_coco(annotations)
    listed: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
    for image, fault in zip(content.images, picture_faults(content.images), strict=True):
        parts = () if fault else name_parts(str(image.get("file_name", "")))
        if parts:
            listed.setdefault(parts[-1], []).append((parts, image["id"]))
    pairs: dict[tuple[int, bool], list[tuple[int, Any]]] = {}  # common parts, exact -> name, id
    for number, wanted in enumerate(map(name_parts, names)):
        for parts, key in listed.get(wanted[-1], ()):
            if same_picture("/".join(parts), "/".join(wanted)):
                strength = min(len(parts), len(wanted)), parts == wanted
                pairs.setdefault(strength, []).append((number, key))
    ids: list[Any] = [None] * len(names)
    given: set[Any] = set()
    for strength in sorted(pairs, reverse=True):
        free = [(n, key) for n, key in pairs[strength] if ids[n] is None and key not in given]
        if len(dict(free)) < len(free) or len({key for _, key in free}) < len(free):
            what = f"{names[free[-1][0]]} may be several pictures"
            raise DataError(what, file=annotations, hint="name the folder of its pictures alone")
        for number, key in free:
            ids[number] = key
        given |= {key for _, key in free}
    if not pairs:
        what = f"lists none of the pictures ({', '.join(list(names)[:3])})"
        raise DataError(what, file=annotations, hint="name the file of these pictures")
    return ids
