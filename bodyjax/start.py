"""What a training starts from: published weights, an earlier checkpoint, a frozen teacher."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import jax
import numpy as np

from bodyjax import published
from bodyjax.contract import System, Variables
from bodyjax.engine import checkpoint
from bodyjax.errors import CheckpointError

OWN = ("se",)
"""Layers that keep their random start where published weights lack them: a plain ResNet says
nothing about squeeze and excitation."""


def variables(config: Any, system: System) -> Variables:
    """Initial variables that replace the random ones, part by part; {} where all stay random.

    `config.start`: an .npz of published backbone weights (bodyjax.published), or a run's folder or
    the name of shipped weights for the whole network. `config.distill.teacher`: the same for the
    frozen teacher, where the teacher is a network.
    """
    found: Variables = {}
    start = str(config.get("start", "") or "")
    if start.endswith(".npz"):
        found |= from_published(start, config["seed"], system)
    elif start:
        found |= from_checkpoint(start, system)
    teacher = (config.get("distill") or {}).get("teacher", "")
    if teacher:
        loaded = checkpoint.load(teacher, system="pose").variables
        found["frozen"] = {"teacher": of_network(loaded)}
    return found


def of_network(variables: Variables) -> Variables:
    """Parameters and statistics of a network, without what a training with a teacher counts."""
    statistics = {k: v for k, v in variables["batch_stats"].items() if k != "teaching"}
    return {"params": variables["params"], "batch_stats": statistics}


def from_checkpoint(path: str, system: System) -> Variables:
    """Parameters and statistics of a trained network; the count of taught steps starts anew."""
    found = of_network(checkpoint.load(path).variables)
    fresh = jax.eval_shape(system.init, jax.random.key(0))["batch_stats"].get("teaching")
    if fresh:
        anew = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), fresh)
        found["batch_stats"] = {**found["batch_stats"], "teaching": anew}
    return found


def from_published(path: str, seed: int, system: System) -> Variables:
    """Random variables with the backbone of an .npz of published weights, and with those of its
    heads that the network has; a head that the network has and the file lacks is an error."""
    try:
        params, statistics, heads = published.network(published.read(path))
        fresh = jax.device_get(jax.jit(system.init)(jax.random.key(seed)))
        for head in published.HEADS:
            if head in fresh["params"]:
                if head not in heads:
                    raise CheckpointError("the weights have no such head", place=head)
                fresh["params"][head] = fitted(heads[head], fresh["params"][head], head)
        for name, tree in (("params", params), ("batch_stats", statistics)):
            if tree or "backbone" in fresh[name]:
                own = fresh[name].get("backbone", {})
                fresh[name] = {**fresh[name], "backbone": fitted(tree, own, "backbone")}
    except CheckpointError as error:
        if error.file:
            raise
        raise CheckpointError(error.message, file=path, place=error.place) from None
    return {name: fresh[name] for name in ("params", "batch_stats")}


def fitted(tree: Any, like: Any, place: str) -> Any:
    """`tree` in the dtypes of `like`, whose names and shapes it must have, but for `OWN`."""
    if not isinstance(like, dict):
        if np.shape(tree) != like.shape:
            raise CheckpointError(f"has shape {np.shape(tree)}, not {like.shape}", place=place)
        return np.asarray(tree, like.dtype)
    for name in tree.keys() ^ like.keys():
        if name not in OWN or name not in like:
            whose = "the network has no" if name in tree else "the weights have no"
            raise CheckpointError(f"{whose} {name}", place=place, hint="see model.backbone")
    return {
        name: fitted(tree[name], part, f"{place}/{name}") if name in tree else part
        for name, part in like.items()
    }


def without_teacher(trained: checkpoint.Checkpoint) -> checkpoint.Checkpoint:
    """The student alone, as a checkpoint to export: no teacher in its config or variables."""
    config = copy.deepcopy(trained.config)
    config.unlock()
    if "distill" in config:
        del config["distill"]
    variables = {**of_network(trained.variables), "frozen": {}}
    return dataclasses.replace(trained, config=config, variables=variables)
