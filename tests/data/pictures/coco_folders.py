"""COCO keypoint files and folders as the tests write and change them."""

import json

import numpy as np
from PIL import Image

from bodyjax.skeleton import COCO17


def person(x: float = 10.0, **changes) -> dict:
    points = np.zeros((17, 3))
    points[:] = np.stack([x + np.arange(17), 20 + 2 * np.arange(17), np.full(17, 2)], 1)
    return {
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": 17,
        "bbox": [x, 20, 17, 34],
        "area": 500,
        "keypoints": points.reshape(-1).tolist(),
        **changes,
    }


def write_coco(folder, annotations: list[dict], images: int = 1) -> None:
    content = {
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
        "images": [
            {"id": i + 1, "file_name": f"{i + 1}.png", "width": 80, "height": 60}
            for i in range(images)
        ],
        "annotations": annotations,
    }
    (folder / "labels.json").write_text(json.dumps(content))
    for i in range(images):
        Image.fromarray(np.full((60, 80, 3), i, np.uint8)).save(folder / f"{i + 1}.png")


def rewrite(folder, change) -> None:
    """Changes the content of the labels in a folder."""
    content = json.loads((folder / "labels.json").read_text())
    change(content)
    (folder / "labels.json").write_text(json.dumps(content))
