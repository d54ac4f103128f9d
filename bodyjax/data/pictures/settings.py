"""The section `data` of a detector's config, checked field by field."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from bodyjax import sections
from bodyjax.data.augment import CMU_POSE, PictureChanges
from bodyjax.sections import check


@dataclass(frozen=True)
class PictureData:
    """kind: as in feeds.open_feed. path: the folder of the `sets` {name: share}, of `unlabelled`
    ones, clips whose frames only a teacher labels, and of `valid`, the one for evaluation; for your
    own pictures a COCO file or its folder, without sets. on_bad: raise or skip; batch: pictures per
    step; workers: processes that read; augment: random changes.
    """

    kind: str
    path: str
    batch: int
    on_bad: str = "raise"
    valid: str = ""
    workers: int = 0
    sets: dict[str, Any] = field(default_factory=dict)
    unlabelled: dict[str, Any] = field(default_factory=dict)
    augment: PictureChanges = CMU_POSE


def read(section: Any) -> PictureData:
    """`config.data`; ConfigError for an impossible field."""
    data = sections.read(PictureData, section, "data")
    sections.choice(data.on_bad, ("raise", "skip"), "data.on_bad")
    check(data.batch >= 1, "data.batch", data.batch, "a whole number from 1 on")
    check(data.workers >= 0, "data.workers", data.workers, "a whole number from 0 on")
    for place in ("sets", "unlabelled"):
        for name, share in getattr(data, place).items():
            number = isinstance(share, int | float) and not isinstance(share, bool)
            fits = number and 0 <= share < math.inf
            check(fits, f"data.{place}.{name}", share, "a share, at least 0")
    changes = data.augment
    fits = len(changes.scale) == 2 and 0 < changes.scale[0] <= changes.scale[1]
    check(fits, "data.augment.scale", changes.scale, "(least, most) above 0")
    check(0 <= changes.flip <= 1, "data.augment.flip", changes.flip, "from 0 to 1")
    for name in ("person", "rotation", "shift", "colour", "canvas"):
        value = getattr(changes, name)
        check(value >= 0, f"data.augment.{name}", value, "at least 0")
    return data
