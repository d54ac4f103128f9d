"""Motion capture without pictures: joints of h36m17 over time, with a face where it would be."""

from __future__ import annotations

from itertools import pairwise
from os import PathLike

import numpy as np

from bodyjax.data.pictures.labelled import check_part, read_arrays, seeded_share
from bodyjax.data.poses3d import checks
from bodyjax.data.rows import Rows
from bodyjax.errors import DataError
from bodyjax.skeleton import H36M17

FACE = ("nose", "left_ear", "right_ear")
"""Points after those of h36m17 in the poses of this room: P = 20."""

POINTS = (*H36M17.joints, *FACE)

HEIGHT = 1.0374
"""Height of a person as a multiple of the chain of thigh, shin, pelvis-spine-thorax-neck-head_top:
the median over the training people of the rendered set (5 to 95 %: 1.033 to 1.043)."""

FEW = 30
"""Sets of fewer trials give a third of them for validation."""

RENDERED = ("02", "10", "11")
"""CMU subjects whose motions are in the test part of the rendered people, besides soccer_*."""


def mocap(path: str | PathLike[str], part: str, *, step: int = 1) -> Rows:
    """Poses of PATH (an .npz in the layout of data/mocap: trials of root_mm and rel_tenth_mm).

    xyz (N, 20, 3) float32 are POINTS in heights of the person, relative to the pelvis, axes x
    right, y down, z forward, of no camera in particular. part: "train" and "valid" are trials of
    the file's training side, a tenth by name for validation (a third of fewer than 30), without
    those whose motions the test part of the rendered people has; "test" is the file's test side.
    step: every step-th frame.
    DataError for missing arrays and for what poses3d.checks notices.
    """
    check_part(part)
    needed = ("root_mm", "rel_tenth_mm", "trial_name", "trial_subject", "trial_start", "trial_len")
    table = read_arrays(path, (*needed, "trial_split"))
    rel = table["rel_tenth_mm"]
    if rel.ndim != 3 or rel.shape[1:] != (16, 3):
        raise DataError(f"want rel_tenth_mm (F, 16, 3), got {rel.shape}", file=path)
    names = [str(name) for name in table["trial_name"]]
    test = table["trial_split"] == "test"
    reserved = np.isin(table["trial_subject"], RENDERED)
    reserved |= np.array([name.startswith("soccer") for name in names])
    valid = seeded_share(names, 3 if len(names) < FEW else 10)
    chosen = {
        "train": ~test & ~reserved & ~valid,
        "valid": ~test & ~reserved & valid,
        "trainvalid": ~test & ~reserved,
        "test": test,
        "all": np.ones_like(test),
    }[part]
    rows = [
        np.arange(table["trial_start"][t], table["trial_start"][t] + table["trial_len"][t], step)
        for t in np.flatnonzero(chosen)
    ]
    if not rows:
        raise DataError(f"no trial is in part {part}", file=path)
    frames = np.concatenate(rows)
    labels = np.repeat(np.flatnonzero(chosen), [len(one) for one in rows])
    xyz = np.concatenate([np.zeros((len(frames), 1, 3)), rel[frames] / 10.0], axis=1)
    xyz = np.stack([xyz[..., 0], -xyz[..., 2], xyz[..., 1]], axis=-1)  # z up to y down
    checks.check(xyz, path)
    height = heights(xyz)
    # One height a trial: its bones hardly change, single frames do where the spine bends.
    for trial in np.flatnonzero(chosen):
        height[labels == trial] = np.median(height[labels == trial])
    points = np.concatenate([xyz, face(xyz)], axis=1) / height[:, None, None]
    return Rows(
        {"xyz": points.astype(np.float32)},
        str(path),
        groups=labels,
        names=tuple(f"{names[t]} frame {f}" for t, f in zip(labels, frames, strict=True)),
        heldout=test[labels],
    )


def heights(xyz: np.ndarray) -> np.ndarray:
    """How tall (N,) the people of xyz (N, 17, 3) are, in its unit, by their bones."""
    at = {name: xyz[:, i] for i, name in enumerate(H36M17.joints)}

    def chain(*joints: str) -> np.ndarray:
        return sum(np.linalg.norm(at[a] - at[b], axis=-1) for a, b in pairwise(joints))

    legs = [chain(f"{side}_hip", f"{side}_knee", f"{side}_ankle") for side in ("left", "right")]
    trunk = chain("pelvis", "spine", "thorax", "neck", "head_top")
    return HEIGHT * (np.mean(legs, axis=0) + trunk)


def face(xyz: np.ndarray) -> np.ndarray:
    """Where FACE (N, 3, 3) would be, by the head's axis, looking to where the shoulders face.

    Shares of the head's length are medians of the rendered training people. How the head turns is
    not known: training turns these points about the head's axis.
    """
    at = {name: xyz[:, i] for i, name in enumerate(H36M17.joints)}
    axis = at["head_top"] - at["neck"]
    length = np.linalg.norm(axis, axis=-1, keepdims=True)
    up = axis / np.maximum(length, 1e-6)
    left = at["left_shoulder"] - at["right_shoulder"]
    left = left - np.sum(left * up, -1, keepdims=True) * up
    left = left / np.maximum(np.linalg.norm(left, axis=-1, keepdims=True), 1e-6)
    front = np.cross(left, up)
    middle = at["neck"] + length * (0.159 * up + 0.032 * front)
    nose = at["neck"] + length * (0.116 * up + 0.750 * front)
    return np.stack([nose, middle + 0.51 * length * left, middle - 0.51 * length * left], axis=1)
