"""Simulated pictures with exact joints in space: simulated people in joints of h36m17."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from bodyjax.data.pictures.simulated import FIRST, SimulatedPictures
from bodyjax.errors import ConfigError
from bodyjax.simulate import clips
from bodyjax.skeleton import H36M17, SEEN, Skeleton


@dataclass(frozen=True)
class SimulatedPeople(SimulatedPictures):
    """`count` pictures (H, W) of one or two people; examples as `labelled` says, with xyz and
    camera, in the joints of h36m17. A joint inside the picture counts as seen."""

    size: tuple[int, int] = (192, 192)
    skeleton: Skeleton = H36M17

    @property
    def fingerprint(self) -> str:
        words = ("simulated 3d 1", clips.VERSION, self.part, self.count, self.size)
        return hashlib.sha256(repr(words).encode()).hexdigest()

    def to(self, target: Skeleton) -> SimulatedPeople:
        """The source itself; ConfigError for the joints of another skeleton."""
        if target.joints != H36M17.joints:
            raise ConfigError(f"has the joints of h36m17, not of {target.name}", place="simulated")
        return self

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        seed = FIRST[self.part] + index
        made = clips.picture(seed, (self.size[1], self.size[0]), 1 + (index % 4 == 3))
        xyz, camera = made["h36m"].astype(np.float32), made["camera"]
        xy = camera[:2] * xyz[..., :2] / np.maximum(xyz[..., 2:], 1.0) + camera[2:]
        inside = ((xy >= -0.5) & (xy <= np.array(self.size[::-1]) - 0.5)).all(-1)
        some = inside.sum(1) >= 4
        some[0] = True  # the picture is about the first person
        xyz, xy, inside = xyz[some], xy[some].astype(np.float32), inside[some]
        low, high = xy.min(1), xy.max(1)
        margin = 0.05 * (high - low).max(1, keepdims=True)
        edge = np.array(self.size[::-1], np.float32) - 1
        boxes = np.concatenate(
            [np.clip(low - margin, 0, edge), np.clip(high + margin, 0, edge)], 1
        ).astype(np.float32)
        return {
            "image": made["image"],
            "xy": np.where(inside[..., None], xy, np.float32(0)),
            "visible": np.where(inside, SEEN, 0).astype(np.uint8),
            "boxes": boxes,
            "ignore": np.zeros((0, 4), np.float32),
            "joint_mask": np.ones(len(H36M17.joints), bool),
            "complete": np.asarray(True),
            "id": np.asarray(seed, np.int64),
            "xyz": xyz,
            "camera": np.repeat(camera[None], len(xyz), 0),
        }
