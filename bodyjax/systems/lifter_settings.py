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
