"""Sources of labelled pictures: `lsp` arrays, `coco` files, rendered `people`; and `read_image`.

The form of their examples: bodyjax.data.pictures.labelled.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from bodyjax.data.opened_once import Notes
from bodyjax.data.pictures import labelled
from bodyjax.data.pictures.coco_keypoints import coco as coco
from bodyjax.data.pictures.images import read_image as read_image
from bodyjax.data.pictures.lsp_arrays import lsp as lsp
from bodyjax.errors import DataError
from bodyjax.skeleton import COCO17, H36M17, Skeleton


def people(
    path: labelled.FilePath,
    part: str,
    *,
    least_area: float = 150.0,
    on_bad: str = "raise",
    check_pictures: bool = False,
    joints: Skeleton = COCO17,
    notes: Notes | None = None,
) -> labelled.Pictures:
    """Rendered people: PATH/labels.npz and PATH/images.zip in the layout of data/people, in COCO's
    joints or those of h36m17, which the file has apart (`joints`); with xyz and camera if the file
    has coco_3d or h36m_3d (M, 17, 3) and image_K (N, 4).

    Half a pixel is subtracted from the stored joints and boxes (their first pixel's centre is 0.5).
    People with fewer than `least_area` visible pixels become `ignore` boxes. "valid" is a fixed
    tenth of the training pictures, or a third if there are fewer than 1,000. Raises DataError for
    missing or misshapen arrays. Missing pictures, joints and boxes that are not numbers and people
    of pictures that are not listed raise or are left out (`on_bad`). `check_pictures` decodes every
    picture once; otherwise a broken one raises when it is read. notes: pictures that are noted
    there are not decoded again (bodyjax.data.opened_once).
    """
    folder = Path(path)
    named = {COCO17.name: "coco", H36M17.name: "h36m"}[joints.name]
    keys = (
        "image_name",
        "image_split",
        "person_image",
        f"{named}_2d",
        f"{named}_vis",
        "person_box",
    )
    table = labelled.read_arrays(folder / "labels.npz", (*keys, "person_area"))
    _check_shapes(table, folder / "labels.npz")
    files = labelled.open_files(folder)
    names = [str(name) for name in table["image_name"]]
    names = [name if name in files else f"{name}.webp" for name in names]
    heldout = table["image_split"] == "test"
    visible = table[f"{named}_vis"].astype(np.uint8)
    there = visible[..., None] > 0
    xy = np.where(there, table[f"{named}_2d"].astype(np.float32) - np.float32(0.5), np.float32(0))
    xyz = camera = None
    if f"{named}_3d" in table and "image_K" in table:
        xyz = table[f"{named}_3d"].astype(np.float32)
        camera = table["image_K"].astype(np.float32) - np.array([0, 0, 0.5, 0.5], np.float32)
    boxes = table["person_box"].astype(np.float32) - np.float32(0.5)
    seen = (table["person_area"] >= least_area) & (visible > 0).any(1)
    manifest = labelled.Manifest(folder / "labels.npz", on_bad)
    owner = table["person_image"]
    for person in np.flatnonzero((owner < 0) | (owner >= len(names))):
        manifest.bad(f"person {person}", "the picture is not listed")
    wanted = np.flatnonzero(labelled.named_part(part, names, heldout))
    decoded = {}
    if check_pictures:
        decoded = labelled.decoded_sizes(files, [names[i] for i in wanted], notes)
    rows, labels = [], []
    for row in wanted:
        mine = owner == row
        if names[row] not in files:
            manifest.bad(names[row], "no such picture")
        elif isinstance(fault := decoded.get(names[row]), str):
            manifest.bad(names[row], fault)
        elif not np.isfinite(xy[mine]).all():
            manifest.bad(names[row], "joints that are not numbers")
        elif not np.isfinite(boxes[mine]).all():
            manifest.bad(names[row], "invalid bounding box")
        else:
            yes, no, mask = mine & seen, mine & ~seen, np.ones(len(joints.joints), bool)
            rows.append(row)
            people = labelled.People(xy[yes], visible[yes], boxes[yes], boxes[no], mask, True)
            if xyz is not None and camera is not None:
                each = np.repeat(camera[row, None], int(yes.sum()), axis=0)
                people = replace(people, xyz=xyz[yes], camera=each)
            labels.append(people)
    left = [names[row] for row in rows]
    return manifest.source(files, left, _numbers_in(left), labels, heldout[rows], joints)


def _check_shapes(table: dict[str, np.ndarray], file: Path) -> None:
    """DataError if the arrays of rendered people do not fit together."""
    people, pictures = len(table["person_image"]), len(table["image_name"])
    shapes = {
        "image_split": (pictures,),
        "coco_2d": (people, 17, 2),
        "coco_vis": (people, 17),
        "person_box": (people, 4),
        "person_area": (people,),
        "coco_3d": (people, 17, 3),
        "h36m_2d": (people, 17, 2),
        "h36m_vis": (people, 17),
        "h36m_3d": (people, 17, 3),
        "image_K": (pictures, 4),
    }
    for name, shape in shapes.items():
        if name in table and table[name].shape != shape:
            raise DataError(f"want {name} {shape}, got {table[name].shape}", file=file)


def _numbers_in(names: list[str]) -> np.ndarray:
    """(N,) int64: the number in each file's name; 0, 1, ... where one has none."""
    digits = [re.sub(r"\D", "", Path(name).stem) for name in names]
    if not all(digits):
        return np.arange(len(names), dtype=np.int64)
    return np.array([int(number) for number in digits], np.int64)
