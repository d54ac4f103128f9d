"""Small labelled pictures on disk and a detector that knows them by their colour."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from bodyjax import detect
from bodyjax.data import affine
from bodyjax.skeleton import BODY18, COCO17, LSP14, convert

SIDE = 64


def colour(number: int) -> int:
    return 8 * number


def lsp_set(folder: Path, joints: np.ndarray, labelled: np.ndarray, ids: np.ndarray) -> Path:
    """LSP arrays: one 40 x 50 picture a row, of one colour."""
    (folder / "images").mkdir(parents=True)
    for row, number in enumerate(ids):
        picture = np.full((40, 50, 3), colour(row), np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"im{number:05d}.png")
    np.savez(folder / "labels.npz", ids=ids, joints=joints, labelled=labelled)
    return folder


def coco_set(folder: Path, people: list[list[np.ndarray]], **fields: list) -> Path:
    """A COCO folder: people[i] are (17, 3) tables of picture i; fields: one value a picture."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for row, tables in enumerate(people):
        Image.fromarray(np.full((40, 50, 3), colour(row), np.uint8)).save(
            folder / "images" / f"{row}.png"
        )
        image = {"id": 100 + row, "file_name": f"{row}.png", "width": 50, "height": 40}
        images.append(image | {name: values[row] for name, values in fields.items()})
        for table in tables:
            seen = table[table[:, 2] > 0, :2]
            low, size = seen.min(0), np.ptp(seen, axis=0)
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": 100 + row, "category_id": 1,
                    "keypoints": table.ravel().tolist(), "num_keypoints": len(seen), "iscrowd": 0,
                    "bbox": [*low.tolist(), *size.tolist()], "area": 40.0 * 40.0,
                }
            )  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints)}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def people_set(folder: Path, **changes: np.ndarray) -> Path:
    """Rendered people: four 40 x 50 pictures, a person each, the last one of the test side."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for row in range(4):
        Image.fromarray(np.full((40, 50, 3), colour(row), np.uint8)).save(
            folder / "images" / f"{row}.png"
        )
    joints = np.random.default_rng(0).uniform(5, 35, (4, 17, 2)).astype(np.float32)
    arrays = {
        "image_name": np.array([f"{row}.png" for row in range(4)]),
        "image_split": np.array(["train", "train", "train", "test"]),
        "person_image": np.arange(4), "coco_2d": joints, "coco_vis": np.full((4, 17), 2, np.uint8),
        "person_box": np.concatenate([joints.min(1), joints.max(1)], 1),
        "person_area": np.full(4, 500.0),
    }  # fmt: skip
    np.savez(folder / "labels.npz", **{**arrays, **changes})
    return folder


def knowing(poses: dict[int, list[np.ndarray]], score=lambda person: 1.0 - 0.1 * person):
    """A detector that finds poses[i], a list of (18, 2) in pixels of the 40 x 50 picture i."""
    matrix = detect.canvas_map((40, 50), SIDE)

    def predict(variables, canvas):
        row = round(float(np.asarray(canvas)[SIDE // 2, SIDE // 2].mean()) / 8)
        people = poses.get(row, [])
        xy, value = np.zeros((4, 18, 2), np.float32), np.zeros((4, 18), np.float32)
        person_score = np.zeros(4, np.float32)
        for i, pose in enumerate(people):
            there = np.isfinite(pose).all(-1)
            xy[i, there], value[i, there] = affine.move(pose, matrix)[there], 0.9
            person_score[i] = score(i)
        zero = np.int32(0)
        return detect.Detections(
            xy, value, person_score, np.int32(len(people)), zero, value > 0,
            np.full((18, 2), 32, np.float32), np.full(18, 0.3, np.float32), np.zeros((4, 0)),
        )  # fmt: skip

    return detect.Detector(None, predict, BODY18, detect.Settings(size=SIDE), name="known")


def body(table: np.ndarray, skeleton=COCO17) -> np.ndarray:
    """(J, 2 or 3) of a skeleton as BODY18 (18, 2), NaN where absent."""
    xy, seen = convert(table[:, :2], np.ones(len(table), np.uint8), skeleton, BODY18)
    return np.where(seen[:, None] > 0, xy, np.nan)


def lsp_body(joints: np.ndarray) -> np.ndarray:
    return body(joints, LSP14)
