"""MoveNet MultiPose as published, to compare with: its own heads, boxes and decoding.

    python -m bodyjax.bench.movenet --weights ../shared/data/backbones/movenet_multipose.npz
        --data ../shared/data/multi --split test --size 384 --out movenet.json

Writes COCO results, which bodyjax.coco_eval.compare takes. Pictures keep their shape, the longer
side becomes `size`, the rest is filled up to multiples of 32. Decoding: the highest of 5 x 5 cells
of the centre map; a joint is the cell where its map, weighted with exp(-d^2 / (0.30 x the shorter
side of the box)) around the regressed place, is highest; score: middle x mean joint.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax

from bodyjax import published
from bodyjax.data import affine, sets
from bodyjax.models.depthwise import depthwise
from bodyjax.models.mobilenet import MobileNetV2FPN

Array = jax.Array
SPREAD = 0.30


def people(weights: dict[str, Array], pixels: Array, count: int) -> tuple[Array, Array, Array]:
    """xy (P, 17, 2) pixels, score (P, 17), person score (P,) of a picture (H, W, 3)."""
    tree = {
        tuple(name.split("/")[1:]): value
        for name, value in weights.items()
        if name.split("/")[0] in ("backbone", "fpn")
    }
    params = {"params": traverse_util.unflatten_dict(tree)}
    features: Any = MobileNetV2FPN(1.5).apply(params, pixels[None])

    def head(name: str) -> Array:
        x = depthwise(features[4], weights[f"{name}/hidden/depthwise/kernel"], 1)
        hidden = f"{name}/hidden/pointwise"
        x = jax.nn.relu(x @ weights[f"{hidden}/kernel"][0, 0] + weights[f"{hidden}/bias"])
        return (x @ weights[f"{name}/out/kernel"][0, 0] + weights[f"{name}/out/bias"])[0]

    heat, center = jax.nn.sigmoid(head("heatmap")), jax.nn.sigmoid(head("center")[..., 0])
    height, width, joints = heat.shape
    highest = lax.reduce_window(center, -jnp.inf, lax.max, (5, 5), (1, 1), "SAME")
    middle, index = lax.top_k(jnp.where(center == highest, center, 0.0).reshape(-1), count)
    row, column = index // width, index % width
    cell = jnp.stack([row, column], axis=-1)
    place = head("regress")[row, column].reshape(count, joints, 2) + cell[:, None]  # y, x
    box = head("box_scale")[row, column]
    down = jnp.square(jnp.arange(height) - place[..., :1])[..., :, None]
    across = jnp.square(jnp.arange(width) - place[..., 1:])[..., None, :]
    near = jnp.exp(-(down + across) / (SPREAD * box.min(-1))[:, None, None, None])
    best = (jnp.moveaxis(heat, -1, 0) * near).reshape(count, joints, -1).argmax(-1)
    y, x = best // width, best % width
    joint = jnp.arange(joints)
    step = head("offset").reshape(height, width, joints, 2)[y, x, joint]
    xy = (4 * (jnp.stack([y, x], axis=-1) + step) - 0.5)[..., ::-1]
    score = heat[y, x, joint]
    return xy, score, middle * score.mean(-1)


def fitted(picture: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture with its longer side at `size`, grey up to multiples of 32, and its map."""
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    matrix = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    sides = [-(-round(side * scale) // 32) * 32 for side in (height, width)]
    return affine.warp(picture, matrix, (sides[0], sides[1]), fill=128), matrix


def results(
    weights: dict[str, Array], source: Any, size: int, count: int
) -> Iterator[dict[str, Any]]:
    """COCO results of all pictures of a COCO source, image_id as in its file."""
    run = jax.jit(people, static_argnums=2)
    for row in range(len(source)):
        pixels, matrix = fitted(source.files.image(source.names[row]), size)
        xy, score, person = jax.device_get(run(weights, pixels, count))
        back = affine.move(xy, affine.inverse(matrix))
        for points, surety, total in zip(back, score, person, strict=True):
            table = np.concatenate([points, surety[:, None]], axis=-1)
            yield {
                "image_id": int(source.ids[row]), "category_id": 1, "score": float(total),
                "keypoints": [float(value) for value in table.ravel()],
            }  # fmt: skip


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bodyjax.bench.movenet", description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True, help="a COCO folder")
    parser.add_argument("--split", default="test")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--out", required=True)
    options = parser.parse_args(arguments)
    weights = {k: jnp.asarray(v) for k, v in published.read(options.weights).items()}
    source = sets.PICTURES["coco"](options.data, options.split)
    found = list(results(weights, source, options.size, options.people))
    Path(options.out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
