"""A motion as a BVH file: bones of constant length that turn, as animation programs read it.

Joints come without turns about their own bones, which no picture of joints shows; every bone turns
the short way from its rest position.
"""

from __future__ import annotations

from os import PathLike

import numpy as np
from scipy.spatial.transform import Rotation

from bodyjax import files, geometry
from bodyjax.lift.motions import Motion, steady
from bodyjax.skeleton import H36M17

PARENTS = {
    "right_hip": "pelvis", "right_knee": "right_hip", "right_ankle": "right_knee",
    "left_hip": "pelvis", "left_knee": "left_hip", "left_ankle": "left_knee",
    "spine": "pelvis", "thorax": "spine", "neck": "thorax", "head_top": "neck",
    "left_shoulder": "thorax", "left_elbow": "left_shoulder", "left_wrist": "left_elbow",
    "right_shoulder": "thorax", "right_elbow": "right_shoulder", "right_wrist": "right_elbow",
}  # fmt: skip
"""Joint -> the joint before it, in the order of the file."""

CHILDREN = {
    joint: [child for child, parent in PARENTS.items() if parent == joint]
    for joint in H36M17.joints
}

HELPER = "_base"
"""Where several bones leave a joint, each starts with a joint NAME_base without length, which
turns that bone alone: hips and collar bones are not one stiff body."""

REST = {
    **dict.fromkeys(("spine", "thorax", "neck", "head_top"), (0, 1, 0)),
    **{f"{side}_{joint}": (0, -1, 0) for side in ("left", "right") for joint in ("knee", "ankle")},
    **{f"left_{joint}": (1, 0, 0) for joint in ("hip", "shoulder", "elbow", "wrist")},
    **{f"right_{joint}": (-1, 0, 0) for joint in ("hip", "shoulder", "elbow", "wrist")},
}
"""Directions of the bones at rest: standing with arms sideways, y up, facing z."""

CENTIMETRES = 0.1
_Y_UP = np.array([1.0, -1.0, -1.0])
"""From the camera's axes (x right, y down, z forward) to x right, y up, z towards the camera."""


def y_up(points: np.ndarray) -> np.ndarray:
    """Points (..., 3) of the camera's axes with y up and z towards the camera, right-handed."""
    return points * _Y_UP


def lengths(xyz: np.ndarray) -> dict[str, float]:
    """The length of the bone to each joint, mm: the median over frames (F, 17, 3), NaN left out; of
    its two sides the mean, since bodies are symmetric and single frames are not."""
    joints = H36M17.joints
    limbs = [(H36M17.index(parent), H36M17.index(joint)) for joint, parent in PARENTS.items()]
    median = np.nanmedian(np.asarray(geometry.bone_lengths(xyz, limbs)), axis=0)
    one = dict(zip(PARENTS, median.tolist(), strict=True))
    other = {joint: joints[H36M17.mirror[H36M17.index(joint)]] for joint in PARENTS}
    return {joint: (one[joint] + one[other[joint]]) / 2 for joint in PARENTS}


def with_lengths(xyz: np.ndarray, length: dict[str, float]) -> np.ndarray:
    """Poses (F, 17, 3) whose bones keep their directions and take on these lengths, from the
    pelvis outwards; a bone without direction keeps the one of its rest position."""
    out = xyz.copy()
    for joint, parent in PARENTS.items():
        a, b = H36M17.index(parent), H36M17.index(joint)
        out[:, b] = out[:, a] + length[joint] * _direction(
            xyz[:, b] - xyz[:, a], y_up(_rest(joint))
        )
    return out


def _rest(joint: str) -> np.ndarray:
    return np.array(REST[joint], float)


def _direction(bone: np.ndarray, at_rest: np.ndarray) -> np.ndarray:
    """Unit vectors (F, 3); `at_rest` (3,) for a bone without length."""
    size = np.linalg.norm(bone, axis=-1, keepdims=True)
    return np.where(size > 1e-6, bone / np.maximum(size, 1e-6), at_rest)


def write(file: str | PathLike[str], motion: Motion) -> None:
    """Writes one person: joints of h36m17 in cm, y up, z towards the camera, channels in the order
    Z, X, Y, at the constant rate of `motions.steady`.

    The pelvis moves by root; it stays at 0 if that is known in no frame. Bones have the lengths of
    `lengths`. BVH knows no gaps: frames that are `motions.unknown` are filled by `motions.filled`.
    DataError if it can't be written, for a motion without frames, and for times that do not rise.
    """
    even, rate = steady(motion)
    length = lengths(even.xyz)
    turns = _turns(y_up(even.xyz))
    lines = ["HIERARCHY", *_hierarchy("pelvis", length, 0), "MOTION"]
    lines += [f"Frames: {len(even.times)}", f"Frame Time: {1 / rate:.8f}"]
    columns = [y_up(even.root) * CENTIMETRES]
    columns += [turns[name].as_euler("ZXY", degrees=True) for name in _channels("pelvis")]
    table = np.concatenate(columns, axis=1)
    lines += [" ".join(f"{value:.5f}" for value in row) for row in table]
    files.write_text(file, "\n".join(lines) + "\n")


def _turns(points: np.ndarray) -> dict[str, Rotation]:
    """The turn of every joint with channels in its parent's axes, from poses (F, 17, 3) with y up.

    The pelvis and the thorax turn as the bones that leave them do together; what is left over is
    turned at the joints NAME_base. A joint with one bone turns the short way.
    """
    at = {name: points[:, i] for i, name in enumerate(H36M17.joints)}
    local: dict[str, Rotation] = {}
    inside = {"pelvis": Rotation.identity(len(points))}
    for joint in ("pelvis", *PARENTS):
        children, before = CHILDREN[joint], inside[joint]
        if not children:
            continue
        seen = {
            child: before.inv().apply(_direction(at[child] - at[joint], _rest(child)))
            for child in children
        }
        if len(children) == 1:
            (child,) = children
            local[joint] = _short_way(_rest(child), seen[child])
            inside[child] = before * local[joint]
            continue
        rest = np.stack([_rest(child) for child in children])
        ways = np.stack([seen[child] for child in children], axis=1)
        local[joint] = Rotation.concatenate([Rotation.align_vectors(way, rest)[0] for way in ways])
        for child in children:
            left = local[joint].inv().apply(seen[child])
            local[child + HELPER] = _short_way(_rest(child), left)
            inside[child] = before * local[joint] * local[child + HELPER]
    return local


def _short_way(rest: np.ndarray, way: np.ndarray) -> Rotation:
    """The smallest turns from one unit vector (3,) to unit vectors (F, 3)."""
    axis = np.cross(rest, way)
    sine, cosine = np.linalg.norm(axis, axis=-1), way @ rest
    opposite = (sine < 1e-9) & (cosine < 0)  # half a turn about any axis at right angles
    across = np.cross(rest, np.eye(3)[np.abs(rest).argmin()])
    axis = np.where(opposite[:, None], across / np.linalg.norm(across), axis)
    size = np.where(opposite, 1.0, np.where(sine > 0, sine, 1.0))
    return Rotation.from_rotvec(axis / size[:, None] * np.arctan2(sine, cosine)[:, None])


def _channels(joint: str) -> list[str]:
    """The joints with channels at and below one, in the order of the file."""
    children = CHILDREN[joint]
    names = [joint] if children else []
    for child in children:
        names += [child + HELPER] if len(children) > 1 else []
        names += _channels(child)
    return names


def _hierarchy(joint: str, length: dict[str, float], depth: int) -> list[str]:
    """The lines of a joint and those below it."""
    indent, children = "  " * depth, CHILDREN[joint]
    if joint == "pelvis":
        lines = ["ROOT pelvis", "{", "  OFFSET 0 0 0"]
        lines += ["  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"]
    else:
        lines = [f"{indent}JOINT {joint}" if children else f"{indent}End Site", f"{indent}{{"]
        lines += [f"{indent}  OFFSET {_offset(joint, length)}"]
        lines += [f"{indent}  CHANNELS 3 Zrotation Xrotation Yrotation"] if children else []
    for child in children:
        if len(children) > 1:
            lines += [f"{indent}  JOINT {child}{HELPER}", f"{indent}  {{"]
            lines += [f"{indent}    OFFSET 0 0 0"]
            lines += [f"{indent}    CHANNELS 3 Zrotation Xrotation Yrotation"]
            lines += [*_hierarchy(child, length, depth + 2), f"{indent}  }}"]
        else:
            lines += _hierarchy(child, length, depth + 1)
    return [*lines, f"{indent}}}"]


def _offset(joint: str, length: dict[str, float]) -> str:
    place = _rest(joint) * length[joint] * CENTIMETRES
    return " ".join(f"{value:.5f}" for value in place)
