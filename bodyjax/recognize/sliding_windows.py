"""Sliding windows over a long video, and the operations for the commands in them.

A command counts when consecutive windows show it with enough probability (US 2020/0042776
[0058]: a car sees an officer's command and acts).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from bodyjax.data.video.files import Video
from bodyjax.errors import ConfigError


class Operation(NamedTuple):
    """What to do on a command, its least probability, and for how many windows in a row it must
    hold."""

    operation: str
    probability: float
    hold: int


def read_operations(
    table: Mapping[str, Any], labels: tuple[str, ...], place: str | PathLike[str]
) -> dict[str, Operation]:
    """The table of a config, {movement: {operation, probability, hold}}; ConfigError names the
    wrong row, and `place`."""
    found = {}
    for movement, row in table.items():
        where: dict[str, Any] = {"file": place, "place": f"operations.{movement}"}
        try:
            entry = Operation(str(row["operation"]), float(row["probability"]), int(row["hold"]))
        except (KeyError, TypeError, ValueError) as error:
            hint = "give operation, probability and hold"
            raise ConfigError(f"not an operation ({error!r})", **where, hint=hint) from None
        if movement not in labels:
            raise ConfigError("no such movement", **where, hint=f"known: {', '.join(labels)}")
        if not 0 <= entry.probability <= 1 or entry.hold < 1:
            raise ConfigError("a probability outside 0 to 1, or a hold below 1", **where)
        found[movement] = entry
    return found


class Held:
    """Turns the movements of consecutive windows into operations."""

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._operations, self._movement, self._count = operations, "", 0

    def add(self, movement: str | None, probability: float) -> str | None:
        """The operation that holds after one more window; None if there is none."""
        entry = self._operations.get(movement or "")
        if movement is None or entry is None or probability < entry.probability:
            self._movement, self._count = "", 0
            return None
        self._count = self._count + 1 if movement == self._movement else 1
        self._movement = movement
        return entry.operation if self._count >= entry.hold else None


def operation_events(
    windows: Sequence[Mapping[str, Any]], operations: Mapping[str, Operation]
) -> list[dict[str, Any]]:
    """Stretches of windows in which an operation holds: operation, movement, start and stop in
    seconds, from the first window of the row that led to it.

    windows: start, stop, movement, operation (as `Held` gives it), in order of time.
    """
    events: list[dict[str, Any]] = []
    before = None
    for i, window in enumerate(windows):
        if window["operation"] is not None:
            if before is not None and before == (window["movement"], window["operation"]):
                events[-1]["stop"] = window["stop"]
            else:
                first = windows[i + 1 - operations[window["movement"]].hold]
                events.append(
                    {
                        "operation": window["operation"],
                        "movement": window["movement"],
                        "start": first["start"],
                        "stop": window["stop"],
                    }
                )
        held = window["operation"] is not None
        before = (window["movement"], window["operation"]) if held else None
    return events


class Span(NamedTuple):
    """A window: seconds from `start` to `stop`, frames from `first` up to `last` (excluded)."""

    start: float
    stop: float
    first: int
    last: int


def window_spans(video: Video, window: float, hop: float) -> list[Span]:
    """Windows of `window` seconds, one every `hop` seconds; the last one ends with the video, and a
    video shorter than a window is one. They are cut by time, so variable frame rates work too: a
    window in which no frame begins holds the frame that is still shown. ConfigError for lengths <=
    0.
    """
    if not (window > 0 and hop > 0 and math.isfinite(window) and math.isfinite(hop)):
        raise ConfigError(f"windows of {window:g} s every {hop:g} s", hint="give seconds above 0")
    starts = [0.0]
    while starts[-1] + window < video.duration - 1e-6:
        starts.append(min(len(starts) * hop, video.duration - window))
    spans, times = [], video.times
    for start in starts:
        stop = min(start + window, video.duration)
        first, last = (int(i) for i in np.searchsorted(times, [start - 1e-6, stop - 1e-6]))
        last = max(last, 1)
        spans.append(Span(start, stop, min(first, last - 1), last))
    return spans
