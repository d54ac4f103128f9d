"""A lifter from pictures on the labelled boxes of rendered people."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from bodyjax.data import affine, person_crops
from bodyjax.data.pictures import labelled
from bodyjax.data.rows import Rows
from bodyjax.lift import boxes

BATCH = 16


class Found(NamedTuple):
    """xyz (N, 17, 3) mm, root-relative, in the camera's axes; xy (N, 17, 2) pixels of the picture;
    score (N, 17)."""

    xyz: np.ndarray
    xy: np.ndarray
    score: np.ndarray


def by_box(
    system: Any,
    variables: Any,
    data: str | PathLike[str],
    people: Rows,
    *,
    person: float,
    progress: bool = True,
) -> Found:
    """What the network sees of each person (data.poses3d.rendered) in an upright crop by their box,
    whose longer side takes the share `person`."""
    table = labelled.read_arrays(Path(data) / "labels.npz", ("image_name", "person_image"))
    files, arrays = labelled.open_files(Path(data)), people.arrays
    predict, parts = jax.jit(system.predict), []
    for first in tqdm(range(0, len(people), BATCH), desc="crops", disable=not progress):
        rows = np.minimum(np.arange(first, first + BATCH), len(people) - 1)
        maps = [person_crops.crop_map(arrays["box"][row], system.size, person) for row in rows]
        numbers = table["person_image"][arrays["person"][rows]]
        pictures = {
            number: files.image(boxes.picture_name(files, table["image_name"][number]))
            for number in np.unique(numbers)
        }
        size = (system.size, system.size)
        each = list(zip(rows, maps, numbers, strict=True))
        batch = {
            "image": np.stack([affine.warp(pictures[n], m, size) for _, m, n in each]),
            "camera": np.stack(
                [person_crops.moved_camera(arrays["camera"][row], m) for row, m, _ in each]
            ),
            "height": arrays["height"][rows],
        }
        out = jax.device_get(predict(variables, batch))
        places = [affine.move(xy, affine.inverse(m)) for xy, m in zip(out["xy"], maps, strict=True)]
        parts.append(Found(out["xyz"], np.stack(places), out["score"]))
    return Found(*(np.concatenate(part)[: len(people)] for part in zip(*parts, strict=True)))
