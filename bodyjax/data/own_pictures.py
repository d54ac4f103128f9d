"""Your own COCO keypoint file: what is trained on, and what is held back to measure the gain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodyjax import skeleton
from bodyjax.data.feeds import TrainPicture, augmentation, say_left_out
from bodyjax.data.pictures import settings
from bodyjax.data.pictures.coco_files import coco_file, read_coco
from bodyjax.data.pictures.coco_keypoints import VALID, coco, joined, joints_of, splits_of
from bodyjax.data.pictures.labelled import FilePath, NoPictures, Pictures
from bodyjax.data.stream import Stream
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import Skeleton

KIND = "own_pictures"
"""The name of this in `data.kind`."""
LEAST_PEOPLE = 4
"""The fewest labelled people to learn from: with fewer, only noise could be learnt."""


@dataclass(frozen=True)
class Sides:
    """The file, the part to learn from ("train" or "trainvalid"), and the part held back ("test" or
    "valid")."""

    file: Path
    learnt: str
    held: str


def sides(path: FilePath) -> Sides:
    """The COCO keypoint file at a path, or in the folder there, and how it is split.

    Held back are pictures whose `split` is "test", otherwise those of "val", otherwise a third of
    all by name (a tenth of 1,000 or more). ConfigError without a path, DataError without such a
    file.
    """
    if not str(path):
        hint = "name a COCO keypoint file, or its folder: --config.data=PATH"
        raise ConfigError("no pictures are named", place="data.path", hint=hint)
    if not Path(path).exists():
        raise DataError("no such file or folder", file=path)
    file = coco_file(Path(path))
    if file.is_file() and file.suffix.lower() != ".json":
        raise DataError("not a COCO keypoint file", file=file, hint="name the .json")
    splits = set(splits_of(read_coco(file).images))
    if "test" not in splits:
        return Sides(file, "train", "valid")
    return Sides(file, "train" if splits & set(VALID) else "trainvalid", "test")


def skeleton_of(path: FilePath) -> Skeleton:
    """The joints of the file at a path."""
    return joined(list(joints_of(read_coco(sides(path).file)).values()))


def open_pictures(path: FilePath, *, on_bad: str = "raise") -> tuple[Pictures, Pictures]:
    """The pictures to learn from and those held back (`sides`), each decoded once.

    Raises DataError if nothing would be held back, if fewer than four labelled people would be
    learnt from, and what `coco` raises.
    """
    own = sides(path)
    parts = (own.learnt, LEAST_PEOPLE, "to learn from"), (own.held, 1, "in the pictures held back")
    opened = []
    for part, least, place in parts:
        try:
            source = coco(own.file, part, on_bad=on_bad, check_pictures=True)
            people = sum(len(labels.xy) for labels in source.people)
        except NoPictures:
            people = 0
        if people < least:
            message = f"{people} labelled people {place}, {least} or more are needed"
            hint = 'label more pictures; "split": "test" in one of "images" holds it back'
            raise DataError(message, file=own.file, hint=hint)
        opened.append(source)
    return opened[0], opened[1]


def feed(config: Mapping[str, Any], *, host: tuple[int, int] = (0, 1)) -> Stream:
    """The training side of your own pictures; the held-back side is evaluated at the end, as by
    launch.evaluate (bodyjax.evaluate.fine_tuning)."""
    data, model = config["data"], config["model"]
    learnt, held = open_pictures(data["path"], on_bad=settings.read(data).on_bad)
    if host[0] == 0:
        say_left_out("own pictures", learnt)
        say_left_out("own pictures, held back", held)
        print(f"own pictures: {len(learnt)} to learn from, {len(held)} held back")
    bones = skeleton.of(model["skeleton"])
    options = augmentation(data, bones)
    return Stream(
        learnt.to(bones),
        TrainPicture(tuple(model["size"]), model["stride"], model["max_people"], options),
        seed=config["seed"], batch_size=data["batch"], workers=data["workers"],
        host_index=host[0], host_count=host[1],
    )  # fmt: skip
