"""LSP arrays: one labelled person per picture, fourteen joints (Johnson and Everingham 2010)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from bodyjax import skeleton
from bodyjax.data.opened_once import Notes
from bodyjax.data.pictures.images import Archive, Folder
from bodyjax.data.pictures.labelled import (
    FilePath,
    Manifest,
    People,
    Pictures,
    check_part,
    decoded_sizes,
    open_files,
    read_arrays,
)
from bodyjax.errors import DataError
from bodyjax.skeleton import COCO17, LSP14, Skeleton

MARGIN = 0.1
"""The box of the joints is enlarged by this share of its longer side."""
FACE = ("nose", "right_eye", "left_eye", "right_ear", "left_ear")
WITH_FACE = skeleton.make(
    "lsp14 with a face",
    (*LSP14.joints, *FACE),
    [
        *((LSP14.joints[a], LSP14.joints[b]) for a, b in LSP14.limbs),
        *(("neck", "nose"), ("nose", "right_eye"), ("nose", "left_eye")),
        *(("right_eye", "right_ear"), ("left_eye", "left_ear")),
    ],
)
"""The skeleton of a set whose faces come from a teacher."""
NEAR_COPIES = {
    # lspet, as its 9,500 training pictures are cut
    "3757d02cad7945b5936196167188b7f99e59c52a8b2b696df476ab02223b6d15": (457, 1672, 4433, 7354),
}
"""For known sets, by the SHA-256 of their joints: numbers of training pictures that are nearly
equal to a held-out one. They are only in the part "all"."""


def lsp(
    path: FilePath,
    part: str,
    *,
    teacher_score: float = 0.3,
    on_bad: str = "raise",
    check_pictures: bool = False,
    notes: Notes | None = None,
) -> Pictures:
    """LSP arrays: PATH/labels.npz (ids, joints (N, 14, 2), labelled (N, 14)) and PATH/images.zip.

    Held out: `heldout` of the file, or ids % 10 == 0 without it; "valid" is ids % 10 == 1. Each
    picture has one labelled person; there may be others, so `complete` is False. Joints without a
    label are masked. The skeleton is LSP14, with a face if PATH/teacher.npz has COCO joints: those
    with a score of `teacher_score` or more are taught, those under a third of it taught as absent,
    provided that the teacher saw the same person in the same orientation. `extra`: lsp_xy (14, 2)
    and lsp_visible (14,), the labels themselves. Raises DataError for missing or misshapen arrays;
    bad rows raise or are left out (`on_bad`). `check_pictures` decodes every picture once;
    otherwise a broken one raises when it is read. notes: pictures that are noted there are not
    decoded again (bodyjax.data.opened_once).
    """
    folder = Path(path)
    table = read_arrays(folder / "labels.npz", ("ids", "joints"))
    files = open_files(folder)
    ids, joints = table["ids"].astype(np.int64), table["joints"].astype(np.float32)
    labelled = np.asarray(table["labelled"] if "labelled" in table else table.get("visible", 0))
    if joints.shape[1:] != (14, 2) or labelled.shape != joints.shape[:2] or len(ids) != len(joints):
        raise DataError(
            f"want ids (N,), joints (N, 14, 2), labelled (N, 14); got {ids.shape}, {joints.shape},"
            f" {labelled.shape}",
            file=folder / "labels.npz",
        )
    labelled = labelled.astype(bool)
    heldout = table["heldout"].astype(bool) if "heldout" in table else ids % 10 == 0
    by_number = _names_by_number(files)
    teacher = _teacher(folder / "teacher.npz", ids)
    manifest = Manifest(folder / "labels.npz", on_bad)
    rows = []
    copy = np.isin(ids, NEAR_COPIES.get(hashlib.sha256(joints.tobytes()).hexdigest(), ()))
    wanted = np.flatnonzero(_rows_of_part(part, ids, heldout, copy))
    there = [by_number[int(number)] for number in ids[wanted] if int(number) in by_number]
    decoded = decoded_sizes(files, there, notes) if check_pictures else {}
    for row in wanted:
        name = by_number.get(int(ids[row]))
        if name is None:
            manifest.bad(f"picture {ids[row]}", "no such picture")
        elif isinstance(fault := decoded.get(name), str):
            manifest.bad(name, fault)
        elif not np.isfinite(joints[row][labelled[row]]).all():
            manifest.bad(name, "joints that are not numbers")
        elif not labelled[row].any():
            manifest.bad(name, "no joint is labelled")
        else:
            rows.append(row)
    manifest.left_out["near copies of held-out pictures"] = (
        int(copy[~heldout].sum()) if part in ("train", "trainvalid") else 0
    )
    bones = LSP14 if teacher is None else WITH_FACE
    labels = _label(joints[rows], labelled[rows], bones)
    if teacher is not None:
        labels = _with_face(labels, teacher[rows], teacher_score)
    return manifest.source(
        files,
        [by_number[int(ids[row])] for row in rows],
        ids[rows],
        labels,
        heldout[rows],
        bones,
        {
            "lsp_xy": np.where(labelled[rows][..., None], joints[rows], 0),
            "lsp_visible": (labelled[rows] * skeleton.SEEN).astype(np.uint8),
        },
    )


def _rows_of_part(part: str, ids: np.ndarray, heldout: np.ndarray, copy: np.ndarray) -> np.ndarray:
    check_part(part)
    valid = ids % 10 == 1
    good = ~heldout & ~copy
    return {
        "train": good & ~valid,
        "valid": good & valid,
        "trainvalid": good,
        "test": heldout,
        "all": np.ones_like(heldout),
    }[part]


def _names_by_number(files: Archive | Folder) -> dict[int, str]:
    names = files.sizes if isinstance(files, Archive) else [p.name for p in files.path.iterdir()]
    seen = sorted(name for name in names if not Path(name).name.startswith("."))
    found = ((re.fullmatch(r"\D*(\d+)\.\w+", Path(name).name), name) for name in seen)
    return {int(match.group(1)): name for match, name in found if match}


def _teacher(file: Path, ids: np.ndarray) -> np.ndarray | None:
    """COCO-17 x, y, score of each row, (N, 17, 3), NaN where the teacher has none; None without the
    file."""
    if not file.exists():
        return None
    out = np.full((len(ids), 17, 3), np.nan, np.float32)
    table = read_arrays(file, ("ids", "xy", "score"))
    rows = {int(number): i for i, number in enumerate(table["ids"])}
    for i, number in enumerate(ids):
        j = rows.get(int(number))
        if j is not None:
            out[i, :, :2], out[i, :, 2] = table["xy"][j], table["score"][j]
    return out


def _label(joints: np.ndarray, labelled: np.ndarray, bones: Skeleton) -> list[People]:
    """The labels of each row; joints without a label are masked."""
    visible = (labelled * skeleton.SEEN).astype(np.uint8)
    xy, visible = skeleton.convert(joints, visible, LSP14, bones)
    low = np.where(labelled[..., None], joints, np.inf).min(1)
    high = np.where(labelled[..., None], joints, -np.inf).max(1)
    margin = MARGIN * (high - low).max(1, keepdims=True)
    boxes = np.concatenate([low - margin, high + margin], 1).astype(np.float32)
    none = np.zeros((0, 4), np.float32)
    return [
        People(xy[i, None], visible[i, None], boxes[i, None], none, visible[i] > 0, False)
        for i in range(len(joints))
    ]


def _with_face(labels: list[People], teacher: np.ndarray, least: float) -> list[People]:
    """Labels in WITH_FACE with the faces of a teacher (N, 17, 3)."""
    every = np.ones(teacher.shape[:2], np.uint8)
    found, _ = skeleton.convert(np.nan_to_num(teacher), every, COCO17, WITH_FACE)
    known = np.isfinite(teacher).all((1, 2))
    out = []
    for i, label in enumerate(labels):
        xy, visible, mask = label.xy.copy(), label.visible.copy(), label.joint_mask.copy()
        same = known[i] and _same_person(xy[0], visible[0], found[i, :, :2])
        for joint in (WITH_FACE.index(name) for name in FACE):
            score = found[i, joint, 2]
            if same and score >= least:
                xy[0, joint], visible[0, joint] = found[i, joint, :2], skeleton.SEEN
            mask[joint] = same and (score >= least or score < least / 3)
        out.append(replace(label, xy=xy, visible=visible, joint_mask=mask))
    return out


def _same_person(xy: np.ndarray, visible: np.ndarray, other: np.ndarray) -> bool:
    """Whether a teacher's joints (J, 2) fit the labels: shoulders close by, left and right not
    swapped."""
    pair = [WITH_FACE.index("left_shoulder"), WITH_FACE.index("right_shoulder")]
    size = np.ptp(xy[visible > 0], axis=0).max()
    straight = np.linalg.norm(xy[pair] - other[pair], axis=1)
    crossed = np.linalg.norm(xy[pair] - other[pair[::-1]], axis=1)
    close = straight.max() < 0.2 * size and straight.sum() <= crossed.sum()
    return bool(close and (visible[pair] > 0).all())
