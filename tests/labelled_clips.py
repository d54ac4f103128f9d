"""Clips of a small bright square that moves to the right, with the joints of one person on it."""

import json
from pathlib import Path

import numpy as np

from bodyjax import skeleton
from bodyjax.data import video

SIDE = 12
"""Pixels of the square, about the middle of a picture of 128 x 128."""


def write(root: Path, *names: str, frames: int = 8, grey: int = 0) -> Path:
    """ROOT/NAME.mp4 and NAME.json for each of `names` (train/CLASS/0); the square moves by a pixel
    a frame before a background of one grey. Each file holds its name in a box that players pass
    over: no two are the same."""
    first = (128 - SIDE - frames) // 2
    pictures = [np.full((128, 128, 3), grey, np.uint8) for _ in range(frames)]
    for i, picture in enumerate(pictures):
        picture[58 : 58 + SIDE, first + i : first + i + SIDE] = 255
    grid = np.stack([np.arange(17) % 5, np.arange(17) // 5], -1) * (SIDE - 1) / [4, 3]
    xy = grid + [first, 58] + np.arange(frames)[:, None, None, None] * [1, 0]
    label = {
        "joints": list(skeleton.get("coco17").joints),
        "xy": xy.tolist(),
        "visible": np.full((frames, 1, 17), 2).tolist(),
    }
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        file = (root / name).with_suffix(".mp4")
        video.write_video(file, pictures, 10)
        with file.open("ab") as end:
            end.write((8 + len(name.encode())).to_bytes(4, "big") + b"free" + name.encode())
        (root / name).with_suffix(".json").write_text(json.dumps(label))
    return root
