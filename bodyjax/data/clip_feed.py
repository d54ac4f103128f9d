"""Clips for the movement classifier: from a folder to batches of frames, stored maps or joints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax.contract import Source
from bodyjax.data import augment, clips, sampling, sets
from bodyjax.data.body_region import WithSimulated
from bodyjax.data.clips import ClipFolder
from bodyjax.data.prepared import Prepared
from bodyjax.data.sets import validation_split
from bodyjax.data.stream import Stream
from bodyjax.errors import ConfigError, DataError

Example = dict[str, Any]
Clips = ClipFolder | Prepared

SIMULATED = "simulated:"


def open_clips(data: Mapping[str, Any], part: str, *, joints: bool = False) -> Clips:
    """The clips of `data.path` in one part: "train", "valid" or "test".

    "simulated:commands" (or exercises) is made on first use, in the cache; a prepared set is read
    as it is. Where the folder has numbered splits, `data.split` names one; where it has no
    validation part, "valid" is a share `data.holdout` of the training sources, and "train" is the
    rest (with holdout 0: all of it).
    """
    folder = folder_of(data)
    there = parts(folder, data["split"])
    if part in there:
        source = open_part(folder, there[part], data["on_bad"], joints)
    elif part == "test":
        raise DataError("there is no test part", file=folder, hint="make train/ and test/")
    else:
        source = open_part(folder, there["train"], data["on_bad"], joints)
    if part == "test" or "valid" in there:
        return source
    if not data["holdout"]:
        if part == "valid":
            raise ConfigError("0 leaves nothing for validation", place="data.holdout")
        return source
    train, valid = validation_split(source, data["holdout"], 0)
    return valid if part == "valid" else train


def folder_of(data: Mapping[str, Any]) -> Path:
    """Where the clips lie; simulated ones are made."""
    path = str(data["path"])
    return simulated_folder(data) if path.startswith(SIMULATED) else Path(path)


def parts(folder: Path, number: str = "1") -> dict[str, str]:
    """The parts of a folder of clips as `open_part` calls them; DataError without "train"."""
    if not folder.is_dir():
        raise DataError("no such folder of clips", file=folder)
    there = sets.parts(folder, number) if sets.recognise(folder) in ("clips", "prepared") else {}
    if "train" not in there:
        hint = "make train/CLASS/NAME.mp4, or CLASS/NAME.mp4"
        raise DataError("there are no training clips", file=folder, hint=hint)
    return there


def open_part(folder: Path, part: str, on_bad: str, joints: bool) -> Clips:
    """One part of a folder of clips or of a prepared set of them."""
    if sets.recognise(folder) == "clips":
        return clips.clips(folder, part, on_bad=on_bad, joints=joints)
    source = Prepared(folder, part)
    if not source.classes or "video" not in source[0]:
        raise DataError("holds no labelled clips", file=folder)
    if joints and "xy" not in source[0]:
        raise DataError("has no joints", file=folder, hint="joints lie beside the clips it is of")
    return source


def simulated_folder(data: Mapping[str, Any]) -> Path:
    """Makes the simulated clips if they are not there; returns their folder."""
    from bodyjax.simulate.clips import ClipSpec, ensure

    counts = dict(data["simulated"])
    return ensure(ClipSpec(kind=str(data["path"]).removeprefix(SIMULATED), **counts))


def spread(total: int, count: int, samples: int) -> np.ndarray:
    """(samples, count) frame numbers: `samples` even places in each of `count` equal segments.

    One sampling is `segment_frames` in mode "middle".
    """
    if samples == 1:
        return sampling.segment_frames(total, count, "middle")[None]
    offsets = (np.arange(samples) + 0.5) / samples
    places = (np.arange(count)[None] + offsets[:, None]) * total / count
    return np.minimum(places.astype(np.int64), total - 1)


@dataclass(frozen=True)
class TrainClip:
    """`frames` sampled frames of a clip: pixels augmented on the host (`options` of
    augment.augment_clip; the patent's zoom and shift for half of them), or its joints."""

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
        return pick(augment.fit_clip(out, self.size))


@dataclass(frozen=True)
class WholeClip:
    """A clip as it is: one sampling at the middles of equal segments, or `samples` of them.

    order, to show what movement is worth: "kept"; "shuffled", in an order that depends on the clip
    alone; "middle", the middle frame in the place of all.
    """

    frames: int
    size: tuple[int, int]
    pixels: bool
    samples: int = 1
    order: str = "kept"

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        del rng
        numbers = spread(int(example["length"]), self.frames, self.samples)
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
    """What the movement system eats, of its first person: score 0 where a joint is absent."""
    out: Example = {"label": np.int32(example["label"])}
    if "frames" in example:
        out["frames"] = example["frames"]
        return out
    visible = example["visible"][:, 0] > 0
    out["xy"] = np.where(visible[..., None], example["xy"][:, 0], 0).astype(np.float32)
    score = example["score"][:, 0] if "score" in example else np.ones(visible.shape)
    out["score"] = np.where(visible, score, 0).astype(np.float32)
    return out


@dataclass(frozen=True)
class StoredMaps:
    """Heat maps of evenly spread frames of each clip, made before: maps (N, K, h, w, J) uint8."""

    clips: Clips
    maps: np.ndarray
    fingerprint: str

    @property
    def labels(self) -> np.ndarray:
        return np.asarray(self.clips.labels)

    @property
    def groups(self) -> np.ndarray:
        return np.asarray(self.clips.groups)

    @property
    def heldout(self) -> np.ndarray:
        return self.clips.heldout

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Example:
        return {"maps": self.maps[index], "label": self.labels[index]}


@dataclass(frozen=True)
class SampleMaps:
    """`frames` of the K stored maps of a clip: random ones of equal segments, or the middles;
    `shuffle` puts them out of order."""

    frames: int
    sampling: str
    shuffle: bool = False

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        numbers = sampling.segment_frames(len(example["maps"]), self.frames, self.sampling, rng)
        if self.shuffle:
            numbers = rng.permutation(numbers)
        return {"maps": np.asarray(example["maps"][numbers]), "label": np.int32(example["label"])}


def clip_feed(
    config: Mapping[str, Any], stored: Mapping[str, Source] | None = None,
    *, host: tuple[int, int] = (0, 1),
) -> Stream:  # fmt: skip
    """Clips for the movement classifier. `stored`: sources of maps by part, where model.input is
    "maps". Evaluation during training is on the validation part, if there is one."""
    data, model = config["data"], config["model"]
    size, frames = tuple(model["size"]), model["frames"]
    evaluated = "valid" if has_validation(data) else None
    train_transform: Any
    eval_transform: Any
    sources: dict[str, Source]
    if model["input"] == "maps":
        assert stored is not None
        sources = dict(stored)
        train_transform = SampleMaps(frames, "random", data["shuffle"])
        eval_transform = SampleMaps(frames, "middle", data["shuffle"])
    else:
        pixels = model["input"] == "frames"
        parts = ["train", evaluated] if evaluated else ["train"]
        sources = {part: open_clips(data, part, joints=not pixels) for part in parts}
        flips = dict(model["augment"])["flip"] > 0
        train_transform = TrainClip(
            frames, model["sampling"], size, pixels, dict(data["augment"]), flips
        )
        eval_transform = WholeClip(frames, size, pixels)
    train: Source = sources["train"]
    if model["input"] == "frames" and data["simulated_copies"]:
        train = WithSimulated(train)
    return Stream(
        train, train_transform, seed=config["seed"], batch_size=data["batch"],
        eval_source=sources[evaluated] if evaluated else None, eval_transform=eval_transform,
        workers=data["workers"], host_index=host[0], host_count=host[1],
    )  # fmt: skip


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
