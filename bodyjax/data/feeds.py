"""From the `data` section of a config to the feed that the engine trains on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import skeleton
from bodyjax.contract import Feed, Source
from bodyjax.data import augment, sets
from bodyjax.data.pictures import settings
from bodyjax.data.pictures.clip_frames import clip_pictures
from bodyjax.data.pictures.labelled import Pictures
from bodyjax.data.pictures.map_store import RECORD, MapStore
from bodyjax.data.pictures.simulated import SimulatedPictures
from bodyjax.data.pictures.teacher import Taught, TaughtByMaps, with_maps, with_teacher
from bodyjax.data.pictures.unlabelled import WithNeighbours, check_taught, unlabelled_frames
from bodyjax.data.sequences.array_sets import FILES
from bodyjax.data.stream import Mixture, Stream, Transform
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import BODY18, Skeleton

Example = dict[str, Any]


EVALUATED = 300
"""Simulated pictures of a part that is evaluated."""


@dataclass(frozen=True)
class TrainPicture:
    """The training transform of pictures: one random crop, of fixed shapes. `options`: fields of
    augment.PictureChanges, as plain values, as in the stream's fingerprint, and `mirror` of a
    custom skeleton."""

    size: tuple[int, int]
    stride: int
    people: int
    options: dict[str, Any]

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        options = dict(self.options)
        mirror = options.pop("mirror", BODY18.mirror)
        changes = augment.PictureChanges(**options)
        return augment.augment_picture(
            example, self.size, rng, changes, max_people=self.people, stride=self.stride,
            mirror=mirror,
        )  # fmt: skip


@dataclass(frozen=True)
class WholePicture:
    """The evaluation transform: the picture fitted into the size, otherwise unchanged."""

    size: tuple[int, int]
    stride: int
    people: int

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        del rng
        return augment.fit_picture(example, self.size, max_people=self.people, stride=self.stride)


def picture_source(
    name: str,
    root: Path,
    part: str,
    *,
    bones: Skeleton | None = None,
    teacher: bool = False,
    on_bad: str = "raise",
) -> Any:
    """One labelled set of pictures: `simulated`, or the folder `name` below `root`, recognised by
    its layout (LSP arrays, COCO keypoints, rendered people, a prepared set, or clips with stored
    joints, of which frames are taken: bodyjax.data.pictures.clip_frames).

    Joints are those of `bones`, or the set's own; ConfigError if the set has none of them. With
    `teacher`, the stored joints of its teacher.npz come with the examples, if it has one. on_bad:
    "raise" ends at the first label or missing picture that can't be used; "skip" decodes every
    picture of the part once and leaves out, names and counts what can't be used. For a prepared set
    this was done when it was made.
    """
    if name == "simulated":
        # As many to train on as anybody wants; of those that are evaluated a few hundred suffice.
        count = SimulatedPictures.count if part == "train" else EVALUATED
        return _in_joints(SimulatedPictures(part, count), bones)
    folder = root / name
    if not folder.exists():
        raise ConfigError(
            f"no set {name!r} in {root}", place="data.sets", hint="name its folder, or simulated"
        )
    kind = sets.recognise(folder)
    stored = folder / "teacher.npz"
    if kind == "clips" or (kind in FILES.values() and stored.exists()):  # they are its labels
        return _in_joints(clip_pictures(folder, part, on_bad=on_bad), bones)
    if kind not in (*sets.PICTURES, "prepared"):
        raise ConfigError(f"{folder} holds {kind}, not labelled pictures", place="data.sets")
    options = {} if kind == "prepared" else {"on_bad": on_bad, "check_pictures": on_bad == "skip"}
    source = _in_joints(sets.open_set(folder, part, **options), bones)
    return with_teacher(source, stored) if teacher and stored.exists() else source


def _in_joints(source: Any, bones: Skeleton | None) -> Any:
    return source if bones is None else source.to(bones)


def augmentation(data: Mapping[str, Any], bones: Skeleton) -> dict[str, Any]:
    """The options of `TrainPicture` for joints of `bones`."""
    options = {**data["augment"], "scale": tuple(data["augment"]["scale"])}
    if bones.mirror != BODY18.mirror:  # augment_picture's own: so fingerprints stay what they were
        options["mirror"] = bones.mirror
    return options


def picture_feed(config: Mapping[str, Any], *, host: tuple[int, int] = (0, 1)) -> Stream:
    """Pictures for the detector: `data.sets` {name: share} mixed, `data.valid` for evaluation, all
    in the joints of `model.skeleton`.

    `data.on_bad` is that of `picture_source`; what is left out is printed. If `config.distill`
    names a folder of stored maps, those are the teacher; if it names no network either, the teacher
    is the sets' stored joints. Frames of `data.unlabelled` {name: share} have no labels: a teacher
    in the step supplies what is learnt from them (data.pictures.unlabelled).
    """
    data, model = config["data"], config["model"]
    bones = skeleton.of(model["skeleton"])
    root, shares = Path(data["path"]), {k: v for k, v in data["sets"].items() if v}
    size, stride, people = tuple(model["size"]), model["stride"], model["max_people"]
    distill = config.get("distill") or None  # an empty section is none
    maps = distill["stored"] if distill is not None else ""
    stored = distill is not None and not maps and not distill["teacher"]
    if not shares:
        raise ConfigError("no set has a share", place="data.sets")
    on_bad = settings.read(data).on_bad
    sources = [
        picture_source(name, root, "train", bones=bones, teacher=stored, on_bad=on_bad)
        for name in shares
    ]
    more = {k: v for k, v in data.get("unlabelled", {}).items() if v}
    check_taught(distill, more)
    neighbours = bool(distill and distill.get("agreement"))
    taught = [
        unlabelled_frames(root / name, on_bad=on_bad, neighbours=neighbours).to(bones)
        for name in more
    ]
    held = picture_source(data["valid"], root, "valid", bones=bones, on_bad=on_bad)
    if host[0] == 0:
        for name, opened in zip(shares, sources, strict=True):
            say_left_out(f"{name}, train", opened)
        for name, frames in zip(more, taught, strict=True):
            say_left_out(f"{name}, unlabelled", frames)
        say_left_out(f"{data['valid']}, valid", held)
    if maps:
        stores = open_stores(Path(maps), list(shares))
        rest = [name for name in shares if name not in stores]
        if rest and host[0] == 0:
            print(f"no stored maps of {', '.join(rest)}: labels alone", file=sys.stderr)
        sources = [
            with_maps(part, stores[name]) if name in stores else part
            for name, part in zip(shares, sources, strict=True)
        ]
    every, weights = [*sources, *taught], [*shares.values(), *more.values()]
    source = every[0] if len(every) == 1 else Mixture(every, weights)
    transform: Transform = TrainPicture(size, stride, people, augmentation(data, bones))
    if stored:
        if not any(isinstance(part, Pictures) and "teacher_xy" in part.extra for part in sources):
            hint = "a teacher.npz in one of data.sets, or a network as distill.teacher"
            raise ConfigError("no set has a teacher", place="distill", hint=hint)
        transform = Taught(transform, bones.mirror)
    if maps:
        transform = TaughtByMaps(transform, next(iter(stores.values())).record.form)
    if neighbours:
        transform = WithNeighbours(transform)
    return Stream(
        source, transform, seed=config["seed"], batch_size=data["batch"],
        eval_source=held,
        eval_transform=WholePicture(size, stride, people),
        workers=data["workers"], host_index=host[0], host_count=host[1],
    )  # fmt: skip


def open_stores(folder: Path, names: list[str]) -> dict[str, MapStore]:
    """The stored maps of those of the sets that have some, `folder`/NAME; DataError if no set has
    any, or if they come from several teachers or have several forms."""
    found = {name: MapStore(folder / name) for name in names if (folder / name / RECORD).exists()}
    if not found:
        what = f"has no maps of {', '.join(names)}"
        hint = "bodyjax prepare --teacher NAME makes them"
        raise DataError(what, file=folder, hint=hint)
    records = [store.record for store in found.values()]
    if len({(one.sha256, one.form, repr(one.settings)) for one in records}) > 1:
        what = f"has maps of different teachers or sizes ({', '.join(found)})"
        raise DataError(what, file=folder, hint="make them with the same flags")
    return found


def say_left_out(name: str, source: Source) -> None:
    """Prints to stderr what a source leaves out: each bad picture, then the counts by reason."""
    for line in source.bad:
        print(f"left out of {name}: {line}", file=sys.stderr)
    if source.left_out:
        words = "; ".join(f"{count} {reason}" for reason, count in source.left_out.items())
        print(f"left out of {name}: {words}", file=sys.stderr)


FEEDS: dict[str, Callable[..., Feed]] = {"pictures": picture_feed}


def open_feed(config: Mapping[str, Any], *, host: tuple[int, int] = (0, 1)) -> Feed:
    """The feed that `data.kind` names: one of `FEEDS`, or the result of feed(config, host=host) in
    the file of that name beside this one. `host` is (index, count) of this process."""
    kind = str(config["data"].get("kind", ""))
    make = FEEDS.get(kind)
    if make is None and kind.isidentifier() and find_spec(f"{__package__}.{kind}"):
        make = getattr(import_module(f"{__package__}.{kind}"), "feed", None)
    if make is None:
        hint = f"{', '.join(FEEDS)}, or a file of bodyjax/data with a function feed"
        raise ConfigError(f"no kind of data {kind!r}", place="data.kind", hint=hint)
    return make(config, host=host)
