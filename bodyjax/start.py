"""What a training starts from: published weights or an earlier checkpoint, and what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from bodyjax import published
from bodyjax.contract import System, Variables
from bodyjax.engine import checkpoint


def variables(config: Any, system: System) -> Variables:
    """Initial variables that replace the random ones, or {} where config.start is empty.

    `config.start`: an .npz of published EfficientNet-lite0 weights for the backbone, or a run's
    folder or the name of shipped weights for the whole network.
    """
    start = config.get("start", "")
    if not start:
        return {}
    if not str(start).endswith(".npz"):
        loaded = checkpoint.load(start)
        return {name: loaded.variables[name] for name in ("params", "batch_stats")}
    fresh = jax.device_get(jax.jit(system.init)(jax.random.key(config["seed"])))
    params, statistics = published.efficientnet_lite0(published.read(Path(start)))
    return {
        "params": {**fresh["params"], "backbone": only(params, fresh["params"]["backbone"])},
        "batch_stats": {
            **fresh["batch_stats"],
            "backbone": only(statistics, fresh["batch_stats"]["backbone"]),
        },
    }


def only(tree: Any, like: Any) -> Any:
    """`tree` cut to the names of `like`, in its shapes."""
    if isinstance(like, dict):
        return {name: only(tree[name], part) for name, part in like.items()}
    return np.asarray(tree, like.dtype).reshape(like.shape)


def meta(config: Any) -> dict[str, Any]:
    """What a checkpoint records beside its config."""
    return {"skeleton": config["model"].get("skeleton", "")}
