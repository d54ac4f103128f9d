"""Published weights: an .npz of arrays under their published names.

Which names go where is in the file of the backbone (models/backbones); any other name is an error.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from bodyjax.errors import CheckpointError
from bodyjax.models import backbones
from bodyjax.models.backbones import Arrays, Weights


def read(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, float32; CheckpointError if it is missing or not one."""
    if not Path(path).is_file():
        raise CheckpointError("no such file of weights", file=path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name], np.float32) for name in file.files}
    except Exception as error:  # zip, zlib and NumPy each have their own
        raise CheckpointError(f"not an .npz file of arrays ({error})", file=path) from None


def network(arrays: Arrays) -> Weights:
    """The published network with these names, as variables; CheckpointError if no network has
    them."""
    known = {file.KNOWN_BY: file for file in backbones.files() if hasattr(file, "KNOWN_BY")}
    for name, file in known.items():
        if name in arrays:
            return file.published(arrays)
    raise CheckpointError(
        "not the weights of a backbone that is known", hint=f"one has {', '.join(known)}"
    )
