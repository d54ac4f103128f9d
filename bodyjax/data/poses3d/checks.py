"""What is wrong with joints in space before anything learns from them: units, sides, numbers."""

from __future__ import annotations

from os import PathLike

import numpy as np

from bodyjax.errors import DataError
from bodyjax.skeleton import H36M17

ADULT_THIGH = (200.0, 650.0)
"""Millimetres; medians of whole sets of people, children included, lie between."""

HEIGHTS = (300.0, 2800.0)
"""Heights of people, mm: a height in metres or centimetres lies outside."""

MIRRORED = 0.8
"""Share of poses whose chest and toes disagree with their sides from which a set is mirrored."""


def check(xyz: np.ndarray, file: str | PathLike[str]) -> None:
    """DataError unless xyz (N, 17, 3) are joints of h36m17 in mm with the sides of the person.

    NaN stands for a joint that is not known; infinities and poses without a known joint are errors.
    Units are noticed by the median thigh, swapped sides by knees: they bend to the front.
    """
    if xyz.ndim != 3 or xyz.shape[1:] != (len(H36M17.joints), 3):
        hint = "17 joints in the order of skeleton h36m17"
        raise DataError(f"want joints (N, 17, 3), got {xyz.shape}", file=file, hint=hint)
    known = np.isfinite(xyz).all(-1)
    for row in np.flatnonzero(np.isinf(xyz).any((1, 2)) | ~known.any(1))[:1]:
        raise DataError("joints that are not numbers", file=file, place=f"pose {row}")
    thigh = np.nanmedian(thighs(xyz)) if known.any() else np.nan
    if np.isfinite(thigh) and not ADULT_THIGH[0] <= thigh <= ADULT_THIGH[1]:
        hint = "joints are in millimetres"
        near = {1000.0: "metres", 10.0: "centimetres", 25.4: "inches"}
        for factor, unit in near.items():
            if ADULT_THIGH[0] <= thigh * factor <= ADULT_THIGH[1]:
                hint = f"these look like {unit}: multiply by {factor:g}"
                break
        raise DataError(f"a median thigh of {thigh:.4g} mm is no person's", file=file, hint=hint)
    share = backward_share(xyz)
    if share > MIRRORED:
        what = f"{share:.0%} of the bent knees bend backwards: left and right are swapped"
        raise DataError(what, file=file, hint="swap the joints of both sides")


def check_heights(height: np.ndarray, file: str | PathLike[str]) -> None:
    """DataError unless heights (N,) are those of people in mm."""
    least, most = HEIGHTS
    for row in np.flatnonzero(~((height >= least) & (height <= most)))[:1]:
        what = f"{height[row]:g} is no person's height in mm"
        raise DataError(what, file=file, place=f"person {row}", hint="1.7 m are 1700 mm")


def thighs(xyz: np.ndarray) -> np.ndarray:
    """Lengths (N, 2) of the thighs, left and right."""
    sides = [
        xyz[:, H36M17.index(f"{side}_hip")] - xyz[:, H36M17.index(f"{side}_knee")]
        for side in ("left", "right")
    ]
    return np.linalg.norm(np.stack(sides, 1), axis=-1)


def backward_share(xyz: np.ndarray) -> float:
    """Which share of the clearly bent knees bends to the back, given the person's left and right
    hips and the trunk; NaN without a bent knee. Swapping sides, or mirroring space alone, turns
    front into back."""
    at = {name: xyz[:, i] for i, name in enumerate(H36M17.joints)}
    left, up = at["left_hip"] - at["right_hip"], at["thorax"] - at["pelvis"]
    front = np.cross(left, up)
    front = front / np.maximum(np.linalg.norm(front, axis=-1, keepdims=True), 1e-9)
    votes = []
    for side in ("left", "right"):
        hip, knee, ankle = (at[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
        leg = np.linalg.norm(ankle - hip, axis=-1)
        bent = leg < 0.95 * (
            np.linalg.norm(knee - hip, axis=-1) + np.linalg.norm(ankle - knee, axis=-1)
        )
        # The knee's way off the line from hip to ankle, along the pelvis' front.
        line = (ankle - hip) / np.maximum(leg, 1e-9)[:, None]
        off = (knee - hip) - np.sum((knee - hip) * line, -1, keepdims=True) * line
        votes.append(np.sum(off * front, -1)[bent & np.isfinite(off).all(-1)])
    every = np.concatenate(votes)
    return float((every < 0).mean()) if len(every) >= 20 else float("nan")
