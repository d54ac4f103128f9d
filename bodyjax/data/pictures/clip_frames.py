"""Frames of clips as labelled pictures: every eighth of the training clips of JHMDB's split 1.

The joints are the stored ones of another detector (teacher.npz); one person per frame is labelled.
Clips of the split's test side are in no part, so a detector trained on these frames may be used on
them. Examples have the form of bodyjax.data.pictures.labelled.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bodyjax import skeleton
from bodyjax.data import video
from bodyjax.data.clips.folder import ClipFolder, clips
from bodyjax.data.pictures.labelled import FilePath, NoPictures, seeded_share
from bodyjax.data.sequences.joint_tables import COCO17, Teacher
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import Skeleton

EVERY = 8
"""A detector learns little from the frames between: at 30 a second they are nearly the same."""
LEAST_SCORE = 0.3
LEAST_JOINTS = 4
MARGIN = 0.1
"""The box of the joints is enlarged by this share of its longer side, like that of `lsp`."""
PARTS = ("train", "valid", "trainvalid")


@dataclass(frozen=True)
class Frames:
    """Single frames of clips: clip (N,) is the row of `clips`, frame (N,) the number in it."""

    clips: ClipFolder
    clip: np.ndarray
    frame: np.ndarray

    @property
    def heldout(self) -> np.ndarray:
        """(N,) whether the clip is of the test side."""
        return self.clips.heldout[self.clip]

    @property
    def names(self) -> tuple[str, ...]:
        """NAME of the clip and number of the frame."""
        pairs = zip(self.clip, self.frame, strict=True)
        return tuple(f"{self.clips.names[clip]}, frame {frame}" for clip, frame in pairs)

    def name(self, index: int) -> str:
        """What errors call a frame."""
        return f"{self.clips.files[self.clip[index]]}, frame {self.frame[index]}"

    def read(self, index: int, after: int = 0) -> np.ndarray:
        """The pictures (1 + after, H, W, 3) of a frame and those that follow it; the last of the
        clip stands for those beyond it."""
        row, first = self.clip[index], int(self.frame[index])
        last = int(self.clips.lengths[row]) - 1
        numbers = np.minimum(np.arange(first, first + after + 1), last)
        return video.open_video(self.clips.files[row]).read(numbers, threads=1)


@dataclass(frozen=True)
class ClipPictures:
    """A source of single frames; a frame is decoded on request, from any thread.

    ids (N,) is the row of teacher.npz; xy (N, J, 2), visible (N, J) and boxes (N, 4) are of the one
    labelled person. `bad` names what can't be used, `left_out` counts what was left out by reason.
    """

    frames: Frames
    ids: np.ndarray
    xy: np.ndarray
    visible: np.ndarray
    boxes: np.ndarray
    skeleton: Skeleton = COCO17
    bad: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def heldout(self) -> np.ndarray:
        """(N,) all False: no clip of the test side is here."""
        return self.frames.heldout

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the clips, the frames and the joints."""
        digest = hashlib.sha256(f"clip pictures 1 {self.frames.clips.fingerprint}".encode())
        for array in (self.ids, self.frames.frame, self.xy, self.visible, self.boxes):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """NAME of the clip and number of the frame."""
        return self.frames.names

    def to(self, target: Skeleton) -> ClipPictures:
        """The source in the joints of another skeleton, as data.pictures.labelled says."""
        if target.joints == self.skeleton.joints:
            return replace(self, skeleton=target)
        skeleton.check_convertible(self.skeleton, target, str(self.frames.clips.root))
        xy, visible = skeleton.convert(self.xy, self.visible, self.skeleton, target)
        return replace(self, xy=xy, visible=visible, skeleton=target)

    def name(self, index: int) -> str:
        """What errors call an example."""
        return self.frames.name(index)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        [image] = self.frames.read(index)
        return {
            "image": image,
            "xy": self.xy[index, None],
            "visible": self.visible[index, None],
            "boxes": self.boxes[index, None],
            "ignore": np.zeros((0, 4), np.float32),
            "joint_mask": self.visible[index] > 0,
            "complete": np.asarray(False),
            "id": self.ids[index],
        }


def clip_pictures(path: FilePath, part: str, *, on_bad: str = "raise") -> ClipPictures:
    """Frames 0, 8, 16 ... of the training clips of split 1 of a folder of clips with splits.json
    and teacher.npz (COCO-17 joints of every frame), as JHMDB's.

    part: "train", "valid" (a tenth of the source videos, by name) or "trainvalid". A joint with a
    score below 0.3 is not known: `joint_mask` is False for it in that picture. Frames with fewer
    than four known joints are left out and counted. Nobody else is labelled, so `complete` is
    False. Raises DataError if splits.json or teacher.npz is missing, damaged or of other clips, and
    ConfigError for another part. With on_bad="skip" clips that can't be read, or whose number of
    frames is not that of their joints, are left out, named and counted; all used frames are decoded
    once for this check.
    """
    root = Path(path)
    if part not in PARTS:
        hint = f"known: {', '.join(PARTS)}; test clips give no pictures"
        raise ConfigError(f"no part {part!r} of frames of clips", file=root, hint=hint)
    for name in ("splits.json", "teacher.npz"):
        if not (root / name).is_file():
            hint = "clips give labelled pictures by their splits.json and teacher.npz (as JHMDB)"
            raise DataError(f"a folder of clips without {name}", file=root, hint=hint)
    opened = clips(root, "1:train", on_bad=on_bad, joints=True)
    assert opened.teacher is not None
    assert not opened.heldout.any()
    bad, left_out = list(opened.bad), Counter(opened.left_out)
    valid = seeded_share([group.partition("/")[2] for group in opened.groups.tolist()], 10)
    wanted = np.ones_like(valid) if part == "trainvalid" else valid == (part == "valid")
    rows: list[tuple[int, int, int]] = []
    for row in np.flatnonzero(wanted).tolist():
        fault = _fault(opened, opened.teacher, row, decode=on_bad == "skip")
        if fault and on_bad != "skip":
            raise DataError(fault, file=opened.files[row], hint='or set on_bad = "skip"')
        if fault:
            bad.append(f"{opened.files[row]}: {fault}")
            left_out[fault.partition(" (")[0]] += 1
            continue
        first, last = opened.teacher.rows[opened.names[row]]
        rows += [(row, number, first + number) for number in range(0, last - first, EVERY)]
    clip, frame, ids = np.array(rows, np.int64).reshape(-1, 3).T
    known = opened.teacher.score[ids] >= LEAST_SCORE
    few = known.sum(1) < LEAST_JOINTS
    if few.any():
        left_out[f"frames with fewer than {LEAST_JOINTS} known joints"] = int(few.sum())
    if few.all():
        raise NoPictures("no frames are left", file=root)
    clip, frame, ids, known = clip[~few], frame[~few], ids[~few], known[~few]
    seen = (known * skeleton.SEEN).astype(np.uint8)
    xy = np.where(known[..., None], opened.teacher.xy[ids], np.float32(0))
    return ClipPictures(
        Frames(opened, clip, frame),
        ids,
        xy,
        seen,
        _boxes(xy, known),
        bad=tuple(bad),
        left_out={reason: n for reason, n in left_out.items() if n},
    )


def _fault(source: ClipFolder, teacher: Teacher, clip: int, *, decode: bool) -> str:
    """Why a clip's frames can't be used with its joints, or ""; brackets hold what differs."""
    first, last = teacher.rows[source.names[clip]]
    if last - first != source.lengths[clip]:
        counted = f"{source.lengths[clip]} frames, joints of {last - first}"
        return f"teacher.npz has joints of another number of frames ({counted})"
    known = teacher.score[first:last] >= LEAST_SCORE
    if not np.isfinite(teacher.xy[first:last][known]).all():
        return "joints that are not numbers"
    if decode:
        try:
            video.open_video(source.files[clip]).read(range(0, last - first, EVERY), threads=1)
        except DataError as error:
            return f"can't be decoded ({error.message})"
    return ""


def _boxes(xy: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N, 4) about the known joints."""
    low = np.where(known[..., None], xy, np.inf).min(1)
    high = np.where(known[..., None], xy, -np.inf).max(1)
    margin = MARGIN * (high - low).max(1, keepdims=True)
    return np.concatenate([low - margin, high + margin], 1).astype(np.float32)
