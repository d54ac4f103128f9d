"""Simulated pictures as a source: rendered on request, from the seed of their number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from bodyjax import skeleton
from bodyjax.data.pictures.labelled import check_part
from bodyjax.simulate import clips
from bodyjax.skeleton import COCO17, Skeleton

FIRST = {"train": 0, "trainvalid": 0, "valid": 10_000_000, "test": 20_000_000}
"""Seeds of the parts lie apart, so that no body or place is in two of them."""


@dataclass(frozen=True)
class SimulatedPictures:
    """`count` pictures (H, W) of one to three people; examples as `labelled` says."""

    part: str
    count: int = 20_000
    size: tuple[int, int] = (160, 160)
    skeleton: Skeleton = COCO17
    labels: None = None
    groups: None = None
    classes: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_part(self.part)

    @property
    def fingerprint(self) -> str:
        words = ("simulated 2", clips.VERSION, self.part, self.count, self.size)
        return hashlib.sha256(repr(words).encode()).hexdigest()

    @property
    def heldout(self) -> np.ndarray:
        """(N,): all of the part "test"."""
        return np.full(self.count, self.part == "test")

    @property
    def left_out(self) -> dict[str, int]:
        """Nothing."""
        return {}

    @property
    def names(self) -> tuple[str, ...]:
        """By their numbers."""
        return tuple(f"row {index}" for index in range(self.count))

    def name(self, index: int) -> str:
        """What errors call an example."""
        return f"simulated {self.part} picture {index}"

    def to(self, target: Skeleton) -> SimulatedPictures:
        """The source in the joints of another skeleton, as `labelled` says."""
        skeleton.check_convertible(COCO17, target, "simulated")
        return replace(self, skeleton=target)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        seed = FIRST[self.part] + index
        people = 1 + (index % 4 == 3) + (index % 8 == 7)
        made = clips.picture(seed, (self.size[1], self.size[0]), people)
        visible = made["visible"].astype(np.uint8)
        seen = (visible > 0).any(1)
        xy, visible = made["xy"].astype(np.float32)[seen], visible[seen]
        inf = np.where(visible[..., None] > 0, xy, np.inf)
        low = inf.min(1)
        high = np.where(visible[..., None] > 0, xy, -np.inf).max(1)
        margin = 0.1 * (high - low).max(1, keepdims=True)
        boxes = np.concatenate([low - margin, high + margin], 1).astype(np.float32)
        known = np.ones(len(COCO17.joints), bool)
        xy, visible = skeleton.convert(xy, visible, COCO17, self.skeleton)
        return {
            "image": made["image"],
            "xy": xy,
            "visible": visible,
            "boxes": boxes.reshape(-1, 4),
            "ignore": np.zeros((0, 4), np.float32),
            "joint_mask": skeleton.convert_mask(known, COCO17, self.skeleton),
            "complete": np.asarray(True),
            "id": np.asarray(seed, np.int64),
        }
