"""Sources of labelled pictures: `lsp` arrays, `coco` files, rendered `people`; and `read_image`.

The form of their examples: bodyjax.data.labelled.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bodyjax import skeleton
from bodyjax.data import labelled
from bodyjax.data.coco import coco as coco
from bodyjax.data.images import read_image as read_image
from bodyjax.data.lsp import lsp as lsp


def people(path: labelled.FilePath, part: str, *, least_area: float = 150.0) -> labelled.Pictures:
    """Rendered people: PATH/labels.npz and PATH/images.zip as data/people has them.

    Half a pixel is taken off the stored joints and boxes (their first pixel's centre is 0.5).
    People of whom less than `least_area` pixels are to be seen become `ignore` boxes.
    "valid" is a fixed tenth of the training pictures.
    """
    folder = Path(path)
    keys = ("image_name", "image_split", "person_image", "coco_2d", "coco_vis", "person_box")
    table = labelled.read_arrays(folder / "labels.npz", (*keys, "person_area"))
    files = labelled.open_files(folder)
    names = [str(name) for name in table["image_name"]]
    names = [name if name in files else f"{name}.webp" for name in names]
    heldout = table["image_split"] == "test"
    xy, visible = skeleton.convert(
        table["coco_2d"].astype(np.float32) - np.float32(0.5),
        table["coco_vis"].astype(np.uint8),
        skeleton.get("coco17"),
        labelled.BODY18,
    )
    boxes = table["person_box"].astype(np.float32) - np.float32(0.5)
    seen = (table["person_area"] >= least_area) & (visible > 0).any(1)
    manifest = labelled.Manifest(folder / "labels.npz", "raise")
    rows = np.flatnonzero(labelled.named_part(part, names, heldout))
    labels = []
    for row in rows:
        if names[row] not in files:
            manifest.bad(names[row], "no such picture")
        mine = table["person_image"] == row
        yes, no = mine & seen, mine & ~seen
        mask = np.ones(18, bool)
        labels.append(labelled.People(xy[yes], visible[yes], boxes[yes], boxes[no], mask, True))
    ids = np.array([int(re.sub(r"\D", "", Path(names[row]).stem)) for row in rows], np.int64)
    return manifest.source(files, [names[row] for row in rows], ids, labels, heldout[rows])
