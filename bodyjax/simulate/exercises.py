"""Exercises as joint angles: push-up, sit-up, pull-up, squat and raising both arms, standard or
with one usual fault.

Every fault has a name and its guilty joints (COCO17 names): the joints whose path differs from the
standard one's by more than what follows from it. Hands and feet that carry weight stay where they
are (inverse kinematics). The person faces z; in the push-up the head points to z, in the sit-up
the feet. NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodyjax.simulate.body import Array, Body, Leg, Pose, Reach, Solid, rotation, two_bones, unit
from bodyjax.simulate.motion import Setting, arm_angles, cycles, drift, standing

EXERCISES = ("push_up", "sit_up", "pull_up", "squat", "raise_arms")
VIEWS = ("front", "side")

_HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names for side in ("left", "right"))


FAULTS: dict[str, dict[str, tuple[str, ...]]] = {
    "push_up": {
        "shallow": _both("elbow"),
        "sagging_hips": _both("hip"),
        "raised_hips": _both("hip"),
        "head_down": _HEAD,
    },
    "sit_up": {
        "shallow": _both("shoulder", "hip"),
        "feet_lifted": _both("knee", "ankle"),
        "neck_pull": _HEAD,
        "arm_swing": _both("elbow", "wrist"),
    },
    "pull_up": {
        "shallow": _both("elbow", "shoulder"),
        "no_extension": _both("elbow"),
        "kipping": _both("hip", "knee", "ankle"),
        "uneven": _both("shoulder", "elbow"),
    },
    "squat": {
        "shallow": _both("hip", "knee"),
        "knees_in": _both("knee"),
        "trunk_forward": _both("shoulder", "hip"),
        "heels_up": _both("knee", "ankle"),
    },
    "raise_arms": {
        "uneven": ("left_elbow", "left_wrist"),
        "bent_elbows": _both("elbow", "wrist"),
    },
}
"""exercise -> fault -> guilty joints."""


@dataclass(frozen=True)
class Exercise:
    """A movement and its surroundings: pose over T frames, repetitions, things to draw (a bar), and
    what a camera must show: extent (mm, along the picture's height) about target."""

    pose: Pose
    repetitions: int
    things: list[Solid]
    extent: float
    target: tuple[float, float, float]


@dataclass(frozen=True)
class _Plan:
    """Who does an exercise, how and when: t (T,) seconds; wave (T,) rises from 0 to 1 and falls
    back once per repetition; rng draws the rest, in the order of the code."""

    fault: str | None
    body: Body
    setting: Setting
    rng: np.random.Generator
    t: Array
    wave: Array
    count: int


def exercise(
    name: str, fault: str | None, body: Body, setting: Setting, rng: np.random.Generator
) -> Exercise:
    """The exercise `name` of EXERCISES, standard if fault is None. ValueError for names that are
    not in FAULTS."""
    if name not in FAULTS or (fault is not None and fault not in FAULTS[name]):
        raise ValueError(f"no exercise {name!r} with fault {fault!r}")
    t = np.arange(setting.frames) / setting.fps
    start, end = setting.before, t[-1] - setting.after
    most = max(1, min(4, int((end - start) / 0.9)))
    count = int(rng.integers(max(1, most - 1), most + 1))
    wave = cycles(rng, t, start, end, count)
    build = {
        "push_up": _push_up,
        "sit_up": _sit_up,
        "pull_up": _pull_up,
        "squat": _squat,
        "raise_arms": _raise_arms,
    }[name]
    return build(_Plan(fault, body, setting, rng, t, wave, count))


def _rows(t: Array, x: Array | float, y: Array | float, z: Array | float) -> Array:
    """(T, 3) from numbers and arrays over time."""
    return np.stack(np.broadcast_arrays(x, y, z, t)[:3], -1).astype(float)


def _angles(t: Array, yaw: Array | float, pitch: Array | float, roll: Array | float) -> Array:
    return np.radians(_rows(t, yaw, pitch, roll))


def _push_up(plan: _Plan) -> Exercise:
    fault, body, rng, t, wave = plan.fault, plan.body, plan.rng, plan.t, plan.wave
    size = body.length
    legs, arm = size["thigh"] + size["shin"], size["upper_arm"] + size["forearm"]
    if fault == "shallow":
        wave = wave * rng.uniform(0.2, 0.32)
    bend = np.full(t.shape, np.radians(rng.uniform(-2, 3)))
    if fault == "sagging_hips":
        bend = np.radians(rng.uniform(27, 36)) * (0.75 + 0.25 * wave)
    elif fault == "raised_hips":
        bend = -np.radians(rng.uniform(28, 42)) * (0.75 + 0.25 * wave)
    # from the toes to the base of the neck: two bars, legs and trunk, with `bend` at the hips
    first, second = 0.9955 * legs, size["trunk"]
    span = np.sqrt(first**2 + second**2 + 2 * first * second * np.cos(bend))
    ankle_height = 0.68 * size["foot"] + body.radius["foot"] * 0.6
    wide = size["thorax_to_shoulder"] * rng.uniform(1.15, 1.6)
    high = np.sqrt((0.97 * arm) ** 2 - (wide - size["thorax_to_shoulder"]) ** 2)
    low = 0.42 * arm + rng.uniform(-20, 20)
    height = 30 + high + wave * (low - high) + drift(rng, t, 4)
    slope = np.arcsin(np.clip((height - ankle_height) / span, -1, 1))
    middle = -0.45 * (legs + size["trunk"])
    ankle = _rows(t, 0, ankle_height, middle)
    thorax = ankle + _rows(t, 0, span * np.sin(slope), span * np.cos(slope))
    side = np.where(bend > 0, -1.0, 1.0)
    pelvis, _ = two_bones(ankle, thorax, first, second, _rows(t, 0, side, 0))
    trunk = unit(thorax - pelvis)
    pitch = np.degrees(np.arctan2(trunk[:, 2], trunk[:, 1]))
    hand_z = thorax[0, 2] + rng.uniform(-40, 30)
    flare = rng.uniform(0.5, 1.2)
    limbs = []
    for k in (1, -1):
        wrist = _rows(t, k * wide, 30, hand_z)
        limbs.append(Reach(wrist, _rows(t, k * flare, 0.4, -1), _rows(t, k * 0.15, 0, 1)))
    feet = size["pelvis_to_hip"] * rng.uniform(0.75, 1.3)
    stand = [
        Leg(ankle + np.array([k * feet, 0, 0]), _rows(t, 0, -1, 0.15), _rows(t, 0, -1, 0))
        for k in (1, -1)
    ]
    head = rng.uniform(-25, -5) + drift(rng, t, 3)
    if fault == "head_down":
        head = head + rng.uniform(50, 65)
    pose = Pose(
        pelvis=pelvis,
        turn=_angles(t, drift(rng, t, 0.6), pitch, drift(rng, t, 0.6)),
        spine=_angles(t, 0, drift(rng, t, 0.6), 0),
        head=_angles(t, drift(rng, t, 4), head, 0),
        left_arm=limbs[0],
        right_arm=limbs[1],
        left_leg=stand[0],
        right_leg=stand[1],
    )
    return Exercise(pose, plan.count, [], 1.05 * body.height, (0.0, 0.22 * body.height, 0.0))


def _sit_up(plan: _Plan) -> Exercise:
    fault, body, rng, t, wave = plan.fault, plan.body, plan.rng, plan.t, plan.wave
    size = body.length
    legs = size["thigh"] + size["shin"]
    top = rng.uniform(-16, 2) if fault != "shallow" else rng.uniform(-62, -50)
    trunk = -86 + wave * (top + 86) + drift(rng, t, 1)
    curl = 28 * wave
    pelvis = _rows(t, 0, 0.85 * body.radius["pelvis"], -0.1 * body.height)
    lifted = rng.uniform(180, 280) * wave if fault == "feet_lifted" else 0.0
    away = rng.uniform(0.55, 0.7) * legs
    wide = size["pelvis_to_hip"] * rng.uniform(0.7, 2.0)
    stand = []
    for k in (1, -1):
        ankle = pelvis * [1, 0, 1] + _rows(t, k * wide, size["ankle"] + lifted, away)
        stand.append(Leg(ankle, _rows(t, k * 0.15, 0.0015 * lifted, 1), _rows(t, k * 0.15, 1, 0.1)))
    style = int(rng.integers(2))
    base = np.array([(100.0, 80.0, 138.0, -20.0), (36.0, 2.0, 132.0, 75.0)][style])
    degrees = {side: np.tile(base + rng.normal(0, 4, 4), (len(t), 1)) for side in ("left", "right")}
    if fault == "arm_swing":
        far, near = np.array([165.0, 10, 12, 0]), np.array([80.0, 5, 10, 0])
        ahead = np.clip(1.5 * wave, 0, 1)[:, None]
        degrees = {side: far + ahead * (near - far) + rng.normal(0, 4, 4) for side in degrees}
    nod = 10 * wave + drift(rng, t, 2)
    if fault == "neck_pull":
        nod = nod + rng.uniform(42, 55) * np.clip(0.35 + wave, 0, 1)
    pose = Pose(
        pelvis=pelvis,
        turn=_angles(t, drift(rng, t, 1), trunk - curl, 0),
        spine=_angles(t, drift(rng, t, 1), curl, drift(rng, t, 1)),
        head=_angles(t, drift(rng, t, 3), nod, 0),
        left_arm=arm_angles(degrees["left"] + drift(rng, t, 2)[:, None]),
        right_arm=arm_angles(degrees["right"] + drift(rng, t, 2)[:, None]),
        left_leg=stand[0],
        right_leg=stand[1],
    )
    return Exercise(pose, plan.count, [], 1.0 * body.height, (0.0, 0.25 * body.height, 0.0))


def _pull_up(plan: _Plan) -> Exercise:
    fault, body, rng, t, wave = plan.fault, plan.body, plan.rng, plan.t, plan.wave
    size = body.length
    arm = size["upper_arm"] + size["forearm"]
    bar = 1.33 * body.height + rng.uniform(0, 150)
    if fault == "shallow":
        wave = wave * rng.uniform(0.4, 0.55)
    elif fault == "no_extension":
        bottom = rng.uniform(0.38, 0.5)
        wave = bottom + (1 - bottom) * wave
    grip = size["thorax_to_shoulder"] * rng.uniform(1.15, 1.7)
    # the shoulder blades rise and close in with raised arms (see body.pose_points)
    aside = grip - size["thorax_to_shoulder"] + 0.06 * size["trunk"]
    hang = np.sqrt((0.982 * arm) ** 2 - aside**2 - 40**2) + 0.08 * size["trunk"]
    chin = bar + 0.02 * body.height - size["neck"]
    thorax_y = bar - 40 - hang + wave * (chin - (bar - 40 - hang)) + drift(rng, t, 2)
    swing = drift(rng, t, 2.5)
    kick = np.zeros_like(t)
    if fault == "kipping":
        kick = rng.uniform(35, 55) * np.sin(np.pi * wave) + 15 * wave
        swing = swing + rng.uniform(10, 16) * np.sin(2 * np.pi * wave)
    tilt = rng.choice([-1, 1]) * rng.uniform(16, 24) * wave if fault == "uneven" else 0.0 * wave
    lean = -8 * wave + swing
    turn = _angles(t, drift(rng, t, 2), lean, tilt)
    back = -40 - 0.07 * body.height * wave
    pelvis = _rows(t, 0, thorax_y, back) - size["trunk"] * rotation(turn)[..., 1]
    limbs, stand = [], []
    bent = rng.uniform(0, 70) if rng.random() < 0.5 else rng.uniform(0, 15)
    for k in (1, -1):
        wrist = _rows(t, k * grip, bar - 45, 0)
        limbs.append(Reach(wrist, _rows(t, k * 0.7, -1, 0.1), _rows(t, 0, 1, 0.1)))
        thigh, shin = np.radians(lean - 2 - kick), np.radians(lean + bent * 0.9 + 0.6 * kick)
        knee = pelvis - size["thigh"] * _rows(t, 0, np.cos(thigh), np.sin(thigh))
        ankle = knee - size["shin"] * _rows(t, 0, np.cos(shin), np.sin(shin))
        ankle = ankle + np.array([k * size["pelvis_to_hip"] * 1.1, 0, 0])
        stand.append(Leg(ankle, _rows(t, k * 0.1, -1, 0.6), _rows(t, 0, 0.1, 1)))
    pose = Pose(
        pelvis=pelvis,
        turn=turn,
        spine=_angles(t, 0, 0, 0),
        head=_angles(t, drift(rng, t, 5), -14 * wave + drift(rng, t, 3), 0),
        left_arm=limbs[0],
        right_arm=limbs[1],
        left_leg=stand[0],
        right_leg=stand[1],
    )
    half = grip + rng.uniform(150, 500)

    def rod(a: tuple[float, ...], b: tuple[float, ...], radius: float) -> Solid:
        return Solid("bar", _rows(t, *a), _rows(t, *b), radius, radius, ("thing", "thing"))

    things = [
        rod((-half, bar, 0), (half, bar, 0), 17),
        rod((-half, 0, 0), (-half, bar, 0), 30),
        rod((half, 0, 0), (half, bar, 0), 30),
    ]
    tall = bar + 0.15 * body.height
    return Exercise(pose, plan.count, things, tall, (0.0, tall / 2, 0.0))


def _squat(plan: _Plan) -> Exercise:
    fault, body, rng, t, wave = plan.fault, plan.body, plan.rng, plan.t, plan.wave
    size = body.length
    if fault == "shallow":
        wave = wave * rng.uniform(0.45, 0.58)
    shin = np.radians(rng.uniform(26, 34)) * wave
    thigh = np.radians(rng.uniform(92, 102)) * wave
    lean = rng.uniform(32, 42) * wave
    if fault == "trunk_forward":
        lean = lean + rng.uniform(32, 42) * wave
    lift = np.zeros_like(t)
    if fault == "heels_up":
        lift = rng.uniform(0.40, 0.55) * size["foot"] * np.clip(1.6 * wave, 0, 1)
        shin = shin + np.radians(14) * wave
    wide = size["pelvis_to_hip"] * rng.uniform(1.3, 2.4)
    turn = np.radians(rng.uniform(8, 30))
    stand = []
    for k in (1, -1):
        ankle = _rows(t, k * wide, size["ankle"] + lift, 0.5 * lift)
        down = -lift / (0.68 * size["foot"])
        outward = np.sin(turn)
        toes = _rows(t, k * outward, down, np.cos(turn))
        knees: Array | float = (
            outward if fault != "knees_in" else outward - rng.uniform(0.6, 0.8) * wave
        )
        stand.append(Leg(ankle, toes, _rows(t, k * knees, 0.2, 1)))
    first = _rows(t, 0, np.cos(shin), np.sin(shin)) * size["shin"]
    second = _rows(t, 0, np.cos(thigh), -np.sin(thigh)) * size["thigh"]
    pelvis = stand[0].ankle * [0, 1, 1] + 0.985 * (first + second)
    pelvis[:, 0] = drift(rng, t, 6)
    base = np.array([(80.0, 6, 8, 0), (36.0, 2, 132, 75), (100.0, 80, 138, -20)])[rng.integers(3)]
    base = base + rng.normal(0, 4, 4)
    arms = np.tile(base, (len(t), 1))
    if base[2] < 40:  # straight arms rise with the way down
        arms[:, 0] = 12 + (base[0] + lean - 12) * np.clip(wave * 1.4, 0, 1)
    pose = Pose(
        pelvis=pelvis,
        turn=_angles(t, drift(rng, t, 2), 0.55 * lean, drift(rng, t, 1)),
        spine=_angles(t, 0, 0.45 * lean + drift(rng, t, 1), 0),
        head=_angles(t, drift(rng, t, 5), -0.6 * lean + drift(rng, t, 3), 0),
        left_arm=arm_angles(arms + drift(rng, t, 2)[:, None]),
        right_arm=arm_angles(arms + drift(rng, t, 2)[:, None]),
        left_leg=stand[0],
        right_leg=stand[1],
    )
    return Exercise(pose, plan.count, [], 1.2 * body.height, (0.0, 0.5 * body.height, 0.0))


def _raise_arms(plan: _Plan) -> Exercise:
    fault, body, rng, t, wave = plan.fault, plan.body, plan.rng, plan.t, plan.wave
    outward = rng.choice([8.0, 85.0]) + rng.normal(0, 5)
    top = rng.uniform(165, 177)
    arms = {}
    for side in ("left", "right"):
        reach = top - (rng.uniform(55, 75) if fault == "uneven" and side == "left" else 0)
        elbow = rng.uniform(4, 12) + 0.0 * wave
        if fault == "bent_elbows":
            elbow = elbow + rng.uniform(50, 75) * wave
        raised = 8 + (reach - 8) * wave
        arms[side] = np.stack(np.broadcast_arrays(raised, outward, elbow, 0.0), -1)
    pose = standing(body, plan.setting, rng, t, arms, np.zeros((2, len(t), 3)))
    return Exercise(pose, plan.count, [], 1.3 * body.height, (0.0, 0.61 * body.height, 0.0))
