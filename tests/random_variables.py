"""Random variables without compiling a system's `init`, which takes up to half a minute."""

from typing import Any

import jax
import numpy as np


def drawn(system: Any, seed: int = 0) -> Any:
    """Variables of the shapes that `system.init` gives, NumPy arrays: scales and variances 1, all
    others normal with a deviation of fan-in^-0.5."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        if path[-1].key in ("var", "scale"):
            return np.ones(leaf.shape, leaf.dtype)
        fan_in = max(int(np.prod(leaf.shape[:-1])), 1)
        return rng.normal(0, fan_in**-0.5, leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(system.init, jax.random.key(0)))
