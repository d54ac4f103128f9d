"""Human3.6M without pictures: training poses, and test poses with 2D detections (data/real3d).

Terms of use: academic research; nothing that is shipped is trained on them.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

import numpy as np

from bodyjax.data.pictures.labelled import read_arrays, seeded_share
from bodyjax.data.poses3d import checks
from bodyjax.data.poses3d.mocap import heights
from bodyjax.data.rows import Rows
from bodyjax.errors import DataError
from bodyjax.skeleton import H36M17, LIFT16

POSES, DETECTIONS = "h36m_3d_10fps.npz", "h36m_test_det2d_10fps.npz"

MPII16 = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis"),
    *("thorax", "neck", "head_top", "right_wrist", "right_elbow", "right_shoulder"),
    *("left_shoulder", "left_elbow", "left_wrist"),
)
"""Order of the stored detections."""

TRAINING = (1, 5, 6, 7, 8)

SCORE = 0.8
"""The stored detections have no scores: a score of joints found well."""


def measured_side(path: str | PathLike[str], *, step: int = 1) -> Rows:
    """Every view of every step-th frame of S9 and S11, one a row.

    xyz (N, 17, 3) mm, root-relative, camera axes; root (N, 3) mm; camera (N, 4); found and true
    (N, 16, 3) x, y, score in joints of lift16, pixels without lens distortion: as detected, and
    projected (head: the middle of neck_nose and head; the face is not given, score 0); projected
    (N, 17, 2): of all joints; near (N, 17, 3): detected x, y at the true depth (the floor of what
    depth alone can reach); action (N,). names: trial, frame and camera. DataError for missing
    arrays.
    """
    folder = Path(path)
    table = read_arrays(folder / POSES, ("root_mm", "rel_tenth_mm", "trial_start", "trial_len",
                                         "trial_subject", "trial_h36m", "cams", "cam_subject",
                                         "cam_name"))  # fmt: skip
    stored = read_arrays(folder / DETECTIONS, ("det_px", "trial_index"))
    xyz = np.concatenate([np.zeros((len(table["root_mm"]), 1, 3)), table["rel_tenth_mm"] / 10.0], 1)
    xyz = xyz + table["root_mm"][:, None]
    spans = [(int(t), int(table["trial_len"][t])) for t in stored["trial_index"]]
    if sum(length for _, length in spans) != len(stored["det_px"]):
        raise DataError("has other frames than the poses", file=folder / DETECTIONS)
    subjects = [str(name) for name in table["cam_subject"]]
    parts, first = [], 0
    for trial, length in spans:
        frames = np.arange(0, length, step)
        world = xyz[table["trial_start"][trial] + frames]
        detections = stored["det_px"][first + frames].astype(np.float64)
        cameras = table["cams"][subjects.index(str(table["trial_subject"][trial]))]
        name = str(table["trial_h36m"][trial])
        for view, camera in enumerate(cameras):
            parts.append(_view(world, detections[:, view], camera, name, view))
        first += length
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    kept = arrays.pop("there")
    arrays = {key: value[kept] for key, value in arrays.items()}
    return Rows(arrays, str(folder), heldout=np.ones(int(kept.sum()), bool))


def train_side(path: str | PathLike[str], part: str, *, step: int = 1) -> Rows:
    """Poses of the training subjects as poses3d.mocap gives them; "valid": a tenth of the trials by
    name. The ears stand for the middle of the head as `measured_side` has it; there is no nose,
    which training must leave out (views.Noise.faceless = 1)."""
    file = Path(path) / POSES
    table = read_arrays(file, ("rel_tenth_mm", "trial_start", "trial_len", "trial_subject",
                               "trial_name"))  # fmt: skip
    names = [f"S{s} {n}" for s, n in zip(table["trial_subject"], table["trial_name"], strict=True)]
    train, valid = np.isin(table["trial_subject"], TRAINING), seeded_share(names, 10)
    chosen = {"train": train & ~valid, "valid": train & valid, "trainvalid": train}.get(part)
    if chosen is None:
        raise DataError(f"has no poses of part {part} to train on", file=file)
    spans = [
        np.arange(table["trial_start"][t], table["trial_start"][t] + table["trial_len"][t], step)
        for t in np.flatnonzero(chosen)
    ]
    frames = np.concatenate(spans)
    xyz = np.concatenate([np.zeros((len(frames), 1, 3)), table["rel_tenth_mm"][frames] / 10.0], 1)
    xyz = np.stack([xyz[..., 0], -xyz[..., 2], xyz[..., 1]], -1)  # z up to y down
    checks.check(xyz, file)
    middle = xyz[:, [H36M17.index("neck"), H36M17.index("head_top")]].mean(1)
    points = np.concatenate([xyz, np.repeat(middle[:, None], 3, 1)], 1)
    points = points / heights(xyz)[:, None, None]
    return Rows({"xyz": points.astype(np.float32)}, str(file))


def mean_height(path: str | PathLike[str]) -> float:
    """How tall the training subjects are on average, mm, by their bones."""
    table = read_arrays(Path(path) / POSES, ("rel_tenth_mm", "trial_start", "trial_subject"))
    starts = [
        int(table["trial_start"][list(table["trial_subject"]).index(name)]) for name in TRAINING
    ]
    rel = table["rel_tenth_mm"][starts] / 10.0
    return float(heights(np.concatenate([np.zeros((len(rel), 1, 3)), rel], 1)).mean())


def _view(
    world: np.ndarray, found: np.ndarray, camera: np.ndarray, name: str, view: int
) -> dict[str, np.ndarray]:
    """The rows of one camera: world (F, 17, 3), found (F, 16, 2) px, camera (23,)."""
    turn, shift = camera[:9].reshape(3, 3), camera[9:12]
    placed = world @ turn.T + shift
    lens = np.tile(camera[12:16], (len(world), 1))
    there = (found >= 0).all((1, 2)) & (placed[:, 0, 2] > 0)
    plane = undistorted((found - camera[14:16]) / camera[12:14], camera[16:21])
    places = plane * camera[12:14] + camera[14:16]
    projected = placed[..., :2] / placed[..., 2:] * camera[12:14] + camera[14:16]
    of_joints = np.stack([_h36m_place(places, joint) for joint in H36M17.joints], 1)
    near = np.concatenate(
        [(of_joints - camera[14:16]) / camera[12:14] * placed[..., 2:], placed[..., 2:]], -1
    )
    action = re.split(r"[ _]\d", name)[0].rstrip(" _0123456789")
    return {
        "xyz": (placed - placed[:, :1]).astype(np.float32),
        "root": placed[:, 0].astype(np.float32),
        "camera": lens.astype(np.float32),
        "found": _lift16({joint: places[:, i] for i, joint in enumerate(MPII16)}),
        "true": _lift16({joint: projected[:, i] for i, joint in enumerate(H36M17.joints)}),
        "projected": projected.astype(np.float32),
        "near": (near - near[:, :1]).astype(np.float32),
        "action": np.full(len(world), action, "U32"),
        "view": np.full(len(world), view),
        "there": there,
    }


def _h36m_place(places: np.ndarray, joint: str) -> np.ndarray:
    """The detected place of a joint of h36m17; the spine lies midway on the trunk."""
    if joint == "spine":
        return places[:, [MPII16.index("pelvis"), MPII16.index("thorax")]].mean(1)
    return places[:, MPII16.index(joint)]


def _lift16(at: dict[str, np.ndarray]) -> np.ndarray:
    """(F, 16, 3) of lift16 from joints by name."""
    out = np.zeros((len(at["neck"]), len(LIFT16.joints), 3), np.float32)
    for j, joint in enumerate(LIFT16.joints):
        if joint == "head":
            out[:, j, :2] = (at["neck"] + at["head_top"]) / 2
        elif joint in at:
            out[:, j, :2] = at[joint]
        else:
            continue
        out[:, j, 2] = SCORE
    return out


def undistorted(plane: np.ndarray, lens: np.ndarray) -> np.ndarray:
    """Places (..., 2) on the plane z = 1 without the distortion k1 k2 k3 p1 p2 (README of the set);
    found by ten steps of a fixed point."""
    k1, k2, k3, p1, p2 = lens
    x, y = plane[..., 0], plane[..., 1]
    u, v = x.copy(), y.copy()
    for _ in range(10):
        r = u * u + v * v
        d = 1 + k1 * r + k2 * r**2 + k3 * r**3 + p1 * v + p2 * u
        u, v = (x - p2 * r) / d, (y - p1 * r) / d
    return np.stack([u, v], -1)
