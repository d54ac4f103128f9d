"""An untrained detector as a checkpoint, without the half minute that compiling `init` takes."""

import jax
import ml_collections
import numpy as np

from bodyjax import systems
from bodyjax.engine.checkpoint import Checkpoint
from configs import pose


def untrained() -> Checkpoint:
    config = ml_collections.ConfigDict(pose.get_config("tiny"))
    config.detect = {"size": 64, "max_people": 3, "max_peaks": 3}
    shapes = jax.eval_shape(systems.build(config).init, jax.random.key(0))
    rng = np.random.default_rng(0)

    def values(leaf: jax.ShapeDtypeStruct, least: float) -> np.ndarray:
        return rng.uniform(least, least + 0.5, leaf.shape).astype(leaf.dtype)

    least = {"params": -0.25, "batch_stats": 0.5, "frozen": 0.0}  # statistics: above 0
    variables = {
        part: jax.tree.map(lambda leaf, least=least[part]: values(leaf, least), tree)
        for part, tree in shapes.items()
    }
    return Checkpoint(variables, config, "pose")
