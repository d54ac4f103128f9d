"""Backbones, one file each, found by the names that it lists: pictures to features.

A backbone is a file with

    NAMES                        what `model.backbone` of a config may say for it
    build(name, model, dtype)    the network by one of those names and the config's `model` section
    KNOWN_BY, published(arrays)  where published weights are known: the name of an array that only
                                 they have, and their arrays as variables of the network; none
                                 where no weights are published

The networks are `Backbone`s. Layers for all of them are in layers.py, names of torch in
torch_names.py.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple, NoReturn, Protocol

import jax
import numpy as np

from bodyjax.errors import CheckpointError, ConfigError

Tree = dict[str, Any]
Arrays = Mapping[str, np.ndarray]


class Backbone(Protocol):
    """A linen module that normalises pixels by its own convention and gives features by stride.

    strides: those of the features, ascending; pictures are multiples of the last. normed: whether
    the features come out of norms (or of a network as even as one with norms); where they don't, a
    pyramid standardises them first.
    """

    @property
    def strides(self) -> tuple[int, ...]: ...

    @property
    def normed(self) -> bool: ...

    def __call__(self, pixels: jax.Array, train: bool = False) -> dict[int, jax.Array]:
        """Pixels (B, H, W, 3) in 0..255 (any real dtype), RGB -> {stride: (B, H / stride, W /
        stride, C)}."""


class Weights(NamedTuple):
    """Published weights as variables: of the backbone, and parameters of heads by their names."""

    params: Tree
    batch_stats: Tree
    heads: Tree


def files() -> list[ModuleType]:
    """The files of this folder that are backbones."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [file for file in found if hasattr(file, "NAMES")]


def build(model: Any, dtype: Any) -> Backbone:
    """The backbone that `model.backbone` of a config names, by its file; ConfigError if none."""
    name, known = model["backbone"], {name: file for file in files() for name in file.NAMES}
    if name not in known:
        what = f"{name!r} should be one of {', '.join(known)}"
        raise ConfigError(what, place="model.backbone")
    return known[name].build(name, model, dtype)


def unknown(layer: str) -> NoReturn:
    """The error for a name among published weights that has no place here."""
    raise CheckpointError(
        f"no place is known for {layer!r}", hint="the files of bodyjax/models/backbones list them"
    )
