"""The section `data` of a sequence classifier's config, checked field by field."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bodyjax import sections
from bodyjax.errors import ConfigError
from bodyjax.sections import check


@dataclass(frozen=True)
class SequenceData:
    """kind: a name of array_sets.SETS, "tables" (joint tables by class), or "exercises" (simulated,
    with train, test, seed, scatter as `exercises.simulated` takes them). path: the set's folder or
    file. steps: whole clips at this many times, or window: frames in a window (hop, rate, every as
    `source.windows` takes them; joint tables need fps, frames a second, for it). label, joints:
    which label and which stored joints, if the set has several. batch: rows per step. on_bad:
    "raise", or "skip": rows and tables that can't be used are left out, counted and named. None:
    the default of the set or the function. normalized: "1280x720" if x and y of joint tables are
    shares of pictures of this size.
    """

    kind: str = ""
    path: str = ""
    steps: int = 64
    batch: int = 64
    window: int | None = None
    hop: int | None = None
    every: int | None = None
    rate: float | None = None
    fps: float | None = None
    label: str | None = None
    joints: str | None = None
    train: int | None = None
    test: int | None = None
    seed: int | None = None
    scatter: float | None = None
    on_bad: str | None = None
    normalized: str | None = None

    def chosen(self, *names: str) -> dict[str, Any]:
        """The given fields, for functions with their own defaults."""
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value not in (None, "")}


def read(section: Mapping[str, Any]) -> SequenceData:
    """`config.data`; ConfigError for an impossible field, such as a number that cuts no clips."""
    values = dict(section)
    if isinstance(values.get("path"), os.PathLike):
        values["path"] = os.fspath(values["path"])
    data = sections.read(SequenceData, values, "data")
    sections.choice(data.on_bad or "raise", ("raise", "skip"), "data.on_bad")
    cut = ("window", "hop", "every") if data.window else ("steps",)
    for name in (*cut, "batch"):
        value = getattr(data, name)
        whole = value is None or value >= 1
        check(whole, f"data.{name}", value, "a whole number from 1 on")
    for name in ("rate", "fps"):
        value = getattr(data, name)
        check(value is None or value > 0, f"data.{name}", value, "above 0")
    if data.normalized:
        picture_size(data.normalized, "data.normalized")
    return data


def picture_size(text: str, place: str) -> tuple[float, float]:
    """Width and height of "1280x720"; ConfigError if it is none."""
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side[:9]) > 0 for side in sides):
        raise ConfigError(f"{text!r} is no size", place=place, hint="WIDTHxHEIGHT, like 1280x720")
    return float(sides[0]), float(sides[1])
