"""The sections `model` and `distill` of a detector's config, checked field by field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bodyjax import sections
from bodyjax.sections import check


@dataclass(frozen=True)
class Model:
    """`config.model`: the network, and the size of pictures and labels in training, in pixels
    (systems.pose.Pose, systems.pose_network); configs/pose.py explains each field."""

    skeleton: Any
    backbone: str
    stride: int
    stages: int
    light: bool
    width: int
    size: tuple[int, ...]
    max_people: int
    sigma: float
    paf_width: float
    peak_weight: float
    depthwise: str = "shifted"
    frozen_blocks: int = 0
    heads: str = "stages"
    layers: int = 2
    pyramid: tuple[int, ...] = (64, 96, 192, 192)
    reduction: int = 0
    paf_weight: float = 1.0
    head_weight: float = 0.0
    hard_joints: int = 0
    hard_stages: int = 0


@dataclass(frozen=True)
class Distill:
    """`config.distill`: a teacher. teacher: a run or shipped weights of `model`, "" for the sets'
    stored joints; stored: a folder of stored maps, whose form is `maps` (detect.teacher_maps fills
    it in); alpha: share of the teacher's loss, to `alpha_end` within `alpha_steps` steps; hints:
    the weight in it of the distance between features (systems.hints); agreement: that of the
    student's own maps of neighbouring frames (systems.agreement); confident: alpha is multiplied
    by the teacher's mean highest value in the picture."""

    teacher: str
    model: dict[str, Any]
    alpha: float
    alpha_end: float
    alpha_steps: int
    pairing: str = "last"
    stored: str = ""
    maps: dict[str, Any] = field(default_factory=dict)
    hints: float = 0.0
    agreement: float = 0.0
    confident: bool = False


LEAST = {
    "stages": 0, "width": 1, "layers": 0, "max_people": 1, "frozen_blocks": 0, "reduction": 0,
    "hard_joints": 0, "hard_stages": 0,
}  # fmt: skip


def model(section: Any) -> Model:
    """`config.model`; what only the network knows is checked when it is built."""
    found = sections.read(Model, section, "model")
    sections.choice(found.depthwise, ("shifted", "grouped"), "model.depthwise")
    sections.choice(found.heads, ("stages", "center"), "model.heads")
    for name, least in LEAST.items():
        value = getattr(found, name)
        check(value >= least, f"model.{name}", value, f"a whole number from {least} on")
    for name in ("sigma", "paf_width"):
        check(getattr(found, name) > 0, f"model.{name}", getattr(found, name), "above 0")
    for name in ("peak_weight", "paf_weight", "head_weight"):
        check(getattr(found, name) >= 0, f"model.{name}", getattr(found, name), "at least 0")
    return found


def distill(config: Any) -> Distill | None:
    """`config.distill`; None for a config without that section, or with an empty one."""
    section = config.get("distill")
    if not section:
        return None
    found = sections.read(Distill, section, "distill")
    for name in ("alpha", "alpha_end"):
        value = getattr(found, name)
        check(0 <= value <= 1, f"distill.{name}", value, "from 0 to 1")
    steps = found.alpha_steps
    check(steps >= 0, "distill.alpha_steps", steps, "a whole number from 0 on")
    check(found.pairing in ("last", "same"), "distill.pairing", found.pairing, "last or same")
    for name in ("hints", "agreement"):
        check(getattr(found, name) >= 0, f"distill.{name}", getattr(found, name), "at least 0")
    in_step = found.teacher != "" and not found.stored
    fits = not found.hints or in_step
    check(fits, "distill.hints", found.hints, "0: features come from a teacher in the step alone")
    fits = not found.confident or in_step
    check(fits, "distill.confident", True, "False: it is for a teacher in the step alone")
    return found
