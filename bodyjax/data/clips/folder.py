"""Folders of clips, CLASS/NAME.mp4, as a source; and the frames that are read from a clip.

Layouts: CLASS/NAME.mp4; the same below `clips/`, with splits.json beside it ({"classes": [...],
"1": {NAME: 1 train or 2 test}, ...}, like JHMDB); {train,valid,test}/CLASS/NAME.mp4, like the
simulated clips, whose labels are in NAME.json. Joints, if a set has them, are converted to BODY18
pixels. If several movements may hold at once, labels.json lists them
(bodyjax.data.clips.several_labels).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bodyjax import files
from bodyjax.data import sampling, video
from bodyjax.data.clips import several_labels as several_at_once
from bodyjax.data.clips.opening import SKIP, open_clips
from bodyjax.data.folds import TEST, TRAIN
from bodyjax.data.opened_once import Notes
from bodyjax.data.pictures.labelled import FilePath, Manifest
from bodyjax.data.sequences.joint_tables import (
    Teacher,
    label_file,
    labelled_joints,
    open_teacher,
)
from bodyjax.errors import ConfigError, DataError, VideoError

Example = dict[str, np.ndarray]

PARTS = ("train", "valid", "test")
LAYOUT = "clips lie in CLASS/NAME.mp4"


@dataclass(frozen=True)
class ClipFolder:
    """A source of clips; nothing is decoded before an example is sampled.

    An example: path (a string), label int32 into `classes`, length in frames, size (width, height),
    id; with `joints`: xy (F, P, 18, 2) float32, visible (F, P, 18) uint8, score (F, P, 18) float32
    of all frames. With `several` (N, C) float32 of 0 and 1 its row is the label; `labels` remain
    the classes of the folders. `heldout` marks rows that must not be trained on; `bad` names each
    clip that can't be used, `left_out` counts what was left out by reason. groups: class and source
    video (NAME up to its last _CLASS_); otherwise every clip is its own group.
    """

    root: Path
    names: tuple[str, ...]
    files: tuple[Path, ...]
    classes: tuple[str, ...]
    labels: np.ndarray
    groups: np.ndarray
    heldout: np.ndarray
    lengths: np.ndarray
    sizes: np.ndarray
    bad: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    teacher: Teacher | None = None
    joints: bool = False
    fingerprint: str = ""
    several: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("no clips are left", file=self.root)
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", _fingerprint(self))

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """What errors call an example."""
        return str(self.files[index])

    def __getitem__(self, index: int) -> Example:
        example = {
            "path": np.asarray(str(self.files[index])),
            "label": self.labels[index] if self.several is None else self.several[index],
            "length": self.lengths[index],
            "size": self.sizes[index],
            "id": np.asarray(index),
        }
        if self.joints:
            example |= self._joints(index)
        return example

    def take(self, rows: np.ndarray) -> ClipFolder:
        """The source of these rows only."""
        rows = np.asarray(rows)
        return replace(
            self,
            names=tuple(self.names[i] for i in rows),
            files=tuple(self.files[i] for i in rows),
            labels=self.labels[rows],
            groups=self.groups[rows],
            heldout=self.heldout[rows],
            lengths=self.lengths[rows],
            sizes=self.sizes[rows],
            fingerprint="",
            several=None if self.several is None else self.several[rows],
        )

    def with_joints(self) -> ClipFolder:
        """The same clips with the joints beside them, unchanged if there are none.

        DataError if only some clips have joints.
        """
        if self.joints:
            return self
        teacher = open_teacher(self.root, list(self.names))
        missing = [f for f in self.files if not f.with_suffix(".json").exists()]
        if teacher is None and missing:
            if len(missing) == len(self):
                return self
            hint = "every clip needs NAME.json beside it, or none"
            message = f"this clip and {len(missing) - 1} more have no joints, others have"
            raise DataError(message, file=missing[0], hint=hint)
        return replace(self, teacher=teacher, joints=True, fingerprint="")

    def _joints(self, index: int) -> Example:
        if self.teacher is not None:
            joints = self.teacher.of(self.names[index])
        else:
            joints = labelled_joints(label_file(self.files[index]))
        if len(joints["xy"]) != self.lengths[index]:
            raise DataError(
                f"has {self.lengths[index]} frames and joints of {len(joints['xy'])}",
                file=self.files[index],
            )
        return joints


def clips(
    path: FilePath,
    part: str,
    *,
    classes: tuple[str, ...] | None = None,
    on_bad: str = "raise",
    joints: bool = False,
    several: bool = False,
    notes: Notes | None = None,
) -> ClipFolder:
    """The clips of a folder.

    part: "train", "valid" or "test" if the folder has those; "1:train", "2:test" ... of the
    numbered splits of a splits.json; "all" (of a split folder, its test clips are held out; of
    numbered splits those of any, or with "1:all" of that one). classes: the known ones in their
    order; by default the folders' names, sorted. several: labels as labels.json has them. Every
    clip is opened once: with on_bad="skip" it is decoded as well, and those that can't be read are
    named and counted; with "raise" the first that can't be opened is a VideoError. notes: clips
    that are noted there are not opened again (bodyjax.data.opened_once). Raises DataError for an
    empty or unknown class and if `joints` are requested but missing, ConfigError for an
    unknown part.
    """
    root = Path(path)
    check_folder(root)
    manifest = Manifest(root, on_bad)
    in_parts = any((root / name).is_dir() for name in PARTS)
    listed = not in_parts and (root / "splits.json").exists()
    if in_parts:
        found, known, heldout = _in_parts(root, part, manifest)
    else:
        found, known, heldout = _in_splits(root, part, manifest)
    if classes is not None:
        unknown = sorted(set(known) - set(classes))
        if unknown:
            raise DataError(
                f"unknown class {', '.join(unknown)}",
                file=root,
                hint=f"known: {', '.join(classes)}",
            )
        known = tuple(classes)
    readable = open_clips([file for _, file in found], manifest, on_bad, notes)
    rows = list(readable)
    names = [found[row][0] for row in rows]
    paths = [found[row][1] for row in rows]
    labels = [known.index(name.partition("/")[0]) for name in names]
    return ClipFolder(
        root,
        tuple(names),
        tuple(paths),
        known,
        np.array(labels, np.int32),
        np.array([group(name) for name in names]),
        heldout[rows],
        np.array([clip.frames for clip in readable.values()], np.int32),
        np.array([clip.size for clip in readable.values()], np.int32),
        tuple(manifest.names),
        dict(+manifest.left_out),
        open_teacher(root, names) if joints else None,
        joints,
        several=several_at_once.targets(
            [root if listed else file.parents[1] for file in paths], names, known
        )
        if several
        else None,
    )


def group(name: str) -> str:
    """Class and source video of CLASS/NAME: NAME up to its last _CLASS_, else all of it."""
    label, _, rest = name.partition("/")
    return f"{label}/{rest.rpartition(f'_{label}_')[0] or rest}"


def sample(
    example: Example,
    count: int,
    mode: str,
    rng: np.random.Generator | None = None,
    *,
    pixels: bool = True,
) -> Example:
    """`count` frames of a clip (US 2020/0042776, [0046-0048]), in their order.

    mode: "random", "start", "middle" or "end" of equal segments, or "frames" for random frames of
    the whole clip. Returns the example with `numbers` (count,) int32, with its joints' rows of
    those frames and, if `pixels`, with `frames` (count, H, W, 3) uint8; `path` is left out.
    """
    numbers = drawn(int(example["length"]), count, mode, rng)
    out = {
        name: value[numbers] if name in ("xy", "visible", "score") else value
        for name, value in example.items()
        if name not in ("path", "video")
    }
    out["numbers"] = numbers.astype(np.int32)
    if pixels:
        out["frames"] = read_frames(example, numbers)
    return out


def drawn(total: int, count: int, mode: str, rng: np.random.Generator | None = None) -> np.ndarray:
    """The `count` of `total` frames that training takes from a clip, ascending; `mode` as in
    `sample`."""
    if mode != "frames":
        return sampling.segment_frames(total, count, mode, rng)
    if rng is None:
        raise ValueError("random frames need rng")
    return sampling.random_frames(total, count, rng)


def chosen(total: int, count: int, mode: str) -> np.ndarray:
    """The `count` of `total` frames that represent a clip in evaluation and recognition, (count,)
    int64 in ascending order, always the same.

    `mode` is the training's rule (`sample`): "start", "middle" or "end" of equal segments; if
    training takes a random frame of each segment ("random"), the segment's middle; if it takes
    random frames of the clip ("frames"), those of a fixed seed.
    """
    return drawn(total, count, "middle" if mode == "random" else mode, np.random.default_rng(0))


def read_frames(example: Example, numbers: np.ndarray) -> np.ndarray:
    """These frames of a clip stored at `path`, or as bytes in `video`: (k, H, W, 3) uint8."""
    if "video" not in example:
        try:
            return video.open_video(str(example["path"])).read(numbers, threads=1)
        except VideoError as error:
            raise error.also(SKIP) from None
    with tempfile.NamedTemporaryFile(suffix=".mp4", delete=False) as file:
        file.write(example["video"].tobytes())
    try:
        return video.open_video(file.name).read(numbers, threads=1)
    finally:
        os.unlink(file.name)


Found = list[tuple[str, Path]]


def _in_parts(
    root: Path, part: str, manifest: Manifest
) -> tuple[Found, tuple[str, ...], np.ndarray]:
    """Clips of ROOT/{train,valid,test}: names, classes of all parts, held-out flags."""
    there = [name for name in PARTS if (root / name).is_dir()]
    for other in sorted(folder for folder in root.iterdir() if folder.is_dir()):
        if other.name not in PARTS and not other.name.startswith(".") and _holds_clips(other):
            hint = f"rename it to one of {', '.join(PARTS)}, or move it away"
            raise DataError("holds clips beside the parts", file=other, hint=hint)
    if part not in (*there, "all"):
        raise ConfigError(f"no part {part!r}", file=root, hint=f"there are {', '.join(there)}, all")
    classes = sorted({label for name in there for label in _class_folders(root / name)})
    found, heldout = [], []
    for name in there if part == "all" else [part]:
        mine = _files(root / name, _class_folders(root / name), manifest)
        found += mine
        heldout += [name == "test"] * len(mine)
    return found, tuple(classes), np.array(heldout, bool)


def _in_splits(
    root: Path, part: str, manifest: Manifest
) -> tuple[Found, tuple[str, ...], np.ndarray]:
    """Clips of CLASS/NAME, all of them or one side of a split of splits.json."""
    folder = root / "clips" if (root / "clips").is_dir() else root
    classes = _class_folders(folder)
    found = _files(folder, classes, manifest)
    listing = root / "splits.json"
    if not listing.exists():
        if part != "all":
            raise ConfigError(f"no part {part!r}: no splits", file=root, hint='use part "all"')
        return found, classes, np.zeros(len(found), bool)
    splits = _read_splits(listing)
    stems = [Path(file).stem for _, file in found]
    if part == "all":
        sides = [max(split.get(stem, 0) for split in splits.values()) for stem in stems]
        return found, classes, np.array(sides) == TEST
    number, _, side = part.rpartition(":")
    number = number or (next(iter(splits)) if len(splits) == 1 else "")
    if number not in splits or side not in ("train", "test", "all"):
        known = ", ".join(f"{key}:train, {key}:test" for key in splits)
        raise ConfigError(f"no part {part!r}", file=listing, hint=f"there are {known}, all")
    split = splits[number]
    if side == "all":
        return found, classes, np.array([split.get(stem) == TEST for stem in stems], bool)
    wanted = TRAIN if side == "train" else TEST
    for name in sorted(set(split) - set(stems)):
        if split[name] == wanted:
            manifest.bad(name, "in splits.json, but no such clip")
    unlisted = len(set(stems) - set(split))
    if unlisted:
        manifest.left_out["not in splits.json"] = unlisted
    found = [item for item, stem in zip(found, stems, strict=True) if split.get(stem) == wanted]
    return found, classes, np.full(len(found), wanted == TEST)


def numbers_of_splits(root: Path) -> tuple[str, ...]:
    """The numbers of the splits of ROOT/splits.json; () if there is none."""
    listing = root / "splits.json"
    return tuple(_read_splits(listing)) if listing.exists() else ()


def _read_splits(file: Path) -> dict[str, dict[str, int]]:
    try:
        content = files.read_json(file)
        content.pop("classes", None)
        splits = {str(key): dict(value) for key, value in content.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"not a file of splits ({error!r})", file=file) from None
    odd = [name for split in splits.values() for name in split if split[name] not in (0, 1, 2)]
    if odd or not splits:
        raise DataError(
            "no splits" if not splits else "a side other than 0, 1, 2",
            file=file,
            place=odd[0] if odd else None,
        )
    return splits


def check_folder(path: Path) -> None:
    """DataError unless there is a folder."""
    if not path.is_dir():
        what = "is a file" if path.exists() else "no such folder of clips"
        raise DataError(what, file=path, hint=f"name a folder: {LAYOUT}")


def _class_folders(folder: Path) -> tuple[str, ...]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise DataError("no class folders", file=folder, hint=LAYOUT)
    return tuple(names)


def _files(folder: Path, classes: tuple[str, ...], manifest: Manifest) -> Found:
    """(CLASS/NAME, file) of all clips, sorted; DataError for a class without any."""
    found: Found = []
    skipped: list[tuple[Path, str]] = []
    for label in classes:
        inside = files.listed(folder / label, files.VIDEOS)
        for file in inside.files:
            if file.parent != folder / label:
                deeper = folder / label / file.relative_to(folder / label).parts[0]
                raise DataError(f"{LAYOUT}, not deeper", file=deeper)
        if not inside.files:
            raise DataError("a class without clips", file=folder / label, hint="remove the folder")
        skipped += [(file, why) for file, why in inside.skipped if not _beside(file, inside.files)]
        found += [(f"{label}/{file.stem}", file) for file in inside.files]
    manifest.left_out.update(files.skipped_counts([*skipped, *_outside(folder)], folder))
    return found


def _outside(folder: Path) -> list[tuple[Path, str]]:
    """Clips beside the class folders, and in hidden ones."""
    loose: list[tuple[Path, str]] = []
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".")
        if path.is_dir() and hidden:
            loose += [(file, files.HIDDEN) for file in files.listed(path, files.VIDEOS).files]
        elif files.is_video(path) and not path.is_dir():
            loose.append((path, files.HIDDEN if hidden else "clips in no class folder"))
    return loose


def _beside(file: Path, clips: list[Path]) -> bool:
    """Whether a file holds the labels of a clip beside it (NAME.json)."""
    return file.suffix == ".json" and any(clip.with_suffix(".json") == file for clip in clips)


def _holds_clips(folder: Path) -> bool:
    """Whether there is a clip anywhere in a folder."""
    return bool(files.listed(folder, files.VIDEOS).files)


def _fingerprint(source: ClipFolder) -> str:
    words = (source.classes, source.names, source.labels.tolist(), source.joints)
    digest = hashlib.sha256(repr(words).encode())
    for file in source.files:
        digest.update(str(file.stat().st_size).encode())
    if source.teacher is not None:
        digest.update(source.teacher.xy.tobytes() + source.teacher.score.tobytes())
    elif source.joints:
        for file in source.files:
            digest.update(label_file(file).read_bytes())
    if source.several is not None:
        digest.update(source.several.tobytes())
    return digest.hexdigest()
