"""Clips for the movement classifier: from a folder to batches of frames, stored maps or joints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import sections
from bodyjax.contract import Source
from bodyjax.data import augment, sets
from bodyjax.data.clips import folder as clips
from bodyjax.data.clips.body_region import WithSimulated
from bodyjax.data.clips.folder import ClipFolder
from bodyjax.data.prepared import Prepared
from bodyjax.data.sets import validation_split
from bodyjax.data.stream import Stream, Transform
from bodyjax.errors import ConfigError, DataError

Example = dict[str, Any]
Clips = ClipFolder | Prepared

SIMULATED = "simulated:"


def open_clips(
    data: Mapping[str, Any], part: str, *, joints: bool = False, several: bool = False
) -> Clips:
    """The clips of `data.path` in one part: "train", "valid" or "test".

    "simulated:commands" (or exercises) is made on first use, in the cache; a prepared set is read
    as it is. If the folder has numbered splits, `data.split` names one; if it has no validation
    part, "valid" is a share `data.holdout` of the training sources, and "train" is the rest (with
    holdout 0: all of it).
    """
    folder = folder_of(data)
    there = parts(folder, data["split"])
    if part in there:
        source = open_part(folder, there[part], data["on_bad"], joints, several)
    elif part == "test":
        raise DataError("there is no test part", file=folder, hint="make train/ and test/")
    else:
        source = open_part(folder, there["train"], data["on_bad"], joints, several)
    if part == "test" or "valid" in there:
        return source
    if not data["holdout"]:
        if part == "valid":
            raise ConfigError("0 leaves nothing for validation", place="data.holdout")
        return source
    return with_validation({"train": source}, data["holdout"])[part]


def open_parts(
    data: Mapping[str, Any], *, joints: bool = False, several: bool = False
) -> dict[str, Clips]:
    """The parts that exist in `data.path`, each opened once; no clips are held out yet."""
    folder = folder_of(data)
    there = parts(folder, data["split"])
    return {
        part: open_part(folder, there[part], data["on_bad"], joints, several)
        for part in clips.PARTS
        if part in there
    }


def with_validation(opened: Mapping[str, Clips], holdout: float) -> dict[str, Clips]:
    """The same parts; if there is no "valid", a share `holdout` of "train", if it is above 0."""
    if "valid" in opened or not holdout:
        return dict(opened)
    try:
        train, valid = validation_split(opened["train"], holdout, 0)
    except DataError as error:
        hint = "take another share, or 0: no validation"
        raise ConfigError(error.message, place="data.holdout", hint=hint) from None
    return {**opened, "train": train, "valid": valid}


def few(source: Clips, count: int) -> Clips:
    """At most `count` clips, evenly spread over the source's order, which is by class; all of them
    for 0."""
    if not count or count >= len(source):
        return source
    return source.take(np.arange(count) * len(source) // count)


def folder_of(data: Mapping[str, Any]) -> Path:
    """The folder of the clips; simulated ones are made."""
    path = str(data["path"])
    return simulated_folder(data) if path.startswith(SIMULATED) else Path(path)


def parts(folder: Path, number: str = "1") -> dict[str, str]:
    """The parts of a folder of clips as `open_part` calls them; DataError without "train"."""
    clips.check_folder(folder)
    known = sets.recognise(folder, clips.LAYOUT) in ("clips", "prepared")
    there = sets.parts(folder, number) if known else {}
    if "train" not in there:
        hint = "make train/CLASS/NAME.mp4, or CLASS/NAME.mp4"
        raise DataError("there are no training clips", file=folder, hint=hint)
    return there


def open_part(folder: Path, part: str, on_bad: str, joints: bool, several: bool = False) -> Clips:
    """One part of a folder of clips or of a prepared set of them."""
    if sets.recognise(folder) == "clips":
        return clips.clips(folder, part, on_bad=on_bad, joints=joints, several=several)
    if several:
        hint = "train on the folder that it was made of"
        raise DataError("a prepared set has one class a clip", file=folder, hint=hint)
    source = Prepared(folder, part)
    if not source.classes or "video" not in source[0]:
        raise DataError("holds no labelled clips", file=folder)
    if joints and "xy" not in source[0]:
        raise DataError("has no joints", file=folder, hint="joints lie beside the clips it is of")
    return source


def simulated_folder(data: Mapping[str, Any]) -> Path:
    """Makes the simulated clips if they are not there; returns their folder."""
    from bodyjax.simulate.clips import ClipSpec, ensure

    kind = str(data["path"]).removeprefix(SIMULATED)
    spec = sections.read(ClipSpec, {**data["simulated"], "kind": kind}, "data.simulated")
    return ensure(spec)


def spread(total: int, count: int, samples: int, mode: str = "random") -> np.ndarray:
    """(samples, count) frame numbers that stand for a clip: frame t of sampling s is number
    t * samples + s of `clips.chosen`, as in recognition.

    Modes "random" and "middle": `samples` even places in each of `count` equal segments.
    """
    return clips.chosen(total, count * samples, mode).reshape(count, samples).T


@dataclass(frozen=True)
class TrainClip:
    """`frames` sampled frames of a clip: pixels changed on the host by augment.augment_clip (with
    `options`), or, where `pixels` is False, its joints fitted into `size` and not changed. The
    clips marked by `WithSimulated` are zoomed or moved first."""

    frames: int
    sampling: str
    size: tuple[int, int]
    pixels: bool
    options: dict[str, Any]
    flips: bool

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        out = clips.sample(example, self.frames, self.sampling, rng, pixels=self.pixels)
        if self.pixels:
            options = {**self.options, "flip": 0.5 if self.flips else 0.0}
            return pick(augment.augment_clip(out, self.size, rng, **options))
        return pick(augment.simulate_joints(out, self.size, rng))


@dataclass(frozen=True)
class OutOfOrder:
    """Another transform's frames in a random order (a control: only poses are left)."""

    transform: TrainClip

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        out = self.transform(example, rng)
        order = rng.permutation(self.transform.frames)
        return {name: value if name == "label" else value[order] for name, value in out.items()}


@dataclass(frozen=True)
class WholeClip:
    """A clip as it is: one sampling of the frames that represent it (`clips.chosen` by the rule
    `sampling`), or `samples` of them.

    order, to show the value of movement: "kept"; "shuffled", in an order that depends on the clip
    alone; "middle", the middle frame instead of all.
    """

    frames: int
    size: tuple[int, int]
    pixels: bool
    samples: int = 1
    order: str = "kept"
    sampling: str = "random"

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        del rng
        numbers = spread(int(example["length"]), self.frames, self.samples, self.sampling)
        if self.order == "shuffled":
            order = np.random.default_rng(int(example["id"])).permutation(self.frames)
            numbers = numbers[:, order]
        elif self.order == "middle":
            numbers = np.full_like(numbers, int(example["length"]) // 2)
        flat = numbers.reshape(-1)
        out = {k: v for k, v in example.items() if k not in ("path", "video")}
        for name in ("xy", "visible", "score"):
            if name in out:
                out[name] = out[name][flat]
        if self.pixels:
            read, inverse = np.unique(flat, return_inverse=True)
            out["frames"] = clips.read_frames(example, read)[inverse]
        out = pick(augment.fit_clip(out, self.size))
        if self.samples > 1:
            lead = (self.samples, self.frames)
            for name in ("frames", "xy", "score"):
                if name in out:
                    out[name] = out[name].reshape(*lead, *out[name].shape[1:])
        return out


def pick(example: Example) -> Example:
    """The input of the movement system, of the first person: score 0 where a joint is absent."""
    out: Example = {"label": label_of(example)}
    if "frames" in example:
        out["frames"] = example["frames"]
        return out
    visible = example["visible"][:, 0] > 0
    out["xy"] = np.where(visible[..., None], example["xy"][:, 0], 0).astype(np.float32)
    score = example["score"][:, 0] if "score" in example else np.ones(visible.shape)
    out["score"] = np.where(visible, score, 0).astype(np.float32)
    return out


def label_of(example: Example) -> np.ndarray:
    """int32 () of a class, float32 (classes,) where several movements may hold."""
    label = np.asarray(example["label"])
    return label.astype(np.float32 if label.ndim else np.int32)


@dataclass(frozen=True)
class OfClips:
    """A source with a row for each clip; what is said of a clip is said of its row."""

    clips: Clips

    @property
    def labels(self) -> np.ndarray:
        return np.asarray(self.clips.labels)

    @property
    def groups(self) -> np.ndarray:
        return np.asarray(self.clips.groups)

    @property
    def heldout(self) -> np.ndarray:
        return self.clips.heldout

    @property
    def classes(self) -> tuple[str, ...]:
        return self.clips.classes

    @property
    def names(self) -> tuple[str, ...]:
        return self.clips.names

    @property
    def bad(self) -> tuple[str, ...]:
        return self.clips.bad

    @property
    def left_out(self) -> Mapping[str, int]:
        return self.clips.left_out

    def name(self, index: int) -> str:
        return self.clips.name(index)

    def __len__(self) -> int:
        return len(self.clips)


@dataclass(frozen=True)
class StoredMaps(OfClips):
    """Heat maps of evenly spread frames of each clip, made before: maps (N, K, h, w, J) uint8."""

    maps: np.ndarray
    fingerprint: str

    def __getitem__(self, index: int) -> Example:
        held = self.clips.several if isinstance(self.clips, ClipFolder) else None
        label = self.labels[index] if held is None else held[index]
        return {"maps": self.maps[index], "label": label}


@dataclass(frozen=True)
class StoredJoints(OfClips):
    """Joints that a detector found in K evenly spread frames of each clip, which represent the
    clip: tables (N, K, 18, 3), x and y in pixels of the clip and the score, 0: absent."""

    tables: np.ndarray
    fingerprint: str

    def __getitem__(self, index: int) -> Example:
        example = {k: v for k, v in self.clips[index].items() if k in ("label", "size", "id")}
        table = self.tables[index][:, None]
        return {
            **example,
            "length": np.asarray(len(table), np.int32),
            "xy": table[..., :2],
            "visible": (2 * (table[..., 2] > 0)).astype(np.uint8),
            "score": table[..., 2],
        }


@dataclass(frozen=True)
class SampleMaps:
    """`frames` of the K stored maps of a clip, for training, by the rule `sampling`; `shuffle`
    reorders them."""

    frames: int
    sampling: str
    shuffle: bool = False

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        numbers = clips.drawn(len(example["maps"]), self.frames, self.sampling, rng)
        return taken(example, rng.permutation(numbers) if self.shuffle else numbers)


@dataclass(frozen=True)
class WholeMaps:
    """The `frames` of the K stored maps that represent a clip, for evaluation; `shuffle` reorders
    them."""

    frames: int
    sampling: str
    shuffle: bool = False

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        numbers = clips.chosen(len(example["maps"]), self.frames, self.sampling)
        return taken(example, rng.permutation(numbers) if self.shuffle else numbers)


def taken(example: Example, numbers: np.ndarray) -> Example:
    """The stored maps of these frames, and the label."""
    return {"maps": np.asarray(example["maps"][numbers]), "label": label_of(example)}


def clip_feed(
    config: Mapping[str, Any], sources: Mapping[str, Source], *, host: tuple[int, int] = (0, 1)
) -> Stream:
    """Clips for the movement classifier: `sources` of "train" and, where there is one, "valid",
    which is evaluated during training; stored maps if model.input is "maps"."""
    data = config["data"]
    train_transform, eval_transform = transforms(config)
    return Stream(
        sources["train"], train_transform, seed=config["seed"], batch_size=data["batch"],
        eval_source=sources.get("valid"), eval_transform=eval_transform,
        workers=data["workers"], host_index=host[0], host_count=host[1],
    )  # fmt: skip


def transforms(config: Mapping[str, Any]) -> tuple[Transform, Transform]:
    """The transforms of an example in training, and in evaluation during training."""
    data, model = config["data"], config["model"]
    frames, mode, shuffle = model["frames"], model["sampling"], data["shuffle"]
    if model["input"] == "maps":
        return SampleMaps(frames, mode, shuffle), WholeMaps(frames, mode, shuffle)
    size, pixels = tuple(model["size"]), model["input"] == "frames"
    flips = dict(model["augment"])["flip"] > 0
    train = TrainClip(frames, mode, size, pixels, dict(data["augment"]), flips)
    order = "shuffled" if shuffle else "kept"
    whole = WholeClip(frames, size, pixels, order=order, sampling=mode)
    return OutOfOrder(train) if shuffle else train, whole


def with_copies(source: Clips, regions: Callable[[Clips], np.ndarray]) -> WithSimulated:
    """The clips and their simulated copies. The body's region comes from the joints beside the
    clips, or, if there are none, from `regions`, which gives it for each clip (N, 4)."""
    known = source.with_joints() if isinstance(source, ClipFolder) else source
    return WithSimulated(known, None if knows_joints(known) else regions(known))


def knows_joints(source: Source) -> bool:
    """Whether the examples hold joints."""
    return "xy" in source[0]


def has_validation(data: Mapping[str, Any]) -> bool:
    """Whether some training clips are kept for validation."""
    return data["holdout"] > 0 or has_part(data, "valid")


def has_test(data: Mapping[str, Any]) -> bool:
    """Whether there are test clips."""
    return has_part(data, "test")


def has_part(data: Mapping[str, Any], part: str) -> bool:
    """Whether the clips have a part of their own; simulated ones have all, made or not."""
    path = str(data["path"])
    return path.startswith(SIMULATED) or part in parts(Path(path), data["split"])
