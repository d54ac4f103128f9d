"""Trees of arrays by names: 'a/b/c' is the leaf c of the part b of the part a."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax


def flatten(tree: Any) -> dict[str, Any]:
    """A tree as {'a/b/c': leaf}; empty parts vanish."""
    return {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{'a/b/c': leaf} as nested dicts."""
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *parents, last = name.split("/")
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = leaf
    return tree


def leaf_name(path: Any) -> str:
    """The name of a leaf by its path, as jax gives it."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def specs(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{name: [shape, dtype]} of {name: leaf}, as JSON takes them."""
    return {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in flat.items()}
