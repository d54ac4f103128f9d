"""MoveNet MultiPose as published, to compare with: its own heads, boxes and decoding.

    python -m bodyjax.bench.movenet --weights ../shared/data/backbones/movenet_multipose.npz
        --data ../shared/data/multi --split test --size 384 --out movenet.json

Writes COCO results, which launch.evaluate --against takes. Whole pictures are centred in a black
square of `size` pixels, as on the model's page. Decoding: the highest of 5 x 5 cells of the centre
map; a joint is the cell inside the person's box where its map, weighted with exp(-d^2 / (2 x 0.30 x
the shorter side of the box)) around the regressed place, is highest (cells); score: middle x mean
joint. Joints are in COCO's pixels, which begin at 0 where ours begin at -0.5: the network was
trained on these labels.

The published graph has AP 0.269, 0.304 and 0.313 at 256, 320 and 384 on the 76 complete test
pictures of data/multi, this 0.274, 0.300 and 0.309. The units of its Gaussian were not known: the 2
is what fits at all three sizes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax

from bodyjax import files, published
from bodyjax.data import affine, sets
from bodyjax.models.backbones.mobilenet_v2_fpn import MobileNetV2FPN
from bodyjax.models.depthwise import depthwise

Array = jax.Array
SPREAD = 0.30
"""Square of the Gaussian's sigma in shorter sides of the box."""
FILL = 0
CORNER = 0.5
"""COCO counts from the corner of the first pixel, which is -0.5 here."""


def people(weights: dict[str, Array], pixels: Array, count: int) -> tuple[Array, Array, Array]:
    """xy (P, 17, 2) pixels, score (P, 17), person score (P,) of a canvas (H, W, 3)."""
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
    box = jnp.maximum(head("box_scale")[row, column], 0.0)  # height, width
    box_middle = cell + head("box_offset")[row, column]
    low = jnp.maximum(box_middle - box / 2, 0.0)
    high = jnp.minimum(box_middle + box / 2, jnp.array([height, width], jnp.float32))
    spread = SPREAD * jnp.maximum((high - low).min(-1), 1e-3)

    def along(axis: int, cells: int) -> tuple[Array, Array]:
        """Squared distances (P, J, cells) from the places, and which cells (P, 1, cells) are in the
        box."""
        number = jnp.arange(cells)
        inside = (number >= low[:, axis, None]) & (number <= high[:, axis, None])
        return jnp.square(number - place[..., axis, None]), inside[:, None]

    (down, rows), (across, columns) = along(0, height), along(1, width)
    distance = down[..., :, None] + across[..., None, :]
    near = jnp.exp(-distance / (2 * spread[:, None, None, None]))
    inside = rows[..., :, None] & columns[..., None, :]
    weighted = jnp.where(inside, jnp.moveaxis(heat, -1, 0) * near, -1.0)
    best = weighted.reshape(count, joints, -1).argmax(-1)
    y, x = best // width, best % width
    joint = jnp.arange(joints)
    step = head("offset").reshape(height, width, joints, 2)[y, x, joint]
    xy = (4 * (jnp.stack([y, x], axis=-1) + step) - 0.5)[..., ::-1]
    score = heat[y, x, joint]
    return xy, score, middle * score.mean(-1)


def fitted(sides: tuple[int, int], size: int) -> np.ndarray:
    """The (2, 3) map from a picture of (height, width) `sides` into the middle of the square, by
    whole pixels: no row is blurred that affine.fit would put between two."""
    scale = size / max(sides)
    before = [(size - side * scale) // 2 for side in sides[::-1]]
    first = (scale - 1) / 2
    return np.array([[scale, 0, first + before[0]], [0, scale, first + before[1]]])


def results(
    weights: dict[str, Array], source: Any, size: int, count: int
) -> Iterator[dict[str, Any]]:
    """COCO results of all pictures of a COCO source, image_id as in its file."""
    run = jax.jit(people, static_argnums=2)
    for row in range(len(source)):
        picture = source.image(row)
        matrix = fitted(picture.shape[:2], size)
        pixels = affine.warp(picture, matrix, (size, size), fill=FILL)
        xy, score, person = jax.device_get(run(weights, pixels, count))
        back = affine.move(xy, affine.inverse(matrix)) + CORNER
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
    files.write_text(options.out, json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
