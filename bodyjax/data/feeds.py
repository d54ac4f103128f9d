"""From the `data` section of a config to the feed that the engine trains on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax.contract import Source
from bodyjax.data import augment, coco, lsp, pictures
from bodyjax.data.simulated import SimulatedPictures
from bodyjax.data.stream import Mixture, Stream
from bodyjax.errors import ConfigError

Example = dict[str, Any]

PICTURE_SETS = {"lspet": lsp.lsp, "multi": coco.coco, "people": pictures.people}


@dataclass(frozen=True)
class TrainPicture:
    """The training transform of pictures: one random crop, of fixed shapes."""

    size: tuple[int, int]
    stride: int
    people: int
    options: dict[str, Any]

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        return augment.augment_picture(
            example, self.size, rng, max_people=self.people, stride=self.stride, **self.options
        )


@dataclass(frozen=True)
class WholePicture:
    """The evaluation transform: the picture fitted into the size, not changed otherwise."""

    size: tuple[int, int]
    stride: int
    people: int

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        del rng
        return augment.fit_picture(
            example, self.size, max_people=self.people, stride=self.stride
        )


def picture_source(name: str, root: Path, part: str) -> Source:
    """One labelled set of pictures: lspet, multi, people (below `root`) or simulated."""
    if name == "simulated":
        return SimulatedPictures(part)
    if name not in PICTURE_SETS:
        known = ", ".join([*PICTURE_SETS, "simulated"])
        raise ConfigError(f"no set of pictures {name!r}", place="data.sets", hint=f"one of {known}")
    return PICTURE_SETS[name](root / name, part)


def picture_feed(config: Mapping[str, Any], *, host: tuple[int, int] = (0, 1)) -> Stream:
    """Pictures for the detector: `data.sets` {name: share} mixed, `data.valid` for evaluation."""
    data, model = config["data"], config["model"]
    root, shares = Path(data["path"]), dict(data["sets"])
    size, stride, people = tuple(model["size"]), model["stride"], model["max_people"]
    sources = [picture_source(name, root, "train") for name in shares]
    source = sources[0] if len(sources) == 1 else Mixture(sources, list(shares.values()))
    options = {**data["augment"], "scale": tuple(data["augment"]["scale"])}
    return Stream(
        source, TrainPicture(size, stride, people, options),
        seed=config["seed"], batch_size=data["batch"],
        eval_source=picture_source(data["valid"], root, "valid"),
        eval_transform=WholePicture(size, stride, people),
        workers=data["workers"], host_index=host[0], host_count=host[1],
    )  # fmt: skip


FEEDS = {"pictures": picture_feed}


def open_feed(config: Mapping[str, Any], *, host: tuple[int, int] = (0, 1)) -> Stream:
    """The feed that `data.kind` names; `host` is (index, count) of this process."""
    kind = config["data"]["kind"]
    if kind not in FEEDS:
        raise ConfigError(f"no kind of data {kind!r}", place="data.kind", hint=", ".join(FEEDS))
    return FEEDS[kind](config, host=host)
