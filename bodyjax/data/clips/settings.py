"""The section `data` of a movement classifier's config, checked field by field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bodyjax import sections
from bodyjax.sections import check

KIND = "clips"
"""What `data.kind` calls folders of clips; the only kind."""


@dataclass(frozen=True)
class PixelChanges:
    """`data.augment`, of frames in training (augment.augment_clip says what each field is)."""

    rotation: float = 10.0
    scale: tuple[float, float] = (0.8, 1.2)
    shift: float = 0.08
    colour: float = 0.2


@dataclass(frozen=True)
class ClipData:
    """path: a folder of clips, or "simulated:NAME" of `simulated` (simulate.clips.ClipSpec); split:
    of numbered ones; on_bad: raise or skip; holdout: share of the training clips kept for
    validation if the folder has none; watched: how many of these are evaluated during training, 0:
    all. stored_frames: frames of a clip whose maps or joints are stored; samples: samplings of a
    clip in evaluation; shuffle: frames out of order, a control. simulated_copies:
    one of every training clip (data.clips.body_region). worn_copies: of every training clip, whose
    maps are stored too (data.clips.worn).
    """

    path: str
    kind: str = KIND
    split: str = "1"
    on_bad: str = "raise"
    holdout: float = 0.0
    watched: int = 0
    stored_frames: int = 16
    samples: int = 1
    batch: int = 32
    workers: int = 0
    shuffle: bool = False
    simulated_copies: bool = False
    worn_copies: int = 0
    simulated: dict[str, Any] = field(default_factory=dict)
    augment: PixelChanges = PixelChanges()


def read(section: Any) -> ClipData:
    """`config.data`; ConfigError for an impossible field."""
    data = sections.read(ClipData, section, "data")
    sections.choice(data.kind, (KIND,), "data.kind")
    sections.choice(data.on_bad, ("raise", "skip"), "data.on_bad")
    for name, least in {"batch": 1, "samples": 1, "stored_frames": 1, "workers": 0}.items():
        value = getattr(data, name)
        check(value >= least, f"data.{name}", value, f"a whole number from {least} on")
    for name in ("watched", "worn_copies"):
        value = getattr(data, name)
        check(value >= 0, f"data.{name}", value, "a whole number from 0 on")
    check(0 <= data.holdout <= 0.5, "data.holdout", data.holdout, "from 0 to 0.5")
    scale = data.augment.scale
    fits = len(scale) == 2 and 0 < scale[0] <= scale[1]
    check(fits, "data.augment.scale", scale, "(least, most) above 0")
    for name in ("rotation", "shift", "colour"):
        value = getattr(data.augment, name)
        check(value >= 0, f"data.augment.{name}", value, "at least 0")
    return data
