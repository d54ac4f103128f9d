"""A lifter on rendered people (data/people): MPJPE and PA-MPJPE, by box and in whole pictures.

Poses meet at the pelvis; the body height and the camera are given, as the data have them. Other
sets have modules of their own: Human3.6M, and pictures with 2D labels.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from bodyjax import detect, lift, systems
from bodyjax.data import sets
from bodyjax.data.pictures import labelled
from bodyjax.data.poses3d import human36m
from bodyjax.data.poses3d.rendered import LEAST_AREA, rendered
from bodyjax.data.rows import Rows
from bodyjax.detect import as_skeleton
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import ConfigError, DataError
from bodyjax.evaluate import lifting_flat, lifting_human36m
from bodyjax.evaluate.lifting_views import BoxLifter, better_fit, bone_agreement
from bodyjax.lift import Lifter, boxes
from bodyjax.metrics import Joints3D
from bodyjax.metrics.pose import oks, sigmas
from bodyjax.skeleton import AREA_OF_BOX, COCO17, H36M17

SAME = 0.3
"""OKS from which a person found is the labelled one."""


def evaluate(
    checkpoint: str | PathLike[str] | Checkpoint | Lifter,
    data: str | PathLike[str],
    split: str | None = None,
    *,
    progress: bool = True,
    **settings: Any,
) -> dict[str, Any]:
    """Metrics of a lifter on rendered people at a path, of at least 400 visible pixels.

    settings: of its detector, as lift.load takes them.

    split: "train", "valid", "trainvalid" or "test" (None: everybody). Keys: mpjpe, pa_mpjpe (mm),
    pck3d, auc3d, per_joint, "n": by the labelled box of each person. A lifter from joints takes
    those from a crop by that box, or those of somebody found in the whole picture where they fit
    the box better; crop_alone: without that choice. whole_picture: the same of the people found in
    whole pictures, matched by their labels, with "missed" and "people"; mean_pose: the mean pose of
    the set's training part instead of a prediction (left out if it has none); bones: share of
    people whose left and right bones agree within 10 %. At the folder of data/real3d: Human3.6M's
    test subjects (lifting_human36m). On pictures with 2D labels: PCK and bones (lifting_flat).
    """
    loaded: Checkpoint | None = None
    if isinstance(checkpoint, Checkpoint):
        loaded = checkpoint
    elif not isinstance(checkpoint, Lifter):
        loaded = checkpoints.load(checkpoint, system="lifter")
    if (Path(data) / human36m.POSES).exists():
        return _human36m(loaded, data, split)
    kind = sets.recognise(data, sets.LABELLED)
    if kind not in sets.PICTURES:
        hint = "labels.npz with h36m_3d, as data/people has it, or pictures with 2D labels"
        what = f"a set of {kind}; a lifter needs people in pictures"
        raise ConfigError(what, file=data, hint=hint)
    people = rendered(data, split or "all") if kind == "people" else None
    lifter = _lifter(loaded or checkpoint, settings)
    if people is None:
        return lifting_flat.evaluate(lifter, data, kind, split, progress=progress)
    by_box, crop, whole = found_poses(lifter, data, people, progress)
    report = measured(people, by_box)
    if lifter.crops is None:
        report["crop_alone"] = measured(people, crop)
    missed = ~np.isfinite(whole).all((1, 2))
    report["whole_picture"] = {
        **measured(people, whole, ~missed), "people": len(people), "missed": int(missed.sum())
    }  # fmt: skip
    mean = mean_pose(data)
    if mean is not None:
        report["mean_pose"] = measured(people, mean * people.arrays["height"][:, None, None])
    report["bones"] = {"by_box": bone_agreement(by_box), "labels": bone_agreement(truth(people))}
    report["set"] = {"kind": "people", "path": str(data), "part": split or "all"}
    report["least_area"] = LEAST_AREA
    report["split"] = dict(Counter("test" if held else "train" for held in people.heldout))
    report["checkpoint"] = lifter.name
    return report


def _lifter(checkpoint: str | PathLike[str] | Checkpoint | Lifter, settings: Any) -> Lifter:
    if not isinstance(checkpoint, Lifter):
        return lift.load(checkpoint, **settings)
    if settings:
        raise ConfigError("settings of a loaded lifter can't be changed", hint="load it with them")
    return checkpoint


def _human36m(
    loaded: Checkpoint | None, data: str | PathLike[str], split: str | None
) -> dict[str, Any]:
    """The report on Human3.6M's test subjects, of lifters from joints."""
    if loaded is None or loaded.config.model.input != "joints":
        what = "has poses without pictures: a checkpoint of a lifter from joints is needed"
        raise ConfigError(what, file=data)
    if split not in (None, "test"):
        raise ConfigError(f"no part {split!r}", place="--split", hint="test: S9 and S11")
    return lifting_human36m.evaluate(systems.build(loaded.config), loaded.variables, data)


def truth(people: Rows) -> np.ndarray:
    """xyz (N, 17, 3) mm, root-relative."""
    return people.arrays["xyz"][:, :17] * people.arrays["height"][:, None, None]


def mean_pose(data: str | PathLike[str]) -> np.ndarray | None:
    """The mean pose (17, 3) of a set's training part in heights; None if it has no such part."""
    try:
        return np.nanmean(rendered(data, "trainvalid").arrays["xyz"][:, :17], axis=0)
    except DataError:
        return None


def measured(people: Rows, xyz: np.ndarray, counted: np.ndarray | None = None) -> dict[str, Any]:
    """metrics.Joints3D of poses (N, 17, 3) mm of people, of those `counted` (N,); labels that are
    not known count nowhere."""
    metrics = Joints3D(H36M17)
    there = np.isfinite(xyz).all((1, 2))
    mask = np.ones(len(xyz), bool) if counted is None else counted
    labels = truth(people)
    visible = np.where(np.isfinite(labels).all(-1), 2, 0)
    batch = {"xyz": labels, "visible": visible, "mask": mask}
    filled = np.where(there[:, None, None], xyz, 0.0)  # nobody found: every joint at the pelvis
    return metrics.compute(jax.jit(metrics.update)(metrics.init(), {"xyz": filled}, batch))


class Poses(NamedTuple):
    """xyz (N, 17, 3) mm of the labelled people: by their boxes, from crops alone, and as found in
    whole pictures (NaN for people who are missed)."""

    by_box: np.ndarray
    crop: np.ndarray
    whole: np.ndarray


def found_poses(
    lifter: Lifter, data: str | PathLike[str], people: Rows, progress: bool
) -> Poses:  # fmt: skip
    """What a lifter says of the labelled people of a set."""
    table = labelled.read_arrays(Path(data) / "labels.npz", ("image_name", "coco_2d", "coco_vis"))
    files, look = labelled.open_files(Path(data)), BoxLifter(lifter)
    owner, arrays = people.groups, people.arrays
    assert owner is not None
    poses = Poses(*np.full((3, len(people), len(H36M17.joints), 3), np.nan))
    for number in tqdm(np.unique(owner), desc="pictures", disable=not progress):
        picture = files.image(boxes.picture_name(files, table["image_name"][number]))
        mine = np.flatnonzero(owner == number)
        box, lens, tall = (arrays[name][mine] for name in ("box", "camera", "height"))
        lifted = partial(lift.poses, lifter, picture=picture)
        found = detect.detect(lifter.detector, picture)
        xy, sure, _ = as_skeleton(found, lifter.detector.skeleton, COCO17)
        if lifter.crops is None:
            one = look.joints(picture, box)
            poses.crop[mine] = lifted(*one, camera=lens, height=tall)
            size = picture.shape[0], picture.shape[1]
            fitting = better_fit(one, (xy, sure), box, size)
            poses.by_box[mine] = lifted(*fitting, camera=lens, height=tall)
        else:
            poses.by_box[mine] = look(picture, box, lens, tall).xyz
        rows = arrays["person"][mine]
        match = matched(xy, table["coco_2d"][rows] - 0.5, table["coco_vis"][rows], box)
        hit = match >= 0
        poses.whole[mine[hit]] = lifted(
            xy[match[hit]], sure[match[hit]], camera=lens[hit], height=tall[hit]
        )
    return poses


def matched(
    xy: np.ndarray, label: np.ndarray, visible: np.ndarray, box: np.ndarray
) -> np.ndarray:  # fmt: skip
    """For each labelled person the row of the person found, -1 where missed: the highest OKS
    first, each person once."""
    match = np.full(len(label), -1)
    if not len(xy):
        return match
    area = AREA_OF_BOX * np.prod(box[:, 2:] - box[:, :2], axis=-1)
    flags, scale = visible[:, None], area[:, None]
    same = np.array(oks(xy[None], label[:, None], flags, scale, sigmas(COCO17)))
    while same.max() >= SAME:
        i, j = np.unravel_index(same.argmax(), same.shape)
        match[i] = j
        same[i], same[:, j] = -1.0, -1.0
    return match
