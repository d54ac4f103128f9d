"""A lifter on pictures with 2D labels, such as photos, of which nobody knows the depth.

What can be said there: whether its joints lie on the labelled ones (PCK), and whether the left and
right bones of its poses are equally long, as those of people are.
"""

from __future__ import annotations

import sys
from os import PathLike
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from bodyjax import camera, lift
from bodyjax.data import person_crops, sets
from bodyjax.data.rows import padded
from bodyjax.evaluate.lifting_views import BoxLifter, bone_agreement
from bodyjax.lift import Lifter
from bodyjax.metrics import Keypoints
from bodyjax.skeleton import H36M17


def evaluate(
    lifter: Lifter,
    data: str | PathLike[str],
    kind: str,
    split: str | None,
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """PCK@0.2 of the torso over every labelled person of a set of pictures, by their boxes, and
    bones: the share of these people whose left and right bones agree within 10 % (the camera is
    assumed, heights are the mean adult's).

    pck_limbs is over the 12 limb joints; pck over all labelled ones but the neck, which is another
    point in h36m17. Keys of counts are those of metrics.Keypoints; "split" counts the pictures.
    """
    source = person_crops.with_people(sets.PICTURES[kind](data, split or "all").to(H36M17))
    look, metrics = BoxLifter(lifter), Keypoints(H36M17)
    state, update = metrics.init(), jax.jit(metrics.update)
    poses = []
    for row in tqdm(range(len(source)), disable=not progress or not sys.stderr.isatty()):
        people, picture = source.people[row], source.image(row)
        count = len(people.boxes)
        lens = np.tile(camera.assumed((picture.shape[0], picture.shape[1])), (count, 1))
        seen = look(picture, people.boxes, lens, np.full(count, lift.MEAN_HEIGHT))
        poses.append(seen.xyz)
        labelled = np.where(people.joint_mask, people.visible, 0)
        labelled[:, person_crops.NECK] = 0
        found, xy, visible = padded(seen.xy, people.xy, labelled)
        labels = {"xy": xy, "visible": visible, "mask": np.arange(len(xy)) < count}
        state = update(state, {"xy": found}, labels)
    bones = {"by_box": bone_agreement(np.concatenate(poses))}
    return {
        **metrics.compute(state), "bones": bones, "people": sum(map(len, poses)),
        "set": {"kind": kind, "path": str(data), "part": split or "all"},
        "split": {"train": int((~source.heldout).sum()), "test": int(source.heldout.sum())},
        "checkpoint": lifter.name,
    }  # fmt: skip
