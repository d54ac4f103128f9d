"""What a detector found on the pictures of a source."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bodyjax.detect.results import PicturePeople


class Pass(NamedTuple):
    """What was found on each picture that could be read: rows of the source, and the people."""

    rows: np.ndarray
    people: list[PicturePeople]
    unread: tuple[str, ...]
    seconds: float
