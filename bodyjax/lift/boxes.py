"""A person's joints from a crop by a known box, and tables of them that a lifter is trained on."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from bodyjax.data import affine
from bodyjax.data.pictures import labelled
from bodyjax.data.pictures.images import Archive, Folder
from bodyjax.data.poses3d.rendered import rendered
from bodyjax.detect import Detector, canvas
from bodyjax.errors import ConfigError
from bodyjax.files import whole
from bodyjax.models.pose import CenterPose

ENLARGED = 1.15
"""Side of the crop, relative to the longer side of the box."""


class BoxDetector:
    """The joints of one person in the middle of a crop, by the network of a detector's second look,
    or its only one, which needs centres (`models.pose.CenterPose`)."""

    def __init__(self, detector: Detector) -> None:
        looks = detector.second or detector
        system: Any = looks.system
        if system is None or not isinstance(system.model, CenterPose):
            what = "a crop by a box takes a network with centres"
            raise ConfigError(what, place="model.second", hint="large")
        self.skeleton, self.side = looks.skeleton, detector.settings.second_size
        self._variables = looks.variables
        settings = detector.settings
        self._see = jax.jit(lambda variables, crop: canvas.seer(system, variables, settings)(crop))

    def __call__(self, picture: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """xy (J, 2) in pixels of the picture (H, W, 3) and score (J,) of the person in a box (4,)
        x0, y0, x1, y1."""
        matrix = crop_map(box, self.side)
        crop = affine.warp(picture, matrix, (self.side, self.side), fill=affine.FILL)
        xy, score = jax.device_get(self._see(self._variables, crop.astype(np.float32)))
        return affine.move(xy, affine.inverse(matrix)), score


def crop_map(box: np.ndarray, side: int) -> np.ndarray:
    """The (2, 3) map from a picture to the square crop of `side` pixels about a box x0, y0, x1,
    y1."""
    low, high = np.asarray(box, np.float64).reshape(2, 2)
    scale = side / (ENLARGED * max(float((high - low).max()), side / 16))
    shift = (side - 1) / 2 - scale * (low + high) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)


def store_joints(
    detector: Detector, path: str | PathLike[str], out: str | PathLike[str], *, part: str
) -> None:
    """Writes what `detector` finds in the boxes of a part of rendered people (data/people): rows
    (M,) in labels.npz, xy (M, J, 2) pixels, score (M, J), and the name of the skeleton, .npz."""
    people = rendered(path, part)
    table = labelled.read_arrays(Path(path) / "labels.npz", ("image_name", "person_image"))
    files, see = labelled.open_files(Path(path)), BoxDetector(detector)
    found, picture, shown = [], np.zeros(0), -1
    for row in tqdm(range(len(people)), desc="joints of the detector", unit="person"):
        number = int(table["person_image"][people.arrays["person"][row]])
        if number != shown:  # the people of a picture follow each other
            picture, shown = files.image(picture_name(files, table["image_name"][number])), number
        found.append(see(picture, people.arrays["box"][row]))
    xy, score = (np.stack(part).astype(np.float32) for part in zip(*found, strict=True))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with whole(Path(out)) as temporary, temporary.open("wb") as file:
        np.savez(
            file, rows=people.arrays["person"], xy=xy, score=score, skeleton=see.skeleton.name
        )  # fmt: skip


def picture_name(files: Archive | Folder, name: Any) -> str:
    """The file of a picture of rendered people, whose labels may leave out the ending."""
    return str(name) if str(name) in files else f"{name}.webp"
