"""Skeletons as data: joint names, limbs, mirror, OKS sigmas, bone groups, and maps between them.

A joint is identified by its name; left and right are the person's own. The order of joints and
limbs is the order of channels in heat maps and affinity fields. `make` makes a custom skeleton (an
animal, a hand); `words` and `of` carry it through a config. NumPy only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from bodyjax.errors import ConfigError

ABSENT, HIDDEN, SEEN = 0, 1, 2
"""Values of `visible`: not labelled; labelled but hidden; labelled and seen."""


@dataclass(frozen=True)
class Skeleton:
    """Names and connections of J joints.

    joints: J names. limbs: L pairs of joint indices, drawn and used for affinity fields. mirror:
    mirror[j] is the joint that j becomes in a mirrored picture. sigmas: per-joint constants of OKS,
    or None if none were published. groups: name -> indices of limbs whose length ratios are
    constant for a person.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    mirror: tuple[int, ...]
    sigmas: tuple[float, ...] | None
    groups: dict[str, tuple[int, ...]]

    def index(self, joint: str) -> int:
        """Position of a joint by name; ConfigError names the skeleton if there is none."""
        if joint not in self.joints:
            raise ConfigError(
                f"{self.name} has no joint {joint!r}", hint=f"its joints: {', '.join(self.joints)}"
            )
        return self.joints.index(joint)


Pairs = str | Sequence[Sequence[str]]
"""Pairs of joints by name: "nose-neck neck-hip", or [("nose", "neck"), ("neck", "hip")]."""


def make(
    name: str,
    joints: str | Sequence[str],
    limbs: Pairs,
    *,
    mirror: Pairs | None = None,
    sigmas: Sequence[float] | None = None,
    groups: dict[str, str] | None = None,
) -> Skeleton:
    """A custom skeleton, from words or lists of names: joints "nose neck", limbs "nose-neck",
    groups {"arms": "a-b c-d"}.

    mirror: pairs of joints that swap in a mirrored picture; if it is left out, names decide (left_x
    and right_x, L_Eye and R_Eye). A joint without another side stays itself. sigmas: those of OKS,
    one for each joint. Raises ConfigError for a joint named twice, a limb or mirror of an unknown
    joint, a group of an unknown limb, and impossible sigmas.
    """
    names = tuple(joints.split()) if isinstance(joints, str) else tuple(map(str, joints))
    place = {joint: i for i, joint in enumerate(names)}
    if not names or len(place) < len(names):
        twice = [joint for joint in names if names.count(joint) > 1]
        what = f"joint {twice[0]!r} is named twice" if twice else "has no joints"
        raise ConfigError(what, file=name)

    def pair(words: str | Sequence[str], what: str = "limb") -> tuple[int, int]:
        ends = words.split("-") if isinstance(words, str) else [str(word) for word in words]
        if len(ends) != 2 or not set(ends) <= set(names):
            told = "-".join(ends)
            raise ConfigError(f"{what} {told!r} names a joint that is not there", file=name)
        return place[ends[0]], place[ends[1]]

    pairs = tuple(pair(word) for word in (limbs.split() if isinstance(limbs, str) else limbs))
    members: dict[str, tuple[int, ...]] = {}
    for group, words in (groups or {}).items():
        wanted = [pair(word) for word in words.split()]
        missing = [
            word for word, limb in zip(words.split(), wanted, strict=True) if limb not in pairs
        ]
        if missing:
            raise ConfigError(f"group {group!r} names {missing[0]!r}, not a limb", file=name)
        members[group] = tuple(pairs.index(limb) for limb in wanted)
    if mirror is None:
        swapped = [place.get(other_side(joint), i) for i, joint in enumerate(names)]
    else:
        swapped = list(range(len(names)))
        for word in mirror.split() if isinstance(mirror, str) else mirror:
            first, second = pair(word, "mirror")
            swapped[first], swapped[second] = second, first
    made = Skeleton(name, names, pairs, tuple(swapped), None, members)
    return made if sigmas is None else with_sigmas(made, sigmas)


SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}
SIDE = re.compile(r"(?<![^\W_])(left|right|l|r)(?![^\W_])", re.IGNORECASE)
"""A word in a name that gives the side."""


def other_side(joint: str) -> str:
    """The name of the same joint on the other side: left_eye for right_eye, L_Eye for R_Eye; the
    name itself if it has no side."""

    def swapped(found: re.Match[str]) -> str:
        word = found[0]
        other = SIDES[word.lower()]
        return other.upper() if word.isupper() else other.title() if word.istitle() else other

    return SIDE.sub(swapped, joint)


def with_sigmas(skeleton: Skeleton, sigmas: Sequence[float]) -> Skeleton:
    """The skeleton with these constants of OKS. ConfigError unless there is one number above 0 for
    each joint."""
    count = len(skeleton.joints)
    if len(sigmas) != count:
        what = f"{len(sigmas)} sigmas for {count} joints"
        raise ConfigError(what, file=skeleton.name, hint="give one a joint")
    if not all(isinstance(value, Real) and 0 < value < math.inf for value in sigmas):
        raise ConfigError(f"sigmas {tuple(sigmas)} should be numbers above 0", file=skeleton.name)
    return replace(skeleton, sigmas=tuple(float(value) for value in sigmas))


# Per-joint constants of COCO's keypoint evaluation (cocodataset.org, keypoints-eval).
COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035),  # nose, eyes, ears
    *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062),  # shoulders, elbows, wrists
    *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),  # hips, knees, ankles
)

AREA_OF_BOX = 0.53
"""Area of a person with only a known box, as a share of the box (for OKS)."""

ARMS = (
    "left_shoulder-left_elbow left_elbow-left_wrist "
    "right_shoulder-right_elbow right_elbow-right_wrist"
)
LEGS = "left_hip-left_knee left_knee-left_ankle right_hip-right_knee right_knee-right_ankle"

COCO17 = make(
    "coco17",
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow"
    " left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
    f"{LEGS} {ARMS} left_hip-right_hip left_shoulder-left_hip right_shoulder-right_hip"
    " left_shoulder-right_shoulder left_eye-right_eye nose-left_eye nose-right_eye"
    " left_eye-left_ear right_eye-right_ear left_ear-left_shoulder right_ear-right_shoulder",
    sigmas=COCO_SIGMAS,
    groups={
        "arms": ARMS,
        "legs": LEGS,
        "trunk": "left_shoulder-left_hip right_shoulder-right_hip",
    },
)

# What CMU-Pose and OpenPose use: COCO plus the neck, right before left, 19 limbs in the order of
# their affinity fields (Cao et al., Realtime Multi-Person 2D Pose Estimation, CVPR 2017).
BODY18 = make(
    "body18",
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist"
    " right_hip right_knee right_ankle left_hip left_knee left_ankle"
    " right_eye left_eye right_ear left_ear",
    "neck-right_hip right_hip-right_knee right_knee-right_ankle"
    " neck-left_hip left_hip-left_knee left_knee-left_ankle"
    " neck-right_shoulder right_shoulder-right_elbow right_elbow-right_wrist"
    " right_shoulder-right_ear"
    " neck-left_shoulder left_shoulder-left_elbow left_elbow-left_wrist left_shoulder-left_ear"
    " neck-nose nose-right_eye nose-left_eye right_eye-right_ear left_eye-left_ear",
    groups={
        "arms": ARMS,
        "legs": LEGS,
        "shoulders": "neck-left_shoulder neck-right_shoulder",
        "hips": "neck-left_hip neck-right_hip",
    },
)

# Leeds Sports Pose (Johnson and Everingham 2010); the neck is labelled, not the mid-shoulder.
LSP14 = make(
    "lsp14",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow"
    " right_shoulder left_shoulder left_elbow left_wrist neck head_top",
    f"{LEGS} {ARMS} left_hip-right_hip left_shoulder-left_hip right_shoulder-right_hip"
    " neck-left_shoulder neck-right_shoulder neck-head_top",
    groups={
        "arms": ARMS,
        "legs": LEGS,
        "shoulders": "neck-left_shoulder neck-right_shoulder",
    },
)

# Human3.6M in the order of the 17 joints that its papers report (Ionescu et al. 2014).
H36M17 = make(
    "h36m17",
    "pelvis right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax neck"
    " head_top left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist",
    f"{LEGS} {ARMS} pelvis-left_hip pelvis-right_hip pelvis-spine spine-thorax thorax-neck"
    " neck-head_top thorax-left_shoulder thorax-right_shoulder",
    groups={
        "arms": ARMS,
        "legs": LEGS,
        "shoulders": "thorax-left_shoulder thorax-right_shoulder",
        "hips": "pelvis-left_hip pelvis-right_hip",
    },
)

# Penn Action (Zhang, Zhu, Derpanis 2013).
PENN13 = make(
    "penn13",
    "head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip"
    " right_hip left_knee right_knee left_ankle right_ankle",
    f"{LEGS} {ARMS} left_hip-right_hip left_shoulder-left_hip right_shoulder-right_hip"
    " left_shoulder-right_shoulder head-left_shoulder head-right_shoulder",
    groups={"arms": ARMS, "legs": LEGS},
)

# JHMDB's puppet joints (Jhuang et al. 2013).
JHMDB15 = make(
    "jhmdb15",
    "neck belly face right_shoulder left_shoulder right_hip left_hip right_elbow left_elbow"
    " right_knee left_knee right_wrist left_wrist right_ankle left_ankle",
    f"{LEGS} {ARMS} neck-belly neck-face neck-left_shoulder neck-right_shoulder"
    " belly-left_hip belly-right_hip",
    groups={
        "arms": ARMS,
        "legs": LEGS,
        "shoulders": "neck-left_shoulder neck-right_shoulder",
        "hips": "belly-left_hip belly-right_hip",
    },
)

# MediaPipe Pose (BlazePose GHUM), 33 landmarks.
MEDIAPIPE33 = make(
    "mediapipe33",
    "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear"
    " right_ear left_mouth right_mouth left_shoulder right_shoulder left_elbow right_elbow"
    " left_wrist right_wrist left_pinky right_pinky left_index right_index left_thumb right_thumb"
    " left_hip right_hip left_knee right_knee left_ankle right_ankle left_heel right_heel"
    " left_foot_index right_foot_index",
    f"{LEGS} {ARMS} left_hip-right_hip left_shoulder-left_hip right_shoulder-right_hip"
    " left_shoulder-right_shoulder nose-left_eye nose-right_eye left_eye-left_ear"
    " right_eye-right_ear left_mouth-right_mouth left_wrist-left_pinky left_wrist-left_index"
    " left_wrist-left_thumb right_wrist-right_pinky right_wrist-right_index"
    " right_wrist-right_thumb left_ankle-left_heel right_ankle-right_heel"
    " left_heel-left_foot_index right_heel-right_foot_index",
    groups={"arms": ARMS, "legs": LEGS},
)

# The Kinect skeleton of UI-PRMD (Vakanski et al. 2018).
UIPRMD22 = make(
    "uiprmd22",
    "waist spine chest neck head head_tip left_collar left_upper_arm left_forearm left_hand"
    " right_collar right_upper_arm right_forearm right_hand left_upper_leg left_lower_leg left_foot"
    " left_toes right_upper_leg right_lower_leg right_foot right_toes",
    "waist-spine spine-chest chest-neck neck-head head-head_tip chest-left_collar"
    " left_collar-left_upper_arm left_upper_arm-left_forearm left_forearm-left_hand"
    " chest-right_collar right_collar-right_upper_arm right_upper_arm-right_forearm"
    " right_forearm-right_hand waist-left_upper_leg left_upper_leg-left_lower_leg"
    " left_lower_leg-left_foot left_foot-left_toes waist-right_upper_leg"
    " right_upper_leg-right_lower_leg right_lower_leg-right_foot right_foot-right_toes",
    groups={
        "arms": "left_upper_arm-left_forearm left_forearm-left_hand"
        " right_upper_arm-right_forearm right_forearm-right_hand",
        "legs": "left_upper_leg-left_lower_leg left_lower_leg-left_foot"
        " right_upper_leg-right_lower_leg right_lower_leg-right_foot",
    },
)

# What the lifter sees of a person: the limbs, three points of the face that a detector finds, and
# the middle of the head, which motion capture and other data sets have too.
LIFT16 = make(
    "lift16",
    "left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip right_hip"
    " left_knee right_knee left_ankle right_ankle nose left_ear right_ear head",
    f"{LEGS} {ARMS} left_hip-right_hip left_shoulder-right_shoulder left_shoulder-left_hip"
    " right_shoulder-right_hip head-nose head-left_ear head-right_ear",
    groups={"arms": ARMS, "legs": LEGS},
)

SKELETONS = {
    skeleton.name: skeleton
    for skeleton in (
        *(COCO17, BODY18, LSP14, H36M17, PENN13, JHMDB15, MEDIAPIPE33, UIPRMD22, LIFT16),
    )
}


def get(name: str) -> Skeleton:
    """The skeleton of that name; ConfigError lists the known names."""
    if name not in SKELETONS:
        raise ConfigError(f"no skeleton {name!r}", hint=f"known: {', '.join(SKELETONS)}")
    return SKELETONS[name]


def of(value: str | Mapping[str, Any]) -> Skeleton:
    """The skeleton that a config names, or describes in a section with the parameters of `make`
    (name, joints, limbs and optionally mirror and sigmas), as `words` writes it."""
    if isinstance(value, str):
        return get(value)
    needed, more = {"name", "joints", "limbs"}, {"mirror", "sigmas"}
    hint = f"a name, or a section of {', '.join(sorted(needed | more))}"
    for field in sorted(needed - set(value)):
        raise ConfigError("is missing", place=f"skeleton.{field}", hint=hint)
    for field in sorted(set(value) - needed - more):
        raise ConfigError("there is no such field", place=f"skeleton.{field}", hint=hint)
    sigmas = value.get("sigmas") or None
    return make(
        value["name"], value["joints"], value["limbs"], mirror=value.get("mirror"), sigmas=sigmas
    )


def words(skeleton: Skeleton) -> str | dict[str, Any]:
    """The config of a skeleton, ready for JSON and for `of`: its name if bodyjax knows it,
    otherwise its joints, limbs, mirror and sigmas by name."""
    if SKELETONS.get(skeleton.name) == skeleton:
        return skeleton.name
    joints = skeleton.joints
    sides = [[joints[a], joints[b]] for a, b in enumerate(skeleton.mirror) if a < b]
    return {
        "name": skeleton.name,
        "joints": list(joints),
        "limbs": [[joints[a], joints[b]] for a, b in skeleton.limbs],
        "mirror": sides,
        "sigmas": list(skeleton.sigmas or ()),
    }


def own(skeleton: Skeleton) -> bool:
    """Whether a skeleton is custom, that is, none of those that bodyjax knows (a person's), by its
    joints."""
    return all(skeleton.joints != known.joints for known in SKELETONS.values())


def reported(skeleton: Skeleton) -> Skeleton:
    """The joints used to report people found with `skeleton`: COCO's, or the same joints for a
    custom skeleton."""
    return skeleton if own(skeleton) else COCO17


# Joints that a skeleton defines as the middle of others: they are computed where the source has
# those others, also if it has a joint of the same name at another place (LSP's labelled neck).
MIDDLES = {
    ("body18", "neck"): ("left_shoulder", "right_shoulder"),
    ("h36m17", "pelvis"): ("left_hip", "right_hip"),
    ("lift16", "head"): ("left_ear", "right_ear"),
}

# The same place under another name.
SYNONYMS = {
    "waist": "pelvis",
    "left_upper_arm": "left_shoulder",
    "right_upper_arm": "right_shoulder",
    "left_forearm": "left_elbow",
    "right_forearm": "right_elbow",
    "left_hand": "left_wrist",
    "right_hand": "right_wrist",
    "left_upper_leg": "left_hip",
    "right_upper_leg": "right_hip",
    "left_lower_leg": "left_knee",
    "right_lower_leg": "right_knee",
    "left_foot": "left_ankle",
    "right_foot": "right_ankle",
    "head_tip": "head_top",
}


def common_name(joint: str) -> str:
    """One name for joints that stand for the same place in different skeletons."""
    return SYNONYMS.get(joint, joint)


def convert(
    xy: np.ndarray, visible: np.ndarray, source: Skeleton, target: Skeleton
) -> tuple[np.ndarray, np.ndarray]:
    """Joints of one skeleton as joints of another.

    xy: (..., J, 2 or 3) of `source`; visible: (..., J) in {0, 1, 2}. Returns the same of `target`,
    in the dtypes given. A joint is found by its name, by another name for the same place
    (`SYNONYMS`) or as the middle of two (`MIDDLES`; its `visible` is the lower of the two). Joints
    that the source lacks are absent: visible 0, xy 0. Raises ValueError if the shapes do not fit
    the source.
    """
    xy, visible = np.asarray(xy), np.asarray(visible)
    count = len(source.joints)
    if xy.shape[-2] != count or visible.shape[-1] != count:
        raise ValueError(
            f"{source.name} has {count} joints, got xy {xy.shape}, visible {visible.shape}"
        )
    place = {common_name(joint): i for i, joint in enumerate(source.joints)}
    out_xy = np.zeros((*xy.shape[:-2], len(target.joints), xy.shape[-1]), xy.dtype)
    out_visible = np.zeros((*visible.shape[:-1], len(target.joints)), visible.dtype)
    for j, joint in enumerate(target.joints):
        parts = MIDDLES.get((target.name, joint), ())
        if source.name == target.name or not all(part in place for part in parts):
            parts = ()
        if parts:
            rows = [place[part] for part in parts]
        elif joint in source.joints:  # before another joint that a synonym would name
            rows = [source.joints.index(joint)]
        else:
            rows = [place[name] for name in (common_name(joint),) if name in place]
        if rows:
            seen = visible[..., rows].min(axis=-1)
            out_visible[..., j] = seen
            out_xy[..., j, :] = np.where(seen[..., None] > 0, xy[..., rows, :].mean(axis=-2), 0)
    return out_xy, out_visible


def convert_mask(mask: np.ndarray, source: Skeleton, target: Skeleton) -> np.ndarray:
    """Which joints of `target` are known, (..., J) bool, given the known ones of `source`: a joint
    that `convert` computes needs all the joints it is computed from."""
    known = np.asarray(mask).astype(np.uint8)
    _, seen = convert(np.zeros((*known.shape, 2)), known, source, target)
    return seen > 0


def check_convertible(source: Skeleton, target: Skeleton, what: str) -> None:
    """ConfigError if no joint of `target` can be obtained from `source`; `what` names the owner of
    the joints."""
    if not convert_mask(np.ones(len(source.joints), bool), source, target).any():
        raise ConfigError(
            f"{what} has joints of {source.name}, none of which is a joint of {target.name}",
            place="model.skeleton",
            hint=f"its joints: {', '.join(source.joints)}",
        )
