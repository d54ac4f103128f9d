"""From people, place and camera to pictures with exact labels.

`film` joins the parts, `clip` makes one labelled clip, `picture` one labelled picture of some
people. The same seed gives the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bodyjax import skeleton
from bodyjax.simulate import motion, render, scene
from bodyjax.simulate.body import (
    Array,
    Body,
    Pose,
    Solid,
    at_frames,
    draw_body,
    joints,
    moved,
    pose_points,
    solids,
)
from bodyjax.simulate.exercises import EXERCISES, FAULTS, exercise
from bodyjax.simulate.render import Camera, Light, Look

COCO = skeleton.get("coco17").joints
H36M = skeleton.get("h36m17").joints
STREAMS = ("scene", "body", "setting", "motion", "sensor")
"""Independent random streams of a clip; only "motion" is drawn knowing the class."""


@dataclass(frozen=True)
class Person:
    """The filmed person: body, pose over T frames, look and the cut of the clothes."""

    body: Body
    pose: Pose
    look: Look
    clothes: dict[str, float]


@dataclass(frozen=True)
class Film:
    """T frames with exact labels of P people, COCO17 joints in J.

    frames (T, H, W, 3) uint8; xy (T, P, J, 2) pixels; visible (T, P, J) in {0 outside, 1 hidden,
    2 seen}; xyz (T, P, J, 3) and h36m (T, P, 17, 3) mm in the camera frame (x right, y down, z
    forward); depth (T, H, W) mm along z, inf where there is only sky."""

    frames: Array
    xy: Array
    visible: Array
    xyz: Array
    h36m: Array
    depth: Array
    camera: Camera


@dataclass(frozen=True)
class Clip:
    """One labelled clip: its film, class, frames per second and the other contents of its label."""

    film: Film
    label: str
    fps: float
    details: dict[str, Any] = field(default_factory=dict[str, Any])


def generator(seed: int, stream: str) -> np.random.Generator:
    """The Philox generator of one of STREAMS of the clip `seed`."""
    sequence = np.random.SeedSequence((seed, STREAMS.index(stream)))
    return np.random.Generator(np.random.Philox(sequence))


def film(
    people: list[Person],
    camera: Camera,
    light: Light,
    place: scene.Place,
    rng: np.random.Generator,
    things: list[tuple[list[Solid], Look]] | None = None,
) -> Film:
    """Draw people (all with the same T) and things in front of a place. rng is the sensor's: noise,
    blur, exposure."""
    posed = [pose_points(p.body, p.pose) for p in people]
    groups = []
    for p, (at, frames) in zip(people, posed, strict=True):
        filled = solids(p.body, at, frames, p.clothes)
        groups.append(
            (filled, p.look, frames["trunk"][..., 1], frames["head"], p.body.length["head"])
        )
    count = len(posed[0][0]["pelvis"])
    nothing = np.zeros((count, 3))
    for parts, paint in things or []:
        groups.append((parts, paint, nothing, np.zeros((count, 3, 3)), 0.0))
    drawn = render.Solids(camera, groups)

    xyz = np.stack([camera.view(joints(at, COCO)) for at, _ in posed], 1)
    h36m = np.stack([camera.view(joints(at, H36M)) for at, _ in posed], 1)
    thickness = np.stack([_thickness(p.body) for p in people])
    spots = np.concatenate(
        [_spots(p.body, at) for p, (at, _) in zip(people, posed, strict=True)], 1
    )

    depth = np.repeat(place.depth[None], count, 0)
    pictures = np.empty((count, *place.picture.shape), np.uint8)
    sensor = _Sensor(rng, place.picture)
    dark = float(rng.uniform(0.25, 0.7))
    for t in range(count):
        changes: list[Change] = []
        shade_box, left_over = scene.shadow(place, spots[t], camera, dark)
        changes.append((shade_box, left_over[..., None], 0.0))
        found = render.draw(drawn, t, camera, light)
        if found is not None:
            box, colour, cover, near = found
            changes.append((box, (1 - cover)[..., None], colour))
            part = depth[t, box[1] : box[3], box[0] : box[2]]
            np.minimum(part, near, out=part)
        sensor.expose(changes, pictures[t])
    visible = render.visibility(camera, xyz, depth, thickness)
    return Film(pictures, camera.project(xyz), visible, xyz, h36m, depth, camera)


Change = tuple[scene.Box, Array, Array | float]


class _Sensor:
    """Exposure, contrast, blur and noise of one camera, the same for all frames of a clip.

    The background is blurred once; a frame's changes are blurred in their own box."""

    def __init__(self, rng: np.random.Generator, background: Array):
        height, width = background.shape[:2]
        self.rng = rng
        self.gain = float(255 * rng.uniform(0.75, 1.15))
        offset = float(rng.uniform(-12, 14))
        self.blur = float(rng.choice([0.0, 0.0, 0.12, 0.22]))
        level = float(np.exp(rng.uniform(np.log(0.5), np.log(7))))
        noise = rng.standard_normal((height + 32, width + 32, 3), np.float32)
        self.noise = noise * np.float32(level) + np.float32(offset + 0.5)
        self.sharp = np.pad(background * np.float32(self.gain), ((1, 1), (1, 1), (0, 0)), "edge")
        self.soft = self._blurred(self.sharp)

    def _blurred(self, picture: Array) -> Array:
        """(h + 2, w + 2, 3) to (h, w, 3): three taps in each direction."""
        near, middle = np.float32(self.blur), np.float32(1 - 2 * self.blur)
        if not self.blur:
            return picture[1:-1, 1:-1]
        rows = middle * picture[1:-1] + near * (picture[:-2] + picture[2:])
        return middle * rows[:, 1:-1] + near * (rows[:, :-2] + rows[:, 2:])

    def expose(self, changes: list[Change], out: Array) -> None:
        """One frame into out (H, W, 3) uint8. A change is (box, share of the light behind that
        stays, light added); noise is a fresh cut of the clip's noise field."""
        height, width = out.shape[:2]
        boxes = np.array([box for box, _, _ in changes])
        (x0, y0), (x1, y1) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        part = self.sharp[y0 : y1 + 2, x0 : x1 + 2].copy()
        for (left, top, right, bottom), keep, add in changes:
            inner = part[top - y0 + 1 : bottom - y0 + 1, left - x0 + 1 : right - x0 + 1]
            inner *= keep
            inner += add if isinstance(add, float) else add * np.float32(self.gain)
        y, x = self.rng.integers(0, 33, 2)
        noise = self.noise[y : y + height, x : x + width]
        values = self.soft + noise
        inner = values[y0:y1, x0:x1]
        np.add(self._blurred(part), noise[y0:y1, x0:x1], out=inner)
        np.clip(values, 0, 255, out=values)
        out[:] = values


def _thickness(body: Body) -> Array:
    """(J,) mm: how far a COCO17 joint may lie under the surface of its own part."""
    r = body.radius
    side = {"shoulder": 1.3 * r["upper_arm"], "elbow": 1.3 * r["elbow"], "wrist": 1.3 * r["wrist"],
            "hip": 1.3 * r["pelvis"], "knee": 1.3 * r["knee"], "ankle": 1.4 * r["ankle"],
            "nose": 10.0, "eye": 15.0, "ear": 15.0}  # fmt: skip
    return np.array([30.0 + side[name.split("_")[-1]] for name in COCO])


def _spots(body: Body, at: dict[str, Array]) -> Array:
    """(T, N, 4) world x, y, z and half width of the parts that shade the floor."""
    r = body.radius
    halves = {"pelvis": r["pelvis"] * 1.5, "thorax": r["chest"] * 1.6}
    halves |= {f"{s}_ankle": r["foot"] * 2.5 for s in ("left", "right")}
    halves |= {f"{s}_knee": r["knee"] for s in ("left", "right")}
    return np.stack(
        [
            np.concatenate([np.maximum(at[n], [-1e9, 0, -1e9]), np.full((len(at[n]), 1), w)], -1)
            for n, w in halves.items()
        ],
        axis=1,
    )


def clip(
    label: str,
    seed: int,
    *,
    size: tuple[int, int] = (192, 144),
    fps: float = 15.0,
    length: tuple[int, int] = (40, 64),
    view: str = "front",
    fault: str | None = None,
    one_way: bool = False,
) -> Clip:
    """One clip of a command (motion.COMMANDS), a one-way sweep (motion.ONE_WAY) or an exercise
    (exercises.EXERCISES) by its seed.

    size is (W, H), length the range of frames. view ("front", "side") and fault (a name of
    exercises.FAULTS) are for exercises, one_way for the labels of ONE_WAY. Body, clothes, light,
    length, setting and the camera's place depend on the seed alone; a command's whole background
    too."""
    who, around = generator(seed, "body"), generator(seed, "scene")
    when, acting = generator(seed, "setting"), generator(seed, "motion")
    body = draw_body(who)
    look, clothes = scene.draw_look(who)
    setting = motion.draw_setting(when, int(when.integers(length[0], length[1] + 1)), fps)
    things: list[tuple[list[Solid], Look]] = []
    details: dict[str, Any] = {"view": view, "fault": fault, "guilty": []}
    if label in EXERCISES:
        done = exercise(label, fault, body, setting, acting)
        pose, extent, target = done.pose, done.extent, np.array(done.target)
        things = [(done.things, look)] if done.things else []
        details["repetitions"] = done.repetitions
        details["guilty"] = list(FAULTS[label][fault]) if fault else []
        yaw = (-25.0, 25.0)
        if view == "side":
            yaw = (68.0, 112.0) if around.random() < 0.5 else (-112.0, -68.0)
    else:
        name = label.removesuffix(motion.BACKWARD) if one_way else label
        turning = motion.LATE if one_way else motion.EVEN
        pose, details["repetitions"] = motion.command(name, body, setting, acting, turning)
        # room for a raised arm, whatever the movement
        extent = 1.30 * body.height
        target, yaw = np.array([0.0, 0.47 * extent, 0.0]), (-50.0, 50.0)
    camera = scene.draw_camera(around, size, target, extent, yaw=yaw)
    light, place = scene.draw_light(around, camera), scene.draw_place(around, camera)
    person = Person(body, pose, look, clothes)
    made = film([person], camera, light, place, generator(seed, "sensor"), things)
    return Clip(backward(made) if label.endswith(motion.BACKWARD) else made, label, fps, details)


def backward(made: Film) -> Film:
    """A film with its frames and labels in reverse."""
    parts = {
        name: getattr(made, name)[::-1]
        for name in ("frames", "xy", "visible", "xyz", "h36m", "depth")
    }
    return replace(made, **parts)


def picture(seed: int, size: tuple[int, int] = (192, 144), people: int = 1) -> dict[str, Array]:
    """One picture of `people` persons in random poses with exact labels.

    Returns image (H, W, 3) uint8, xy (P, 17, 2), visible (P, 17), xyz and h36m (P, 17, 3) mm in the
    camera frame, depth (H, W) mm, camera (4,) focal lengths and principal point in pixels, joints
    as COCO17. People may be cut by the picture's edge and hide each other. size is (W, H)."""
    if people < 1:
        raise ValueError(f"people must be at least 1, not {people}")
    around, who = generator(seed, "scene"), generator(seed, "body")
    crowd = []
    spread = 500.0 * (people - 1)
    for k in range(people):
        body = draw_body(who)
        look, clothes = scene.draw_look(who)
        pose = _moment(who, body)
        yaw = who.uniform(-70, 70) if who.random() < 0.75 else who.uniform(-180, 180)
        x = 0.0 if k == 0 else (k - (people - 1) / 2) * 900 + who.uniform(-350, 350)
        z = 0.0 if k == 0 else who.uniform(-1.6, 1.2) * (400 + spread)
        crowd.append(Person(body, moved(pose, np.radians(yaw), x, z), look, clothes))
    at, _ = pose_points(crowd[0].body, crowd[0].pose)
    points = np.concatenate([at[n] for n in COCO])
    low, high = points.min(0), points.max(0)
    tall = max(900.0, float((high - low).max()))
    # the first person takes 22 to 110 % of the picture's height, sometimes cut
    extent = tall * float(np.exp(around.uniform(np.log(0.9), np.log(3.0)))) * 1.1
    target = (low + high) / 2 + around.normal(0, 0.09, 3) * tall
    camera = scene.draw_camera(around, size, target, extent, yaw=(-30, 30))
    light, place = scene.draw_light(around, camera), scene.draw_place(around, camera)
    made = film(crowd, camera, light, place, generator(seed, "sensor"))
    return {
        "image": made.frames[0],
        "xy": made.xy[0],
        "visible": made.visible[0],
        "xyz": made.xyz[0],
        "h36m": made.h36m[0],
        "depth": made.depth[0],
        "camera": np.array([camera.focal, camera.focal, *camera.centre], np.float32),
    }


def _moment(rng: np.random.Generator, body: Body) -> Pose:
    """One frame (T = 1) of a random command, exercise or everyday pose."""
    setting = motion.draw_setting(rng, 24, 15.0)
    kind = rng.random()
    if kind < 0.35:
        pose, _ = motion.command(str(rng.choice(motion.COMMANDS)), body, setting, rng)
    elif kind < 0.6:
        name = str(rng.choice(EXERCISES))
        fault = str(rng.choice([*FAULTS[name], ""])) or None
        pose = exercise(name, fault, body, setting, rng).pose
    else:
        return motion.everyday(body, rng)
    return at_frames(pose, np.array([int(rng.integers(24))]))
