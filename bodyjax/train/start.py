"""What a training starts from: published weights or an earlier checkpoint."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import jax
import numpy as np

from bodyjax import published, skeleton
from bodyjax.contract import Feed, System, Variables
from bodyjax.engine import checkpoint
from bodyjax.errors import CheckpointError
from bodyjax.models.backbones import mobilenet_v2_short
from bodyjax.models.backbones.mobilenet_v2_fpn import HEADS
from bodyjax.systems.teaching import of_network
from bodyjax.train import cut

OWN = ("se",)
"""Layers that keep their random start if published weights lack them: a plain ResNet has no squeeze
and excitation."""


CUT_BY = 48
"""Pictures of the training side that show which channels matter (train.cut)."""


def variables(config: Any, system: System, feed: Feed) -> Variables:
    """Initial variables that replace the random ones, part by part; {} if all stay random.

    `config.start`: an .npz of published backbone weights (bodyjax.published), or a run's folder or
    the name of shipped weights for the whole network. A backbone for phones is cut out of published
    weights of the whole one, by pictures of the feed.
    """
    found: Variables = {}
    start = str(config.get("start", "") or "")
    if start.endswith(".npz"):
        name = config.get("model", {}).get("backbone", "")
        phone = mobilenet_v2_short.of_name(name) if name in mobilenet_v2_short.NAMES else None
        found |= from_published(start, config["seed"], system, phone, feed)
    elif start:
        found |= from_checkpoint(start, system, config["model"])
    return found


def from_checkpoint(path: str, system: System, model: Any) -> Variables:
    """Parameters and statistics of a trained network, for a system of the config section `model`;
    the count of taught steps starts over."""
    loaded = checkpoint.load(path)
    shapes = jax.eval_shape(system.init, jax.random.key(0))["params"]
    if not shapes.keys() & loaded.variables["params"].keys():
        what = f"is of system {loaded.system} and has no part of this model"
        raise CheckpointError(what, file=path, place="start")
    check_joints(loaded, model)
    found = of_network(loaded.variables)
    fresh = jax.eval_shape(system.init, jax.random.key(0))["batch_stats"].get("teaching")
    if fresh:
        anew = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), fresh)
        found["batch_stats"] = {**found["batch_stats"], "teaching": anew}
    return found


def check_joints(start: checkpoint.Checkpoint, model: Any) -> None:
    """CheckpointError if the start of a detector has other joints or limbs than `model.skeleton`:
    channels with the same number would be confused."""
    theirs, ours = start.config["model"].get("skeleton"), model.get("skeleton")
    if not theirs or not ours:
        return
    theirs, ours = skeleton.of(theirs), skeleton.of(ours)
    if (theirs.joints, theirs.limbs) != (ours.joints, ours.limbs):
        what = f"has the joints of {theirs.name}, the model those of {ours.name}"
        raise CheckpointError(what, file=start.path, place="start", hint="see model.skeleton")


def from_published(
    path: str, seed: int, system: System, phone: tuple[int, int] | None, feed: Feed
) -> Variables:
    """Random variables with the backbone of an .npz of published weights, and with those of its
    heads that the network has; a head that the network has and the file lacks is an error. phone:
    the expansions of a backbone that is cut out of it (mobilenet_v2_short)."""
    shapes = jax.eval_shape(system.init, jax.random.key(seed))
    try:
        params, statistics, heads = published.network(published.read(path))
        if phone:
            params = cut_out(params, phone, feed)
        for head in HEADS:
            if head in shapes["params"] and head not in heads:
                raise CheckpointError("the weights have no such head", place=head)
        heads = {head: tree for head, tree in heads.items() if head in shapes["params"]}
        given = {"params": {"backbone": params, **heads}, "batch_stats": {"backbone": statistics}}
        if not statistics and "backbone" not in shapes["batch_stats"]:
            given["batch_stats"] = {}
        fresh = random_beside(system, seed, shapes, given)
        for name, parts in given.items():
            for part, tree in parts.items():
                own = fresh[name].get(part, {})
                fresh[name] = {**fresh[name], part: fitted(tree, own, part)}
    except CheckpointError as error:
        if error.file:
            raise
        raise CheckpointError(error.message, file=path, place=error.place) from None
    return {name: fresh[name] for name in ("params", "batch_stats")}


def cut_out(params: Any, expansions: tuple[int, int], feed: Feed) -> Any:
    """The backbone for phones with these expansions, by the first pictures of a feed."""
    if np.shape(params.get("block16", {}).get("project", {}).get("bias", ())) != (480,):
        what = "a backbone for phones is cut out of mobilenet_v2_fpn_1.5 (MoveNet MultiPose)"
        raise CheckpointError(what, place="start")
    pictures: list[np.ndarray] = []
    batches = feed.train_batches(0)
    while sum(len(part) for part in pictures) < CUT_BY:
        pictures.append(next(batches)["image"])
    pixels = np.concatenate(pictures)[:CUT_BY]
    height, width = (side // 32 * 32 for side in pixels.shape[1:3])
    return cut.short(params, *expansions, pixels[:, :height, :width])


def random_beside(system: System, seed: int, shapes: Variables, given: Variables) -> Variables:
    """The random variables of a system, but only shapes where `given` has an array: compiling the
    initialisation of a whole network takes minutes, that of the few new layers takes seconds."""
    known = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(given)}
    leaves, layout = jax.tree_util.tree_flatten_with_path(shapes)
    new = [i for i, (path, _) in enumerate(leaves) if jax.tree_util.keystr(path) not in known]

    def random(key: jax.Array) -> list[jax.Array]:
        every = jax.tree.leaves(system.init(key))
        return [every[i] for i in new]

    values = [leaf for _, leaf in leaves]
    for i, value in zip(new, jax.device_get(jax.jit(random)(jax.random.key(seed))), strict=True):
        values[i] = value
    return jax.tree.unflatten(layout, values)


def fitted(tree: Any, like: Any, place: str) -> Any:
    """`tree` in the dtypes of `like`, whose names and shapes it must have, except for `OWN`."""
    if not isinstance(like, dict):
        if np.shape(tree) != like.shape:
            raise CheckpointError(f"has shape {np.shape(tree)}, not {like.shape}", place=place)
        return np.asarray(tree, like.dtype)
    for name in sorted(tree.keys() ^ like.keys()):
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
