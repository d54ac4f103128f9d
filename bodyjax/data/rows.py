"""Rows of arrays: as a source, for your own data sets that fit in memory, and padded, so that few
programs serve many lengths."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bodyjax.errors import DataError


@dataclass(frozen=True)
class Rows:
    """A source (contract.Source) of the rows of `arrays`, name -> (N, ...).

    place: what errors name, such as the file of the arrays. By default names are "row 0" and so on,
    nothing is held out, and the fingerprint is that of the arrays. DataError if there are no rows,
    or if arrays differ in their number of rows.
    """

    arrays: Mapping[str, np.ndarray]
    place: str = ""
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    heldout: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    bad: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        counts = {name: len(array) for name, array in self.arrays.items()}
        if not any(counts.values()):
            raise DataError("has no rows", file=self.place or None)
        if len(set(counts.values())) > 1:
            words = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise DataError(f"arrays differ in rows: {words}", file=self.place or None)
        count = next(iter(counts.values()))
        if not self.names:
            object.__setattr__(self, "names", tuple(f"row {i}" for i in range(count)))
        if not len(self.heldout):
            object.__setattr__(self, "heldout", np.zeros(count, bool))
        if not self.fingerprint:
            digest = hashlib.sha256()
            for name, array in sorted(self.arrays.items()):
                digest.update(f"{name} {array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
            object.__setattr__(self, "fingerprint", digest.hexdigest())

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: array[index] for name, array in self.arrays.items()}

    def name(self, index: int) -> str:
        """What errors call an example."""
        return f"{self.place}/{self.names[index]}" if self.place else self.names[index]


def padded(*arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays (N, ...) with their last row repeated up to the next power of two: a compiled program
    for each of those lengths, not for each N. Arrays without rows stay as they are."""
    count = len(arrays[0])
    more = (1 << (count - 1).bit_length()) - count if count else 0
    return [np.concatenate([array, np.repeat(array[-1:], more, 0)]) for array in arrays]
