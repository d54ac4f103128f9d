"""The section `model` of a lifter's config, checked field by field: configs/lifter.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bodyjax import sections
from bodyjax.sections import check


@dataclass(frozen=True)
class JointsModel:
    """`config.model` with input "joints" (models.lifter.JointLifter). geometric: weight of the
    geometric loss. detector, second: names of shipped detectors that find the joints at use."""

    input: str = "joints"
    skeleton: str = "h36m17"
    width: int = 512
    blocks: int = 2
    dropout: float = 0.1
    geometric: float = 0.0
    detector: str = "small"
    second: str = "large"


@dataclass(frozen=True)
class Losses:
    """`config.loss`: weights of the terms beside the heat maps (CN 111260774 B, formula 1): depth
    of 3D-labelled pictures (lambda_reg), bones of 2D-labelled ones (lambda_g), per picture of the
    batch or, by_share, per picture of that kind. peaks: extra weight of the cells of a Gaussian.
    coordinates: heat maps learn by the distance of the coordinates read from them ([0054]).
    heat_bones: weight of the bones of 3D-labelled pictures whose places are read from the heat maps
    (claim 1); they teach the heat maps, beside the Gaussians."""

    depth: float = 10.0
    geometric: float = 0.1
    by_share: bool = False
    peaks: float = 8.0
    coordinates: bool = False
    heat_bones: float = 0.0


@dataclass(frozen=True)
class PicturesModel:
    """`config.model` with input "pictures" (models.lifter.Lifter): the network as in
    configs/pose.py, the side of crops and the Gaussians' sigma in pixels; read: how depth is read.
    """

    backbone: str
    input: str = "pictures"
    skeleton: str = "h36m17"
    depthwise: str = "shifted"
    frozen_blocks: int = 0
    stages: int = 2
    width: int = 96
    layers: int = 2
    pyramid: tuple[int, ...] = (64, 96, 112, 96)
    size: int = 128
    sigma: float = 6.0
    read: str = "bilinear"
    detector: str = "small"
    second: str = ""


def pictures(section: Any) -> PicturesModel:
    """`config.model` of a lifter from pictures."""
    found = sections.read(PicturesModel, section, "model")
    sections.choice(found.skeleton, ("h36m17",), "model.skeleton")
    sections.choice(found.read, ("bilinear", "mean"), "model.read")
    sections.choice(found.depthwise, ("shifted", "grouped"), "model.depthwise")
    for name in ("stages", "width", "layers"):
        value = getattr(found, name)
        check(value >= 1, f"model.{name}", value, "a whole number from 1 on")
    check(found.frozen_blocks >= 0, "model.frozen_blocks", found.frozen_blocks, "at least 0")
    check(len(found.pyramid) == 4, "model.pyramid", found.pyramid, "four widths")
    check(found.sigma > 0, "model.sigma", found.sigma, "above 0")
    fits = found.size > 0 and found.size % 32 == 0
    check(fits, "model.size", found.size, "a multiple of 32")
    return found


def terms(section: Any) -> Losses:
    """`config.loss`."""
    found = sections.read(Losses, section, "loss")
    for name in ("depth", "geometric", "peaks", "heat_bones"):
        value = getattr(found, name)
        check(value >= 0, f"loss.{name}", value, "at least 0")
    return found


def joints(section: Any) -> JointsModel:
    """`config.model` of a lifter from joints."""
    found = sections.read(JointsModel, section, "model")
    sections.choice(found.skeleton, ("h36m17",), "model.skeleton")
    for name in ("width", "blocks"):
        value = getattr(found, name)
        check(value >= 1, f"model.{name}", value, "a whole number from 1 on")
    check(0 <= found.dropout < 1, "model.dropout", found.dropout, "from 0 to below 1")
    check(found.geometric >= 0, "model.geometric", found.geometric, "at least 0")
    return found
