"""Poses in space as the lifter sees them: random cameras, and joints as a detector errs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import sections
from bodyjax.data.poses3d import human36m
from bodyjax.data.poses3d.mocap import POINTS, mocap
from bodyjax.data.poses3d.rendered import rendered
from bodyjax.data.stream import Mixture, Stream
from bodyjax.errors import ConfigError
from bodyjax.sections import check
from bodyjax.skeleton import LIFT16

Example = dict[str, np.ndarray]

ENDS = np.array(
    [
        [POINTS.index(j), POINTS.index(j)] if j != "head" else [POINTS.index(f"{s}_ear") for s in
        ("left", "right")]
        for j in LIFT16.joints
    ]
)  # fmt: skip
"""The points whose middle each joint of lift16 is, (16, 2)."""

MIRROR = np.array(
    [POINTS.index(name.replace(*words)) for name in POINTS
     for words in [("left", "right") if "left" in name else ("right", "left")]]
)  # fmt: skip
"""The point that each point becomes in a mirrored picture."""

LIMB_ENDS = frozenset(("elbow", "wrist", "knee", "ankle"))


@dataclass(frozen=True)
class Noise:
    """How joints differ from the truth, in heights of the person; measured for `large` on the
    training part of the rendered people: seen joints are off by 0.010 (median), hidden ones by
    0.05, and a tenth of the people by 0.25 and more in many joints.

    sure, unsure: standard deviations of joints found well and badly; bad: share of the joints of a
    person that are unsure, 0 to twice that; lost: share of people with errors of `far`; drop: share
    of joints that are not given; faceless: share of people of whose face only the head's middle is
    given, as in data sets without a face.
    """

    sure: float = 0.012
    unsure: float = 0.06
    bad: float = 0.15
    lost: float = 0.08
    far: float = 0.18
    drop: float = 0.05
    faceless: float = 0.1


@dataclass(frozen=True)
class PoseData:
    """`config.data` of kind poses3d.

    mocap: an .npz in the layout of data/mocap, or the folder of data/real3d, whose training
    subjects of Human3.6M are taken; people: a folder in the layout of data/people, "" for none,
    joints: what a detector found there; shares: of both in a batch; views: cameras for each pose;
    batch: poses a step; step: every step-th frame of mocap.
    """

    kind: str
    batch: int
    mocap: str = ""
    people: str = ""
    joints: str = ""
    shares: tuple[float, ...] = (0.5, 0.5)
    views: int = 16
    step: int = 2
    workers: int = 0
    part: str = "train"
    noise: Noise = Noise()


@dataclass(frozen=True)
class Views:
    """The transform: `views` random cameras at one pose; if the detector found joints in the
    pose's own picture, the first view is that picture."""

    views: int
    noise: Noise

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        points, found = example["xyz"], "xy" in example and (example["score"] > 0).any()
        count = self.views
        seen = turned_points(points, count, rng)
        distance = np.exp(rng.uniform(np.log(0.9), np.log(9.0), count))
        placed = seen + np.array([0.0, 0.0, 1.0]) * np.maximum(distance, 0.25)[:, None, None]
        placed[..., 2] = np.maximum(placed[..., 2], 0.15)
        plane = placed[..., :2] / placed[..., 2:]
        xy = plane[:, ENDS].mean(2)
        xy, score = disturbed(xy, 1.0 / distance, self.noise, rng)
        # For half of them the camera is not known, only assumed.
        focal = np.exp(rng.normal(0.0, 0.25, count) * (rng.random(count) < 0.5))
        xy = xy * focal[:, None, None]
        camera = np.tile(np.array([1, 1, 0, 0], np.float32), (count, 1))
        if found:
            xy[0], score[0] = example["xy"], example["score"]
            seen[0], camera[0] = points, example["camera"]
        return {
            "xy": xy.astype(np.float32),
            "score": score.astype(np.float32),
            "camera": camera.astype(np.float32),
            "xyz": seen[:, :17].astype(np.float32),
        }


def turned_points(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """A pose (P, 3), y down, seen from `count` directions, half of them mirrored: (count, P, 3).

    Around the vertical uniformly, from above or below by the cameras of photos, the picture tilted
    a little; one in twenty in any direction at all. The face turns about the head by itself.
    """
    flip = rng.random(count) < 0.5
    seen = np.repeat(points[None].astype(np.float64), count, 0)
    seen[flip] = seen[flip][:, MIRROR] * [-1.0, 1.0, 1.0]
    seen[:, 17:] = turned_face(seen, rng.normal(0.0, 0.35, count))
    yaw = rng.uniform(-np.pi, np.pi, count)
    pitch = np.clip(rng.normal(0.22, 0.35, count), -0.7, 1.3)
    roll = rng.normal(0.0, 0.12, count)
    wild = rng.random(count) < 0.05
    pitch[wild] = rng.uniform(-np.pi, np.pi, wild.sum())
    roll[wild] = rng.uniform(-np.pi, np.pi, wild.sum())
    turn = about(2, roll) @ about(0, pitch) @ about(1, yaw)
    return np.einsum("vij,vpj->vpi", turn, seen)


def turned_face(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """The face (V, 3, 3) of points (V, 20, 3), turned about the head's axis by `angle` (V,)."""
    base, top = points[:, POINTS.index("neck")], points[:, POINTS.index("head_top")]
    axis = (top - base) / np.maximum(np.linalg.norm(top - base, axis=-1, keepdims=True), 1e-9)
    off = points[:, 17:] - base[:, None]
    along = np.sum(off * axis[:, None], -1, keepdims=True) * axis[:, None]
    across = off - along
    aside = np.cross(axis[:, None], across)
    c, s = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    return base[:, None] + along + c * across + s * aside


def about(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotations (V, 3, 3) about the axis 0, 1 or 2 by angle (V,); about x a positive one shows the
    person from above (y is down)."""
    turn = np.tile(np.eye(3), (len(angle), 1, 1))
    a, b = [i for i in range(3) if i != axis]
    turn[:, a, a] = turn[:, b, b] = np.cos(angle)
    turn[:, a, b], turn[:, b, a] = -np.sin(angle), np.sin(angle)
    return turn


def disturbed(
    xy: np.ndarray, unit: np.ndarray, noise: Noise, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Joints (V, 16, 2) as a detector might find them, and scores (V, 16) that tell how well.

    unit (V,): the person's height in units of xy. Joints that are not given have score 0.
    """
    count, joints = xy.shape[:2]
    lost = rng.random(count) < noise.lost
    share = np.where(lost, 0.6, rng.uniform(0, 2 * noise.bad, count))
    unsure = rng.random((count, joints)) < share[:, None]
    spread = np.where(lost, noise.far, noise.unsure)[:, None] * rng.gamma(1.5, 0.7, unsure.shape)
    sigma = np.where(unsure, spread, noise.sure * rng.gamma(2.0, 0.5, unsure.shape))
    moved = xy + rng.normal(size=xy.shape) * (sigma * unit[:, None])[..., None]
    score = 0.85 - 6.0 * np.minimum(sigma, 0.09) + rng.normal(0, 0.12, sigma.shape)
    given = rng.random((count, joints)) >= noise.drop * rng.uniform(0, 2, (count, 1))
    face = rng.random(count) < noise.faceless
    given[face, 12:15] = False
    return moved, np.where(given, np.clip(score, 0.05, 1.0), 0.0)


def as_found(example: Example, rng: np.random.Generator) -> Example:
    """The evaluation transform of people with detected joints: the picture's own view, in mm."""
    del rng
    return {
        **{name: example[name] for name in ("xy", "score", "camera", "height")},
        "xyz": (example["xyz"][:17] * example["height"]).astype(np.float32),
        "visible": np.full(17, 2, np.uint8),
    }


@dataclass(frozen=True)
class OneView:
    """The evaluation transform of motion capture: one random camera, a person of 1.7 m."""

    noise: Noise

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        seen = Views(1, self.noise)({"xyz": example["xyz"]}, rng)
        one = {name: seen[name][0] for name in ("xy", "score", "camera")}
        height = np.float32(1700.0)
        xyz = seen["xyz"][0] * height
        return {**one, "height": height, "xyz": xyz, "visible": np.full(17, 2, np.uint8)}


def feed(config: Mapping[str, Any], *, host: tuple[int, int] = (0, 1)) -> Stream:
    """Poses for the lifter from joints: motion capture, rendered people, or both in their shares.

    Evaluation takes the validation part of the people if there are detected joints for them,
    otherwise that of the motion capture. ConfigError without any set.
    """
    data = sections.read(PoseData, config["data"], "data")
    check(data.batch >= 1, "data.batch", data.batch, "a whole number from 1 on")
    check(data.views >= 1, "data.views", data.views, "a whole number from 1 on")
    check(data.step >= 1, "data.step", data.step, "a whole number from 1 on")
    check(data.part in ("train", "trainvalid"), "data.part", data.part, "train or trainvalid")
    if not data.mocap and not data.people:
        raise ConfigError("no set of poses", place="data", hint="data.mocap or data.people")
    parts, held, found = [], None, None
    if data.mocap:
        read = human36m.train_side if Path(data.mocap).is_dir() else mocap
        parts.append(read(data.mocap, data.part, step=data.step))
        held = read(data.mocap, "valid", step=10)
    if data.people:
        parts.append(rendered(data.people, data.part, data.joints or None))
        if data.joints:
            found = rendered(data.people, "valid", data.joints)
    shares = data.shares if len(parts) == len(data.shares) else (1.0,) * len(parts)
    source = parts[0] if len(parts) == 1 else Mixture(parts, shares)
    return Stream(
        source,
        Views(data.views, data.noise),
        seed=config["seed"],
        batch_size=data.batch,
        eval_source=found or held,
        eval_transform=as_found if found else OneView(data.noise),
        workers=data.workers,
        host_index=host[0],
        host_count=host[1],
    )
