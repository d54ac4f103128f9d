"""Movement parameters over time: angles, symmetry, trunk, knees, speeds, and the peaks of
repetitions; as CSV and as a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import signal

from bodyjax import draw, files, geometry, skeleton
from bodyjax.data.rows import padded
from bodyjax.lift.motions import Motion
from bodyjax.skeleton import COCO17, H36M17

PAIRS = tuple(
    name.removeprefix("left_").removesuffix("_flexion")
    for name in geometry.FLEXIONS
    if name.startswith("left_")
)
FAST = tuple(f"{side}_{joint}" for joint in ("wrist", "ankle") for side in ("left", "right"))

UNITS: dict[str, str] = {
    **dict.fromkeys(geometry.FLEXIONS, "degrees"),
    **{f"{name}_flexion": "degrees" for name in PAIRS},
    **{f"{name}_difference": "degrees" for name in PAIRS},
    "trunk_lean": "degrees",
    "hip_offset": "ratio",
    "knee_gap": "ratio",
    **{f"{joint}_speed": "mm/s" for joint in FAST},
    "pelvis_speed": "mm/s",
}
"""Parameter -> its unit. X_flexion is the mean of left and right, X_difference what is between
them; hip_offset and knee_gap: see geometry. Speeds of wrists and ankles are from the pelvis."""

PEAKS = {f"{name}_peak": name for name, unit in UNITS.items() if unit == "degrees"}
"""X_peak is the largest X of the repetition of X that is going on, unknown outside one."""

PARAMETERS = UNITS | dict.fromkeys(PEAKS, "degrees")

PLOTTED = tuple(f"{pair}_flexion" for pair in PAIRS)
"""What a plot shows unless told otherwise."""

LEAST_SWING = 20.0
"""A repetition of an angle rises and falls by at least this many degrees."""
EDGE = 0.9
"""It lasts from and to where this share of its height is left below the top."""
SHORTEST = 0.4
"""Seconds from one top to the next, at least."""
SMOOTHING = 0.25
"""Seconds of the smoothing polynomial."""


def measure(motion: Motion) -> dict[str, np.ndarray]:
    """Every parameter of PARAMETERS over the frames of a motion, (F,), NaN where it is unknown.

    That includes frames in which a joint it needs is not seen: the lifter's guess says nothing."""
    count = len(motion.times)
    seen = skeleton.convert_mask(motion.score > 0, COCO17, H36M17)
    shown = np.where(seen[..., None], motion.xyz, np.nan)
    # The last frame again, at the same time: it changes no speed.
    rows = padded(shown, motion.root, motion.times - motion.times[0])
    each = jax.device_get(_over_frames(*rows))
    values = {name: each[name][:count] for name in UNITS}
    return values | {peak: peaks(motion.times, values[name]) for peak, name in PEAKS.items()}


@jax.jit
def _over_frames(xyz: jax.Array, root: jax.Array, times: jax.Array) -> dict[str, jax.Array]:
    """The parameters of UNITS of (F, 17, 3), (F, 3), (F,)."""
    angles = geometry.flexions(xyz, H36M17)
    values = {name: angles[:, i] for i, name in enumerate(geometry.FLEXIONS)}
    apart = geometry.asymmetry(angles)
    for i, name in enumerate(PAIRS):
        values[f"{name}_flexion"] = angles[:, 2 * i : 2 * i + 2].mean(-1)
        values[f"{name}_difference"] = apart[:, i]
    values["trunk_lean"] = geometry.trunk_lean(xyz, H36M17)
    values["hip_offset"] = geometry.hip_offset(xyz, H36M17)
    values["knee_gap"] = geometry.knee_gap(xyz, H36M17)
    chosen = jnp.array([H36M17.index(joint) for joint in FAST])
    fast = geometry.speeds(xyz[:, chosen], times)
    values |= {f"{joint}_speed": fast[:, i] for i, joint in enumerate(FAST)}
    values["pelvis_speed"] = geometry.speeds(root[:, None], times)[:, 0]
    return values


def peaks(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(F,) of an angle: in each repetition its largest value, NaN between repetitions.

    A repetition is a hill of the curve, smoothed over SMOOTHING, that rises and falls by
    LEAST_SWING or more. times (F,) seconds, rising; values (F,) degrees, NaN where unknown.
    """
    out = np.full(len(values), np.nan)
    known = np.isfinite(values)
    if known.sum() < 5:
        return out
    even = np.linspace(times[0], times[-1], len(times))
    curve = np.interp(even, times[known], values[known])
    rate = (len(even) - 1) / float(even[-1] - even[0])
    window = max(5, 2 * round(SMOOTHING * rate / 2) + 1)
    if window < len(curve):
        curve = signal.savgol_filter(curve, window, 2)
    apart = max(1.0, SHORTEST * rate)
    tops, _ = signal.find_peaks(curve, prominence=LEAST_SWING, distance=apart)
    _, _, left, right = signal.peak_widths(curve, tops, rel_height=EDGE)
    at = np.arange(len(even))
    for top, start, stop in zip(tops, left, right, strict=True):
        first, last = np.interp([start, stop], at, even)
        out[(times >= first) & (times <= last) & known] = curve[top]
    return out


def ranges(values: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Range of motion of each angle, degrees; None where it is never known."""
    names = [name for name, unit in UNITS.items() if unit == "degrees"]
    found = np.asarray(geometry.range_of_motion(np.stack([values[name] for name in names], 1)))
    pairs = zip(names, found.tolist(), strict=True)
    return {name: round(value, 2) if np.isfinite(value) else None for name, value in pairs}


def write_csv(
    file: str | PathLike[str], motions: Sequence[Motion], values: Sequence[Mapping[str, np.ndarray]]
) -> None:
    """A row for each frame of each person: person (from 1 on), frame, time in seconds, then the
    parameters, empty where unknown. DataError if it can't be written."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["person", "frame", "time", *PARAMETERS])
    for motion, each in zip(motions, values, strict=True):
        for i, (frame, time) in enumerate(zip(motion.frames, motion.times, strict=True)):
            row: list[Any] = [motion.identity + 1, int(frame), f"{time:.4f}"]
            numbers = [each[name][i] for name in PARAMETERS]
            writer.writerow(row + [f"{v:.4g}" if np.isfinite(v) else "" for v in numbers])
    files.write_text(file, text.getvalue())


def plot(
    file: str | PathLike[str],
    motion: Motion,
    values: Mapping[str, np.ndarray],
    names: Sequence[str] = PLOTTED,
) -> None:
    """A picture of parameters of one person over time."""
    series = {name: (motion.times, values[name]) for name in names}
    units = sorted({PARAMETERS[name] for name in names})
    draw.curves(series, file, x_label="seconds", y_label=", ".join(units))
