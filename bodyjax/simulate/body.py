"""An articulated adult: proportions, forward and inverse kinematics, and the capsules that fill it.

World frame of a person: x to the person's left at yaw 0, y up, z to the front, mm; the floor is
y = 0. Every array leads with time T, so that a whole clip is posed at once. NumPy only.

Segment lengths follow Drillis and Contini (1966) as shares of the height, varied by a few percent.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

Array = np.ndarray

POINTS = (
    *("pelvis", "spine", "thorax", "neck", "head", "head_top"),
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
    *("left_wrist", "right_wrist", "left_hand", "right_hand"),
    *("left_hip", "right_hip", "left_knee", "right_knee"),
    *("left_ankle", "right_ankle", "left_heel", "right_heel", "left_toe", "right_toe"),
)
"""Names of the points that `pose_points` returns."""

LENGTHS = {  # shares of the height
    "pelvis_to_hip": 0.053,  # sideways
    "thorax_to_shoulder": 0.105,  # sideways
    "trunk": 0.288,  # pelvis to thorax
    "neck": 0.044,
    "head": 0.130,
    "upper_arm": 0.180,
    "forearm": 0.146,
    "hand": 0.095,
    "thigh": 0.245,
    "shin": 0.246,
    "ankle": 0.039,  # above the sole
    "foot": 0.145,
}

RADII = {  # shares of the height
    "chest": 0.066,
    "belly": 0.085,
    "pelvis": 0.065,
    "shoulder": 0.034,
    "neck": 0.031,
    "head": 0.051,
    "upper_arm": 0.029,
    "elbow": 0.023,
    "wrist": 0.017,
    "hand": 0.019,
    "thigh": 0.050,
    "knee": 0.034,
    "calf": 0.034,
    "ankle": 0.022,
    "foot": 0.023,
}


@dataclass(frozen=True)
class Body:
    """Lengths and radii in mm of one adult, by the names of LENGTHS and RADII."""

    height: float
    length: dict[str, float]
    radius: dict[str, float]


@dataclass(frozen=True)
class ArmAngles:
    """An arm by joint angles, radians, against the trunk; each (T,).

    raised: upper arm against the hanging direction (0 hangs, pi/2 level, pi up).
    outward: direction of the raised arm about the trunk's axis (0 front, pi/2 to the arm's own
    side, negative across the chest). elbow: 0 straight. inward: plane of the bend, 0 bends the
    forearm on in the raising direction, pi/2 towards the other arm.
    """

    raised: Array
    outward: Array
    elbow: Array
    inward: Array


@dataclass(frozen=True)
class Reach:
    """An arm by the position of its wrist, (T, 3) mm in the world; elbow_towards and fingers (T, 3)
    are where the elbow and the fingers point."""

    wrist: Array
    elbow_towards: Array
    fingers: Array


@dataclass(frozen=True)
class Leg:
    """A leg by its ankle (T, 3) mm; toes and knee_towards are directions (T, 3)."""

    ankle: Array
    toes: Array
    knee_towards: Array


@dataclass(frozen=True)
class Pose:
    """Where a person is, frame by frame. Angles are (T, 3) yaw (to the person's left), pitch (to
    the front), roll (to the right), radians: turn of the pelvis in the world, spine of the thorax
    against the pelvis, head against the thorax. pelvis is (T, 3) mm in the world."""

    pelvis: Array
    turn: Array
    spine: Array
    head: Array
    left_arm: ArmAngles | Reach
    right_arm: ArmAngles | Reach
    left_leg: Leg
    right_leg: Leg


def draw_body(rng: np.random.Generator) -> Body:
    """A random adult: height 1500-1950 mm, lengths varied by 4 %, girth by 15 %."""
    height = float(np.clip(rng.normal(1700.0, 95.0), 1500.0, 1950.0))
    arms, legs = rng.normal(1.0, 0.035, 2)
    common = {"upper_arm": arms, "forearm": arms, "hand": arms, "thigh": legs, "shin": legs}
    length = {
        name: height * share * float(common.get(name, 1.0) * np.clip(rng.normal(1, 0.03), 0.9, 1.1))
        for name, share in LENGTHS.items()
    }
    girth = float(np.clip(rng.normal(1.0, 0.13), 0.78, 1.35))
    fixed = ("head", "neck", "hand", "foot")  # a stout person has no larger head
    radius = {
        name: height * share * (1.0 if name in fixed else girth) * float(rng.uniform(0.94, 1.06))
        for name, share in RADII.items()
    }
    radius["belly"] *= float(rng.uniform(0.92, 1.15))
    return Body(height, length, radius)


def unit(vector: Array) -> Array:
    """Vectors (..., 3) of length 1; a zero vector stays zero."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)


def rotation(angles: Array) -> Array:
    """(..., 3) yaw, pitch, roll in radians to (..., 3, 3) frames; columns are the frame's left, up
    and front. Yaw turns to the left, pitch leans to the front, roll leans to the right."""
    yaw, pitch, roll = np.moveaxis(np.asarray(angles, float), -1, 0)
    (sy, sp, sr), (cy, cp, cr) = np.sin([yaw, pitch, roll]), np.cos([yaw, pitch, roll])
    # yaw about y (front to left), then pitch about x (up to front), then roll about z (left to up)
    rows = [
        [cy * cr + sy * sp * sr, -cy * sr + sy * sp * cr, sy * cp],
        [cp * sr, cp * cr, -sp],
        [-sy * cr + cy * sp * sr, sy * sr + cy * sp * cr, cy * cp],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def two_bones(
    start: Array, goal: Array, first: float, second: float, towards: Array
) -> tuple[Array, Array]:
    """Middle joint and end of a chain of two bones from `start` to `goal`, all (T, 3).

    The middle joint bends towards `towards`. For a goal out of reach the chain is fully stretched
    towards it; for one that is too near it ends at its least distance (so the end may differ)."""
    line = goal - start
    direction = unit(line)
    distance = np.linalg.norm(line, axis=-1, keepdims=True)
    distance = np.clip(distance, abs(first - second) + 1.0, (first + second) * 0.9995)
    along = (first**2 - second**2 + distance**2) / (2 * distance)
    aside = towards - np.sum(towards * direction, -1, keepdims=True) * direction
    middle = start + along * direction
    middle = middle + np.sqrt(np.maximum(first**2 - along**2, 0.0)) * unit(aside)
    return middle, start + distance * direction


def arm_directions(arm: ArmAngles, side: int) -> tuple[Array, Array]:
    """Directions (T, 3) of upper arm and forearm in the trunk's frame (left, up, front).

    side is +1 for the left arm and -1 for the right one."""
    (sr, cr), (so, co) = [(np.sin(a), np.cos(a)) for a in (arm.raised, arm.outward)]
    upper = np.stack([side * sr * so, -cr, sr * co], -1)
    raising = np.stack([side * cr * so, sr, cr * co], -1)
    inwards = np.stack([-side * co, np.zeros_like(so), so], -1)
    bend = np.cos(arm.inward)[:, None] * raising + np.sin(arm.inward)[:, None] * inwards
    elbow = arm.elbow[:, None]
    return upper, np.cos(elbow) * upper + np.sin(elbow) * bend


def pose_points(body: Body, pose: Pose) -> tuple[dict[str, Array], dict[str, Array]]:
    """Forward kinematics: POINTS by name, each (T, 3) mm in the world, and the frames (T, 3, 3)
    of "pelvis", "trunk" and "head" (columns left, up, front)."""
    size = body.length
    pelvis = rotation(pose.turn)
    trunk = pelvis @ rotation(pose.spine)
    head = trunk @ rotation(pose.head)
    left, up = trunk[..., 0], trunk[..., 1]
    at: dict[str, Array] = {"pelvis": pose.pelvis}
    at["spine"] = at["pelvis"] + pelvis[..., 1] * size["trunk"] * 0.45
    at["thorax"] = at["spine"] + up * size["trunk"] * 0.55
    at["neck"] = at["thorax"] + up * size["neck"]

    head_left, head_up, head_front = (head[..., i] * size["head"] for i in range(3))
    middle = at["neck"] + 0.42 * head_up + 0.06 * head_front
    at["head"], at["head_top"] = middle, middle + 0.52 * head_up
    at["nose"] = middle - 0.08 * head_up + 0.46 * head_front
    for side, name in ((1, "left"), (-1, "right")):
        at[f"{name}_eye"] = middle + 0.04 * head_up + 0.36 * head_front + side * 0.14 * head_left
        at[f"{name}_ear"] = middle - 0.02 * head_up - 0.04 * head_front + side * 0.33 * head_left

    for side, name, arm, leg in (
        (1, "left", pose.left_arm, pose.left_leg),
        (-1, "right", pose.right_arm, pose.right_leg),
    ):
        shoulder = at["thorax"] + side * left * size["thorax_to_shoulder"]
        shoulder = shoulder - up * 0.03 * size["trunk"]
        if isinstance(arm, Reach):
            raised = np.arccos(np.clip(-np.sum(unit(arm.wrist - shoulder) * up, -1), -1, 1))
        else:
            raised = arm.raised
        # the shoulder blade follows the arm above level: up and a little inwards
        lift = np.clip((raised - np.radians(70)) / np.radians(110), 0, 1)[:, None]
        shoulder = shoulder + lift * size["trunk"] * (0.11 * up - 0.06 * side * left)
        if isinstance(arm, Reach):
            elbow, wrist = two_bones(
                shoulder, arm.wrist, size["upper_arm"], size["forearm"], arm.elbow_towards
            )
        else:
            upper, fore = (np.einsum("tij,tj->ti", trunk, d) for d in arm_directions(arm, side))
            elbow = shoulder + upper * size["upper_arm"]
            wrist = elbow + fore * size["forearm"]
        at[f"{name}_shoulder"], at[f"{name}_elbow"], at[f"{name}_wrist"] = shoulder, elbow, wrist
        fingers = arm.fingers if isinstance(arm, Reach) else wrist - elbow
        at[f"{name}_hand"] = wrist + unit(fingers) * size["hand"]

        hip = at["pelvis"] + side * pelvis[..., 0] * size["pelvis_to_hip"]
        at[f"{name}_hip"] = hip
        at[f"{name}_knee"], ankle = two_bones(
            hip, leg.ankle, size["thigh"], size["shin"], leg.knee_towards
        )
        toes = unit(leg.toes)
        shin = unit(at[f"{name}_knee"] - ankle)
        sole = ankle - unit(shin - np.sum(shin * toes, -1, keepdims=True) * toes) * size["ankle"]
        at[f"{name}_ankle"] = ankle
        at[f"{name}_heel"] = sole - toes * size["foot"] * 0.22
        at[f"{name}_toe"] = sole + toes * size["foot"] * 0.68
    return at, {"pelvis": pelvis, "trunk": trunk, "head": head}


def joints(points: dict[str, Array], names: tuple[str, ...]) -> Array:
    """Points (T, J, 3) in the order of a skeleton's joint names (coco17 and h36m17 are covered)."""
    return np.stack([points[name] for name in names], axis=1)


@dataclass(frozen=True)
class Solid:
    """One tapered capsule of a body: from point a to b with radii ra, rb, (T, 3) and mm; squeezed
    to `flat` of its thickness along `across` (T, 3). `cut` is where its colour changes from the
    first to the second name of `colours`, as a share of the way from a to b."""

    name: str
    a: Array
    b: Array
    ra: float
    rb: float
    colours: tuple[str, str]
    cut: float = 1.0
    flat: float = 1.0
    across: Array | None = None


def solids(
    body: Body, at: dict[str, Array], frames: dict[str, Array], clothes: dict[str, Any]
) -> list[Solid]:
    """The capsules that fill a posed body. clothes: {"sleeve": share, "leg": share} of the limbs
    that cloth covers, 0 to 2 (1 ends at elbow or knee)."""
    r = body.radius
    trunk, hips = frames["trunk"], frames["pelvis"]
    left, up, front = (trunk[..., i] for i in range(3))
    shoulder = body.length["thorax_to_shoulder"]
    chest = at["thorax"] - up * (0.20 * body.length["trunk"])
    wide = left * max(shoulder * 1.08 - r["chest"], 20.0)
    low = at["pelvis"] + hips[..., 1] * 0.02 * body.length["trunk"]
    hip = hips[..., 0] * max(body.length["pelvis_to_hip"] * 1.45 - r["pelvis"] * 0.5, 15.0)
    found = [
        Solid(
            "chest",
            chest - wide,
            chest + wide,
            r["chest"],
            r["chest"],
            ("shirt", "shirt"),
            flat=0.80,
            across=front,
        ),
        Solid(
            "belly",
            chest,
            low,
            r["belly"] * 1.05,
            r["belly"],
            ("shirt", "trousers"),
            0.86,
            flat=0.72,
            across=front,
        ),
        Solid(
            "pelvis",
            low - hip,
            low + hip,
            r["pelvis"],
            r["pelvis"],
            ("trousers", "trousers"),
            flat=0.95,
            across=hips[..., 2],
        ),
        Solid(
            "yoke",
            at["right_shoulder"],
            at["left_shoulder"],
            r["shoulder"],
            r["shoulder"],
            ("shirt", "shirt"),
        ),
        Solid(
            "neck",
            at["thorax"] - up * 10,
            at["head"] - frames["head"][..., 1] * 40,
            r["neck"],
            r["neck"] * 0.92,
            ("skin", "skin"),
        ),
    ]
    head_up = frames["head"][..., 1] * body.length["head"]
    found.append(
        Solid(
            "head",
            at["head"] - 0.16 * head_up,
            at["head"] + 0.14 * head_up,
            r["head"] * 0.86,
            r["head"] * 1.06,
            ("skin", "skin"),
            flat=0.84,
            across=frames["head"][..., 0],
        )
    )
    tip = at["nose"] - frames["head"][..., 2] * 12
    found.append(Solid("nose", tip + 0.12 * head_up, tip, 6.0, 13.0, ("skin", "skin")))
    sleeve, leg = clothes["sleeve"], clothes["leg"]
    for side in ("left", "right"):
        p = {name.removeprefix(f"{side}_"): at[name] for name in at if name.startswith(side)}
        found += [
            Solid(
                f"{side}_upper_arm",
                p["shoulder"],
                p["elbow"],
                r["upper_arm"] * 1.08,
                r["elbow"],
                ("shirt", "skin"),
                sleeve,
            ),
            Solid(
                f"{side}_forearm",
                p["elbow"],
                p["wrist"],
                r["elbow"],
                r["wrist"],
                ("shirt", "skin"),
                sleeve - 1.0,
            ),
            Solid(
                f"{side}_hand",
                p["wrist"],
                p["wrist"] + 0.75 * (p["hand"] - p["wrist"]),
                r["hand"],
                r["hand"] * 0.8,
                ("hand", "hand"),
                flat=0.75,
                across=front,
            ),
            Solid(
                f"{side}_thigh",
                p["hip"],
                p["knee"],
                r["thigh"],
                r["knee"],
                ("trousers", "skin"),
                leg,
            ),
            Solid(
                f"{side}_shin",
                p["knee"],
                p["ankle"],
                r["calf"],
                r["ankle"],
                ("trousers", "skin"),
                leg - 1.0,
            ),
            Solid(
                f"{side}_foot",
                p["heel"] + (p["ankle"] - p["heel"]) * 0.3,
                p["toe"] + (p["ankle"] - p["heel"]) * 0.15,
                r["foot"] * 1.1,
                r["foot"] * 0.85,
                ("shoe", "shoe"),
            ),
        ]
    return found


def at_frames(pose: Pose, index: Array | slice) -> Pose:
    """The pose at some frames only: every array is indexed along T."""

    def pick(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value[index]
        return type(value)(*(pick(getattr(value, f.name)) for f in fields(value)))

    return pick(pose)


def moved(pose: Pose, yaw: float, x: float, z: float) -> Pose:
    """The pose turned about the world's upright by yaw (radians, to the left) and then shifted by
    x, z (mm)."""
    turn = rotation(np.array([yaw, 0.0, 0.0]))
    shift = np.array([x, 0.0, z])

    def arm(value: ArmAngles | Reach) -> ArmAngles | Reach:
        if isinstance(value, ArmAngles):
            return value
        towards, fingers = value.elbow_towards @ turn.T, value.fingers @ turn.T
        return Reach(value.wrist @ turn.T + shift, towards, fingers)

    def leg(value: Leg) -> Leg:
        return Leg(value.ankle @ turn.T + shift, value.toes @ turn.T, value.knee_towards @ turn.T)

    return replace(
        pose,
        pelvis=pose.pelvis @ turn.T + shift,
        turn=pose.turn + np.array([yaw, 0.0, 0.0]),
        left_arm=arm(pose.left_arm),
        right_arm=arm(pose.right_arm),
        left_leg=leg(pose.left_leg),
        right_leg=leg(pose.right_leg),
    )
