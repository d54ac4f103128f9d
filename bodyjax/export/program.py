"""What every format gives: bytes for a file, and the same bytes running here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

Arrays = dict[str, np.ndarray]


class Shape(NamedTuple):
    """Of an input or output; a free axis has a name."""

    shape: tuple[int | str, ...]
    dtype: str

    def fixed(self) -> jax.ShapeDtypeStruct:
        """With 1 for free axes."""
        sizes = tuple(size if isinstance(size, int) else 1 for size in self.shape)
        return jax.ShapeDtypeStruct(sizes, np.dtype(self.dtype))


class Program(NamedTuple):
    """An exported program: its bytes; run({input: array}) -> {output: array} of them; shapes of the
    inputs, in their order, and of the outputs; why the batch is fixed at 1, "" if it is free."""

    data: bytes
    run: Callable[[Arrays], Arrays]
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    fixed: str = ""


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their path: "0", "0/joints"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def shapes(tree: Any) -> dict[str, Shape]:
    """Shapes of a tree's leaves; a size that is not known is named."""
    return {
        name: Shape(
            tuple(size if isinstance(size, int) else str(size) for size in leaf.shape),
            str(leaf.dtype),
        )
        for name, leaf in by_path(tree).items()
    }
