"""Movements as joint-angle trajectories: the eight commands of a traffic officer and standing idle.

US 2020/0042776 A1, [0058], names the use. The table gives angles of the upper arm against the
trunk, 0 hanging, 90 level, 180 up. Tempo, amplitude, phase, tremor and the timing of left and right
vary from clip to clip. Anything that must not reveal the class (length, start pose, idle time
before and after, stance, sway, glances) is in `Setting`, drawn without knowing the class. Exercises
are in exercises.py. NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bodyjax.simulate.body import ArmAngles, Array, Body, Leg, Pose

COMMANDS = (
    *("stop", "go_straight", "left_turn", "left_turn_wait", "right_turn"),
    *("change_lane", "slow_down", "pull_over", "idle"),
)
"""The nine classes: eight commands and none."""

SWEEPS = ("right_turn", "left_turn_wait", "change_lane", "slow_down")
"""Commands whose arm moves back and forth between two places."""
BACKWARD = "_backward"
ONE_WAY = tuple(name for sweep in SWEEPS for name in (sweep, sweep + BACKWARD))
"""Sweeps slow out and quick back, and the same clips played backward: they differ only in order."""
EVEN, LATE = (0.42, 0.55), (0.76, 0.84)
"""The share of a cycle at which the arm turns: of commands, and of sweeps that are one-way."""

# raised, outward, elbow, inward in degrees (see body.ArmAngles)
START_ARMS = {
    "hang": (7.0, 60.0, 10.0, 10.0),
    "behind": (22.0, 150.0, 55.0, 115.0),
    "front": (14.0, 30.0, 62.0, 55.0),
    "hips": (42.0, 105.0, 105.0, 70.0),
}

FIDGETS = {  # of one arm
    "scratch_head": (70.0, 35.0, 145.0, 30.0),
    "scratch_belly": (18.0, 20.0, 100.0, 70.0),
    "scratch_arm": (32.0, 0.0, 95.0, 80.0),
    "look_at_watch": (40.0, 10.0, 100.0, 45.0),
    "hand_on_hip": (42.0, 105.0, 105.0, 70.0),
    "shake_out": (24.0, 60.0, 15.0, 0.0),
}


@dataclass(frozen=True)
class Setting:
    """The properties of a clip that don't depend on its class. before and after: idle time, s;
    start: name in START_ARMS; stance: half width between the ankles, mm; toes: outward turn of both
    feet, degrees; sway, tremor and glance: sizes of mm, degrees and degrees."""

    frames: int
    fps: float
    before: float
    after: float
    start: str
    stance: float
    toes: tuple[float, float]
    sway: float
    tremor: float
    glance: float
    lean: float


def draw_setting(rng: np.random.Generator, frames: int, fps: float) -> Setting:
    """A random setting of `frames` frames at `fps`; the class is not known here."""
    duration = frames / fps
    return Setting(
        frames=frames,
        fps=fps,
        before=duration * float(rng.uniform(0.03, 0.16)),
        after=duration * float(rng.uniform(0.02, 0.12)),
        start=str(rng.choice(list(START_ARMS), p=[0.55, 0.15, 0.15, 0.15])),
        stance=float(rng.uniform(70, 190)),
        toes=(float(rng.uniform(0, 30)), float(rng.uniform(0, 30))),
        sway=float(rng.uniform(4, 16)),
        tremor=float(rng.uniform(0.3, 1.4)),
        glance=float(rng.uniform(2, 25)),
        lean=float(rng.normal(0, 2.5)),
    )


def ease(t: Array, start: float, duration: float) -> Array:
    """0 before `start`, 1 after start + duration, minimum jerk between (Flash and Hogan 1985)."""
    x = np.clip((t - start) / max(duration, 1e-6), 0, 1)
    return x * x * x * (10 - 15 * x + 6 * x * x)


def drift(rng: np.random.Generator, t: Array, size: float) -> Array:
    """Smooth noise over times t (s) of about `size` (standard deviation): four slow waves."""
    rate, phase = rng.uniform(0.15, 1.6, 4), rng.uniform(0, 2 * np.pi, 4)
    weight = rng.normal(0, 1, 4) / np.sqrt(4)
    return size * np.sin(2 * np.pi * t[:, None] * rate + phase) @ weight * np.sqrt(2)


def cycles(
    rng: np.random.Generator,
    t: Array,
    start: float,
    end: float,
    count: int,
    turning: tuple[float, float] = EVEN,
) -> Array:
    """`count` excursions 0 -> 1 -> 0 between start and end (s), uneven in time (12 %), height (6 %)
    and asymmetric; a short rest may stand at either end of each. turning: the share of its time at
    which each turns, drawn from this range."""
    share = np.clip(rng.normal(1, 0.12, count), 0.7, 1.4)
    edges = start + (end - start) * np.concatenate([[0], np.cumsum(share) / share.sum()])
    wave = np.zeros_like(t)
    for a, b in pairwise(edges):
        peak = a + (b - a) * rng.uniform(*turning)
        rest = (b - a) * rng.uniform(0.0, 0.10)
        height = 1 - abs(rng.normal(0, 0.04))
        there, back = ease(t, a, peak - a - rest), ease(t, peak + rest, b - peak - rest)
        wave = wave + height * (there - back)
    return wave


def command(
    name: str,
    body: Body,
    setting: Setting,
    rng: np.random.Generator,
    turning: tuple[float, float] = EVEN,
) -> tuple[Pose, int]:
    """The movement `name` of COMMANDS as a pose of setting.frames frames, and its repetitions (0 if
    nothing repeats). turning: as in `cycles`. ValueError for another name."""
    if name not in COMMANDS:
        raise ValueError(f"no command {name!r}; there are {', '.join(COMMANDS)}")
    t = np.arange(setting.frames) / setting.fps
    start, end = setting.before, t[-1] - setting.after
    arms = {side: _rest(rng, t, setting) for side in ("left", "right")}
    steps = np.zeros((2, len(t), 3))
    count = 0
    if name == "idle":
        steps = _fidget(rng, t, setting, arms)
    else:
        count = 0 if name == "stop" else int(rng.integers(2, 4)) if end - start > 2.6 else 2
        _act(name, rng, t, start, end, count, arms, turning)
    return standing(body, setting, rng, t, arms, steps), count


def _rest(rng: np.random.Generator, t: Array, setting: Setting) -> Array:
    """One arm (T, 4) in the start pose, degrees."""
    base = np.array(START_ARMS[setting.start])
    base = base + rng.normal(0, (1.5, 8.0, 4.0, 5.0))
    return np.repeat(base[None], len(t), 0)


def _act(
    name: str,
    rng: np.random.Generator,
    t: Array,
    start: float,
    end: float,
    count: int,
    arms: dict[str, Array],
    turning: tuple[float, float],
) -> None:
    """Write the officer's command into arms {"left", "right"}: (T, 4) degrees, in place."""

    def about(value: float, spread: float) -> float:
        return value + float(rng.uniform(-spread, spread))

    rise, fall = rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.5)
    squeeze = min(1.0, 0.45 * (end - start) / (rise + fall))
    rise, fall = rise * squeeze, fall * squeeze
    wave = cycles(rng, t, start + rise, end - fall, count, turning) if count else np.zeros_like(t)
    flex = about(6, 4)

    def held(raised: float, outward: float) -> Array:
        return np.tile([raised, outward, flex, 0.0], (len(t), 1))

    def swept(
        raised: tuple[float, float],
        outward: tuple[float, float],
        elbow: tuple[float, float] | None = None,
        inward: float = 0.0,
    ) -> Array:
        """Angles from a first to a last value with the wave; a straight elbow if not given."""
        first, last = zip(raised, outward, elbow or (flex, flex), (inward, inward), strict=True)
        return np.array(first) + wave[:, None] * (np.array(last) - np.array(first))

    hang = np.tile([about(6, 2), about(60, 15), about(9, 4), 10.0], (len(t), 1))
    left, right = hang, hang.copy()
    level, low = about(90, 4), about(45, 4)
    if name == "stop":
        left = held(about(175, 3), about(6, 6))
    elif name == "go_straight":
        left = held(about(90, 4), about(88, 6))
        bend = (flex, about(90, 8))
        right = swept((level, level), (about(88, 5), about(-8, 6)), bend, 90.0)
    elif name in ("left_turn", "right_turn"):
        ahead = held(level, about(2, 6))
        sweep = swept((low, about(52, 5)), (about(88, 6), about(-36, 6)))
        left, right = (sweep, ahead) if name == "left_turn" else (ahead, sweep)
    elif name == "left_turn_wait":
        out = about(86, 8)
        left = swept((low, low - about(18.5, 1.5)), (out, out))
    elif name == "change_lane":
        front = about(6, 5)
        right = swept((level, level), (front, front - about(71, 8)))
    elif name == "slow_down":
        out = about(45, 6)
        right = swept((level, level - about(53, 6)), (out, out))
    elif name == "pull_over":
        left = held(about(171, 3), about(6, 6))
        front = about(2, 5)
        right = swept((low, low + about(2, 3)), (front, front - about(60, 4)))
    for side, active in (("left", left), ("right", right)):
        lag = rng.uniform(0, 0.18) * rise * 2
        on = ease(t, start + lag, rise) - ease(t, end - fall + lag, fall)
        # the direction turns while the arm still hangs, so that it rises where it will be held
        turn = ease(t, start + lag - 0.1, 0.4 * rise + 0.1)
        turn = turn - ease(t, end - fall + lag + 0.6 * fall, 0.4 * fall + 0.1)
        weight = np.stack([on, turn, on, turn], -1)
        arms[side][:] = arms[side] + weight * (active - arms[side])


def _fidget(rng: np.random.Generator, t: Array, setting: Setting, arms: dict[str, Array]) -> Array:
    """One or two small movements of somebody who waits; returns the ankles' steps (2, T, 3) mm."""
    steps = np.zeros((2, len(t), 3))
    duration = t[-1]
    for _ in range(int(rng.integers(1, 3))):
        begin, length = rng.uniform(0.05, 0.6) * duration, rng.uniform(0.25, 0.5) * duration
        move = 0.35 * length
        on = ease(t, begin, move) - ease(t, begin + length - move, move)
        kind = rng.choice(["arm", "arm", "step", "relax", "none"])
        if kind == "arm":
            side = ("left", "right")[int(rng.integers(2))]
            name = str(rng.choice(list(FIDGETS)))
            goal = np.array(FIDGETS[name]) + rng.normal(0, (4, 6, 8, 6))
            rub = np.sin(2 * np.pi * rng.uniform(1.5, 3.0) * t) * (4 if "scratch" in name else 0)
            target = goal + rub[:, None] * np.array([0.6, 0, 1.0, 0])
            arms[side][:] = arms[side] + on[:, None] * (target - arms[side])
        elif kind == "relax":
            rest = np.array(START_ARMS[str(rng.choice(list(START_ARMS)))])
            for arm in arms.values():
                arm[:] = arm + ease(t, begin, move)[:, None] * (rest - arm)
        elif kind == "step":
            foot, shift = int(rng.integers(2)), rng.normal(0, (60, 0, 90))
            gone = ease(t, begin, 0.4)
            steps[foot] += gone[:, None] * shift
            steps[foot, :, 1] += 60 * np.sin(np.pi * np.clip((t - begin) / 0.4, 0, 1))
    return steps


def arm_angles(degrees: Array) -> ArmAngles:
    """(T, 4) raised, outward, elbow, inward in degrees, kept to what an arm can do."""
    raised, outward, elbow, inward = np.radians(degrees).T
    return ArmAngles(
        np.clip(raised, 0, np.radians(179.5)), outward, np.clip(elbow, 0.02, 2.6), inward
    )


def standing(
    body: Body,
    setting: Setting,
    rng: np.random.Generator,
    t: Array,
    arms: dict[str, Array],
    steps: Array,
) -> Pose:
    """A standing person with the given arms (T, 4) degrees; feet planted, trunk and head moving
    slightly."""
    frames = len(t)
    tremor, sway = setting.tremor, setting.sway
    angles = {}
    for side in ("left", "right"):
        noise = np.stack([drift(rng, t, tremor * k) for k in (0.6, 1.0, 1.5, 1.0)], -1)
        noise += rng.normal(0, 0.15 * tremor, (frames, 4))
        degrees = arms[side] + noise
        angles[side] = arm_angles(degrees)

    size = body.length
    ankles = []
    legs = []
    for k, sign in enumerate((1, -1)):
        ankle = np.zeros((frames, 3)) + [sign * setting.stance, size["ankle"], 0] + steps[k]
        turn = np.radians(setting.toes[k])
        toes = np.tile([sign * np.sin(turn), 0.0, np.cos(turn)], (frames, 1))
        legs.append(Leg(ankle, toes, toes))
        ankles.append(ankle)
    middle = (ankles[0] + ankles[1]) / 2
    pelvis = middle + np.stack(
        [drift(rng, t, sway), np.zeros(frames), drift(rng, t, 0.7 * sway)], -1
    )
    # as high as the more distant foot lets the hip stand, knees almost straight
    reach = 0.996 * (size["thigh"] + size["shin"])
    heights = []
    for sign, ankle in zip((1, -1), ankles, strict=True):
        aside = pelvis[:, [0, 2]] + [sign * size["pelvis_to_hip"], 0] - ankle[:, [0, 2]]
        heights.append(ankle[:, 1] + np.sqrt(reach**2 - np.sum(aside**2, -1)))
    pelvis[:, 1] = np.minimum(*heights) - 2

    lean = np.radians(setting.lean)
    turn = np.radians(np.stack([drift(rng, t, 2), drift(rng, t, 0.7), drift(rng, t, 0.8)], -1))
    # the trunk gives way a little to the arms: it turns with an arm that sweeps across
    twist = sum(
        sign * -0.06 * np.sin(angles[name].raised) * (angles[name].outward - np.pi / 4)
        for sign, name in ((1, "left"), (-1, "right"))
    )
    spine = np.stack(
        [twist, lean + np.radians(drift(rng, t, 0.8)), np.radians(drift(rng, t, 0.8))], -1
    )
    look = np.radians(
        np.stack([drift(rng, t, setting.glance), drift(rng, t, 5), drift(rng, t, 3)], -1)
    )
    return Pose(pelvis, turn, spine, look, angles["left"], angles["right"], *legs)


def everyday(body: Body, rng: np.random.Generator) -> Pose:
    """One frame (T = 1) of a person who walks, bends, sits, crouches, kneels or jumps, the arms
    anywhere."""
    size = body.length
    legs_length = size["thigh"] + size["shin"]

    def row(*values: float) -> Array:
        return np.array([values], float)

    def arm() -> ArmAngles:
        raised = rng.uniform(0, 180) if rng.random() < 0.6 else abs(rng.normal(15, 15))
        degrees = [raised, rng.uniform(-40, 110), abs(rng.normal(0, 55)), rng.uniform(-20, 100)]
        return ArmAngles(*np.radians(np.clip(degrees, 0, 150))[:, None])

    height = 1.0 if rng.random() < 0.55 else rng.uniform(0.3, 1.0)  # of the pelvis, standing = 1
    stride, wide = rng.normal(0, 0.22) * legs_length, abs(rng.normal(0, 0.1)) * legs_length
    lift = abs(rng.normal(0, 0.12)) * legs_length if rng.random() < 0.5 else 0.0
    jump = rng.uniform(0, 0.2) * legs_length if rng.random() < 0.1 else 0.0
    hip = size["ankle"] + 0.99 * height * np.sqrt(max(legs_length**2 - stride**2 - wide**2, 1e4))
    legs = []
    for side, step, up in ((1, stride, lift), (-1, -stride, 0.0)):
        turn = np.radians(rng.normal(12, 14))
        ankle = row(side * (size["pelvis_to_hip"] + wide), size["ankle"] + up + jump, step)
        knee = row(side * (np.sin(turn) + rng.normal(0, 0.15)), 0.0, np.cos(turn))
        legs.append(Leg(ankle, row(side * np.sin(turn), -0.6 * up / 300, np.cos(turn)), knee))
    lean = rng.normal(4, 10) + (1 - height) * rng.uniform(0, 60)
    back = -0.45 * size["thigh"] * (1 - height)
    return Pose(
        pelvis=row(rng.normal(0, 20), hip + jump, back),
        turn=np.radians(row(rng.normal(0, 8), 0.4 * lean, rng.normal(0, 4))),
        spine=np.radians(row(rng.normal(0, 12), 0.6 * lean, rng.normal(0, 6))),
        head=np.radians(row(rng.normal(0, 25), rng.normal(2, 14), rng.normal(0, 6))),
        left_arm=arm(),
        right_arm=arm(),
        left_leg=legs[0],
        right_leg=legs[1],
    )
