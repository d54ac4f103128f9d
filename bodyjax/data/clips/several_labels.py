"""Several movements at once: labels.json.

The file is beside the class folders (of train/, valid/ and test/ in each; of numbered splits beside
splits.json) and names all movements of a clip, none for []:

    {"CLASS/NAME": ["wave", "walk"], "CLASS/OTHER": []}

A clip that is not listed has only the class of its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bodyjax import files
from bodyjax.errors import DataError

FILE = "labels.json"


def targets(folders: Sequence[Path], names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """(N, C) float32, 1 where a movement holds, of clips CLASS/NAME; `folders` (N,) are where the
    labels.json of each may be.

    DataError for a malformed file, an unknown class or a missing clip.
    """
    tables = {folder: read(folder / FILE, classes) for folder in dict.fromkeys(folders)}
    held = np.zeros((len(names), len(classes)), np.float32)
    for row, (folder, name) in enumerate(zip(folders, names, strict=True)):
        for label in tables[folder].get(name, [name.partition("/")[0]]):
            held[row, classes.index(label)] = 1
    return held


def read(file: Path, classes: Sequence[str]) -> dict[str, list[str]]:
    """The classes of clips by CLASS/NAME; {} if there is no such file."""
    if not file.exists():
        return {}
    try:
        content = files.read_json(file)
        table = {str(name): [str(label) for label in labels] for name, labels in content.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"not a file of labels ({error!r})", file=file) from None
    clips = files.listed(file.parent, files.VIDEOS).files
    there = {f"{clip.parent.name}/{clip.stem}" for clip in clips}
    for name, labels in table.items():
        if name not in there:
            raise DataError("no such clip", file=file, place=name, hint="clips are CLASS/NAME")
        for label in labels:
            if label not in classes:
                hint = f"known: {', '.join(classes)}"
                raise DataError(f"unknown class {label!r}", file=file, place=name, hint=hint)
    return table
