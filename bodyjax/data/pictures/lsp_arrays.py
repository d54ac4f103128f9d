"""LSP arrays: one labelled person a picture, fourteen joints (Johnson and Everingham 2010)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from bodyjax import skeleton
from bodyjax.data.pictures.images import Archive, Folder
from bodyjax.data.pictures.labelled import (
    BODY18,
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

FACE = [BODY18.index(name) for name in ("nose", "right_eye", "left_eye", "right_ear", "left_ear")]
NEAR_COPIES = {
    # lspet, as its 9,500 training pictures are cut
    "3757d02cad7945b5936196167188b7f99e59c52a8b2b696df476ab02223b6d15": (457, 1672, 4433, 7354),
}
"""Of known sets, by the SHA-256 of their joints: numbers of training pictures that nearly equal a
held-out one. They are in no part but "all"."""


def lsp(
    path: FilePath,
    part: str,
    *,
    teacher_score: float = 0.3,
    on_bad: str = "raise",
    check_pictures: bool = False,
) -> Pictures:
    """LSP arrays: PATH/labels.npz (ids, joints (N, 14, 2), labelled (N, 14)) and PATH/images.zip.

    Held out: `heldout` of the file, or ids % 10 == 0 without it; "valid" is ids % 10 == 1. Each
    picture has one labelled person; others may be there, so `complete` is False. Joints without a
    label are masked, and so is the face, except where PATH/teacher.npz has COCO joints: those with
    a score of `teacher_score` or more are taught, those under a third of it taught as absent,
    given that the teacher saw the same person the same way round. `extra`: lsp_xy (14, 2) and
    lsp_visible (14,), the labels themselves.
    Raises DataError for missing or misshapen arrays; bad rows raise or are left out (`on_bad`).
    `check_pictures` decodes every picture once; else a broken one raises when it is read.
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
    decoded = decoded_sizes(files, there) if check_pictures else {}
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
    labels = _label(joints[rows], labelled[rows], teacher_score, teacher[rows])
    return manifest.source(
        files,
        [by_number[int(ids[row])] for row in rows],
        ids[rows],
        labels,
        heldout[rows],
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
    found = ((re.fullmatch(r"\D*(\d+)\.\w+", Path(name).name), name) for name in sorted(names))
    return {int(match.group(1)): name for match, name in found if match}


def _teacher(file: Path, ids: np.ndarray) -> np.ndarray:
    """COCO-17 x, y, score of each row, (N, 17, 3); scores are NaN where there is no teacher."""
    out = np.full((len(ids), 17, 3), np.nan, np.float32)
    if file.exists():
        table = read_arrays(file, ("ids", "xy", "score"))
        rows = {int(number): i for i, number in enumerate(table["ids"])}
        for i, number in enumerate(ids):
            j = rows.get(int(number))
            if j is not None:
                out[i, :, :2], out[i, :, 2] = table["xy"][j], table["score"][j]
    return out


def _label(
    joints: np.ndarray, labelled: np.ndarray, least: float, teacher: np.ndarray
) -> list[People]:
    """BODY18 labels of each row: the labelled joints, and the face where the teacher has it."""
    visible = (labelled * skeleton.SEEN).astype(np.uint8)
    xy, visible = skeleton.convert(joints, visible, skeleton.get("lsp14"), BODY18)
    mask = visible > 0
    low = np.where(labelled[..., None], joints, np.inf).min(1)
    high = np.where(labelled[..., None], joints, -np.inf).max(1)
    size = (high - low).max(1)
    found, _ = skeleton.convert(
        np.nan_to_num(teacher), np.ones(teacher.shape[:2], np.uint8), skeleton.get("coco17"), BODY18
    )
    same = _same_person(xy, visible, found, size) & np.isfinite(teacher).all((1, 2))
    for joint in FACE:
        score = found[:, joint, 2]
        seen, absent = same & (score >= least), same & (score < least / 3)
        xy[seen, joint] = found[seen, joint, :2]
        visible[seen, joint] = skeleton.SEEN
        mask[:, joint] = seen | absent
    margin = 0.1 * size[:, None]
    boxes = np.concatenate([low - margin, high + margin], 1).astype(np.float32)
    none = np.zeros((0, 4), np.float32)
    return [
        People(xy[i, None], visible[i, None], boxes[i, None], none, mask[i], False)
        for i in range(len(joints))
    ]


def _same_person(
    xy: np.ndarray, visible: np.ndarray, other: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """(N,) whether a teacher's joints fit the labels: shoulders close by, not left for right."""
    pair = [BODY18.index("left_shoulder"), BODY18.index("right_shoulder")]
    straight = np.linalg.norm(xy[:, pair] - other[:, pair, :2], axis=2)
    crossed = np.linalg.norm(xy[:, pair] - other[:, pair[::-1], :2], axis=2)
    close = (straight.max(1) < 0.2 * size) & (straight.sum(1) <= crossed.sum(1))
    return close & (visible[:, pair] > 0).all(1)
