"""Simulated sample videos: the body region zoomed or moved (US 2020/0042776, [0098-0100]).

One map per clip: its frames keep their order and label. Both originals and simulated clips are in
the training set (`WithSimulated`).
"""

from __future__ import annotations

import hashlib

import numpy as np

from bodyjax.contract import Source
from bodyjax.data import affine

FACTORS = ((1 / 27, 4.0), (1 / 12, 3.0), (1 / 3, 2.0))
"""(share of the picture, zoom): a region under that share is enlarged this many times; the least
zoom is 2, that is, enlarged by one time."""

FILLS = (0, 255)
"""What new pixels of a simulated clip are, one of both at random."""

VERSION = 1
"""Raised with every change of the maps, so that what was made from them is made anew."""

EDGE = 0.02
"""A region this near to the picture's side, as a share of its length, is at the edge."""


class WithSimulated:
    """A source of clips followed by the same clips marked `simulated`: twice as long.

    `bodyjax.data.augment` changes the marked ones by `simulated_map`: `augment_clip` their pixels,
    `simulate_joints` the joints of a classifier that sees no pixels. regions (N, 4): the box of
    each clip's body, NaN where it is not known, for clips without joints; None: those of the
    joints.
    """

    def __init__(self, source: Source, regions: np.ndarray | None = None) -> None:
        self.source, self.regions = source, regions
        words = f"with simulated {source.fingerprint}"
        if regions is not None:
            words += f" {hashlib.sha256(regions.tobytes()).hexdigest()}"
        self.fingerprint = hashlib.sha256(words.encode()).hexdigest()
        self.labels = None if source.labels is None else np.tile(source.labels, 2)
        self.groups = None if source.groups is None else np.tile(source.groups, 2)
        self.heldout = np.tile(source.heldout, 2)
        self.names = (*source.names, *source.names)
        self.classes, self.bad, self.left_out = source.classes, source.bad, source.left_out

    def __len__(self) -> int:
        return 2 * len(self.source)

    def name(self, index: int) -> str:
        """What errors call an example."""
        return self.source.name(index % len(self.source))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        row = index % len(self.source)
        region = {} if self.regions is None else {"region": self.regions[row]}
        simulated = np.asarray(index >= len(self.source))
        return {**self.source[row], **region, "simulated": simulated}


def body_region(xy: np.ndarray, visible: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """The box (x0, y0, x1, y1) of all joints of a clip, a tenth wider, cut to the picture.

    xy (..., 2) and visible (...), of all frames and people; size (height, width). None if no joint
    is visible inside the picture.
    """
    far = np.array(size[::-1], np.float64) - 0.5
    points = xy[visible > 0]
    points = points[((points >= -0.5) & (points <= far)).all(-1)]
    if not len(points):
        return None
    low, high = points.min(0), points.max(0)
    margin = 0.05 * float((high - low).max())
    return np.concatenate([np.maximum(low - margin, -0.5), np.minimum(high + margin, far)])


def zoom_factor(
    region: np.ndarray, size: tuple[int, int], factors: tuple[tuple[float, float], ...] = FACTORS
) -> float:
    """The zoom of a region, by its share of the picture; 1 for a third or more."""
    share = float(np.prod(region[2:] - region[:2])) / (size[0] * size[1])
    return next((factor for bound, factor in sorted(factors) if share < bound), 1.0)


def edge_move(region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(dx, dy) that moves a region at the edge towards the middle by half the picture's width or
    height ([0099]); 0 along an axis where the region touches neither side, or both."""
    extent = np.array(size[::-1], np.float64)
    near = EDGE * extent
    at_start = region[:2] <= near - 0.5
    at_end = region[2:] >= extent - 0.5 - near
    sign = at_start.astype(float) - at_end.astype(float)
    return 0.5 * extent * sign


def simulated_map(
    region: np.ndarray | None, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """The map of one simulated clip, (2, 3), from pixels of the clip to pixels of the same picture.

    A region under a third of the picture is zoomed about its centre, one at the edge is moved; one
    that is both is zoomed, moved, or both at random. The region stays in the picture: it is zoomed
    no further than it fits, and moved no further than its side. A region that needs neither (or is
    not known) is shrunk to 0.5 to 0.8 and put at a random place where it fits completely.
    """
    extent = np.array(size[::-1], np.float64)
    if region is not None:
        most = float((extent / (region[2:] - region[:2])).min())
        factor, step = min(zoom_factor(region, size), most), edge_move(region, size)
        choices = [(factor, step)]
        if factor > 1 and step.any():
            choices += [(factor, 0 * step), (1.0, step)]
        if factor > 1 or step.any():
            zoom, shift = choices[rng.integers(len(choices))]
            centre = (region[:2] + region[2:]) / 2
            half = zoom * (region[2:] - region[:2]) / 2
            target = np.clip(centre + shift, half - 0.5, extent - 0.5 - half)
            return affine.about(centre, target, zoom)
    factor = rng.uniform(0.5, 0.8)
    middle = (extent - 1) / 2
    room = extent * (1 - factor) / 2
    return affine.about(middle, middle + rng.uniform(-room, room), factor)
