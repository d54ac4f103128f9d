"""How a detector reads a picture: its settings, checked."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from bodyjax.detect import person_score as ranking
from bodyjax.errors import ConfigError
from bodyjax.sections import unknown_field

MOST_SIZE = 2048
"""The largest side in pixels of a canvas, or of a crop of a second look: beyond it memory runs out
without a message, and a second look's canvas is twice as large."""


@dataclass(frozen=True)
class Settings:
    """How a picture is read. A config may set some of these in its section `detect`.

    size: side of the canvas in pixels, a multiple of 32 (networks without a pyramid: of 8); the
    longest side of the picture is scaled to it. flip: average with the mirrored picture. scales:
    average over the canvas at these relative sizes, each rounded to the same multiple
    (`detect.make`). refine: sub-pixel rule of the joints when fields alone group, "parabola"
    (through the logarithms of the peak and its neighbours), "dark" or "udp" (codec.decode).
    max_people, max_peaks, threshold, min_paf, min_hits, min_parts, min_score: grouping.group;
    by_fields: group by these alone even if the network has centres. center_threshold, reach, near,
    trust, same: centers.Settings. fill_reach: joints that grouping did not attach are placed where
    the map, weighted with a Gaussian of the distance from the person's box (with centres: from the
    regressed joint), is highest; this is its sigma in sides of the box; fill_threshold: the least
    value of the map there. second_size: side of the crops of a second look; turns: people with
    unsure joints are also looked at turned by 90, 180 and 270 degrees; second_flip: and mirrored;
    agree: the first joints stay if the second look's lie further away than this, in sides of the
    crop (second_look.look). ranking, ranking_second: weights of the person score without and with a
    second look, () for a plain product (ranking.probability). min_person, min_person_second: people
    with a lower score are not shown by default in detect.find and launch.detect (launch.evaluate
    measures all), without and with a second look.
    """

    size: int = 256
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    refine: str = "parabola"
    max_people: int = 20
    max_peaks: int = 16
    threshold: float = 0.1
    min_paf: float = 0.05
    min_hits: float = 0.8
    min_parts: int = 3
    min_score: float = 0.2
    by_fields: bool = False
    center_threshold: float = 0.05
    reach: float = 0.4
    near: float = 0.15
    trust: float = 0.5
    same: float = 0.6
    fill_reach: float = 0.25
    fill_threshold: float = 0.01
    second_size: int = 256
    second_flip: bool = False
    turns: bool = False
    agree: float = 0.25
    ranking: tuple[float, ...] = ()
    ranking_second: tuple[float, ...] = ()
    min_person: float = 0.0
    min_person_second: float = 0.0

    def __post_init__(self) -> None:
        for known in dataclasses.fields(self):
            value = getattr(self, known.name)
            if not _fits(value, known.default):
                what = f"{value!r} is not {KINDS[type(known.default)]}"
                raise ConfigError(what, place=f"detect.{known.name}")
        for name in ("max_people", "max_peaks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{getattr(self, name)} is less than 1", place=f"detect.{name}")
        if self.size < 32:
            raise ConfigError(f"{self.size} is less than 32", place="detect.size")
        if self.second_size < 32 or self.second_size % 32:
            what = f"{self.second_size} is not a multiple of 32"
            raise ConfigError(what, place="detect.second_size")
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise ConfigError(f"scales {self.scales}", place="detect.scales", hint="all above 0")
        if self.size * max(1.0, *self.scales) > MOST_SIZE:
            what = f"{self.size} at scales {self.scales} is more than {MOST_SIZE}"
            what = what if max(self.scales) > 1 else f"{self.size} is more than {MOST_SIZE}"
            raise ConfigError(what, place="detect.size")
        if self.second_size > MOST_SIZE:
            what = f"{self.second_size} is more than {MOST_SIZE}"
            raise ConfigError(what, place="detect.second_size")
        if self.refine not in ("parabola", "dark", "udp"):
            raise ConfigError(
                f"no rule {self.refine!r}", place="detect.refine", hint="parabola, dark or udp"
            )
        for field, names in (("ranking", ranking.FIRST), ("ranking_second", ranking.SECOND)):
            if weights := getattr(self, field):
                ranking.check(weights, names, place=f"detect.{field}")
        for field in ("min_person", "min_person_second"):
            if not 0 <= getattr(self, field) <= 1:
                what = f"{getattr(self, field)} is not from 0 to 1"
                raise ConfigError(what, place=f"detect.{field}")


KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a finite number",
    tuple: "a list of numbers",
    str: "a text",
}
"""What a field of `Settings` must be, by its default's type."""


def _fits(value: Any, like: Any) -> bool:
    """Whether a setting is of its default's kind; whole numbers are numbers too."""
    if isinstance(like, tuple):
        return isinstance(value, tuple) and all(isinstance(part, Real) for part in value)
    if isinstance(like, bool | str):
        return isinstance(value, type(like))
    if isinstance(value, bool):
        return False
    if isinstance(like, int):
        return isinstance(value, Integral)
    return isinstance(value, Real) and math.isfinite(value)


def merged(fields: dict[str, Any]) -> Settings:
    """Settings from some of their fields; ConfigError names an unknown field."""
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in fields:
        if name not in known:
            raise unknown_field(name, known, "detect")
    lists = {
        name: tuple(float(part) if isinstance(part, Real) else part for part in value)
        for name, value in fields.items()
        if isinstance(value, list | tuple)
    }
    return Settings(**fields | lists)
