"""Frames of clips without labels: pictures from which a student learns by its teacher alone.

Examples have the form of bodyjax.data.pictures.labelled, without people; the whole picture is
ignored, so no label counts anywhere. neighbour (H, W, 3) uint8, if asked for: the next frame; the
last frame is its own.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax.data.clips.folder import clips
from bodyjax.data.pictures.clip_frames import EVERY, Frames
from bodyjax.data.pictures.labelled import FilePath, NoPictures
from bodyjax.data.sequences.array_sets import HELD_OUT, VIDEOS, names_at
from bodyjax.data.stream import Transform
from bodyjax.errors import ConfigError
from bodyjax.skeleton import COCO17, Skeleton


@dataclass(frozen=True)
class UnlabelledFrames:
    """A source of single frames; a frame is decoded on request, from any thread. neighbours:
    whether the next frame comes with each."""

    frames: Frames
    neighbours: bool = False
    skeleton: Skeleton = COCO17
    left_out: dict[str, int] = field(default_factory=dict)
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames.clip)

    @property
    def bad(self) -> tuple[str, ...]:
        return self.frames.clips.bad

    @property
    def heldout(self) -> np.ndarray:
        """(N,) all False: no clip of a test side is here."""
        return self.frames.heldout

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the clips and the frames."""
        words = f"unlabelled 1 {self.neighbours} {self.frames.clips.fingerprint}"
        digest = hashlib.sha256(words.encode())
        for array in (self.frames.clip, self.frames.frame):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """NAME of the clip and number of the frame."""
        return self.frames.names

    def to(self, target: Skeleton) -> UnlabelledFrames:
        """The source beside others with this skeleton."""
        return replace(self, skeleton=target)

    def name(self, index: int) -> str:
        """What errors call an example."""
        return self.frames.name(index)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        image, *after = self.frames.read(index, int(self.neighbours))
        joints, (high, wide) = len(self.skeleton.joints), image.shape[:2]
        return {
            "image": image,
            "xy": np.zeros((0, joints, 2), np.float32),
            "visible": np.zeros((0, joints), np.uint8),
            "boxes": np.zeros((0, 4), np.float32),
            "ignore": np.array([[-0.5, -0.5, wide - 0.5, high - 0.5]], np.float32),
            "joint_mask": np.ones(joints, bool),
            "complete": np.asarray(False),
            "id": np.int64(index),
        } | ({"neighbour": after[0]} if after else {})


def unlabelled_frames(
    path: FilePath, *, on_bad: str = "raise", neighbours: bool = False
) -> UnlabelledFrames:  # fmt: skip
    """Frames 0, 8, 16 ... of the training clips at a path: of a folder of clips those that are not
    of its test side (of numbered splits, of split 1), of a set of joints with videos (pushfit) the
    clips whose group `HELD_OUT` does not divide.

    ConfigError if no clips are there; DataError for a clip that can't be opened, which on_bad
    "skip" leaves out and counts.
    """
    root = Path(path)
    named = next((name for name in names_at(root) if name in VIDEOS), None)
    if named:
        opened = VIDEOS[named](root, on_bad=on_bad)
        wanted = np.asarray(opened.groups) % HELD_OUT != 0
        left_out = {**opened.left_out, "clips left for tests": int((~wanted).sum())}
    else:
        split = (root / "splits.json").exists()
        opened = clips(root, "1:train" if split else "all", on_bad=on_bad)
        wanted, left_out = ~opened.heldout, dict(opened.left_out)
        if opened.heldout.any():
            left_out["clips of the test side"] = int(opened.heldout.sum())
    pairs = [
        (row, number)
        for row in np.flatnonzero(wanted).tolist()
        for number in range(0, int(opened.lengths[row]), EVERY)
    ]
    if not pairs:
        raise NoPictures("no frames are left", file=root)
    clip, frame = np.array(pairs, np.int64).T
    return UnlabelledFrames(Frames(opened, clip, frame), neighbours, left_out=left_out)


@dataclass(frozen=True)
class WithNeighbours:
    """A picture's transform that changes the next frame in the same way. Adds to the result of
    `transform`: neighbour (H, W, 3) uint8, the picture itself for those without, and
    neighbour_known."""

    transform: Transform

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        again = copy.deepcopy(rng)  # the same random numbers
        out = self.transform(example, rng)
        known = "neighbour" in example
        out["neighbour"] = out["image"]
        if known:
            twin = {**example, "image": example["neighbour"]}
            out["neighbour"] = self.transform(twin, again)["image"]
        out["neighbour_known"] = np.asarray(known)
        return out


def check_taught(distill: Any, unlabelled: Mapping[str, Any]) -> None:
    """ConfigError for sets of `config.data.unlabelled` without a teacher in the step, the only one
    who could label them, and for `distill.agreement` without such sets."""
    hint = "set distill.teacher, or leave it {}"
    if unlabelled and not (distill and distill["teacher"]):
        what = "frames without labels teach nothing without a teacher in the step"
        raise ConfigError(what, place="data.unlabelled", hint=hint)
    if distill and distill.get("agreement") and not unlabelled:
        what = "no set of data.unlabelled has neighbouring frames"
        raise ConfigError(what, place="distill.agreement", hint="name one, or set it to 0")
