"""A lifter from joints on Human3.6M's S9 and S11 (data/real3d): protocol 1, single frames.

Scale: every person gets the mean height of the five training subjects; no root depth is needed,
as poses meet at the pelvis. Published figures use 50 frames a second and detections tuned on the
set; these have 10 and others.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import jax
import numpy as np

from bodyjax.data.poses3d import human36m
from bodyjax.metrics import Joints3D
from bodyjax.skeleton import H36M17

BATCH = 4096


def evaluate(
    system: Any, variables: Any, path: str | PathLike[str], *, step: int = 1
) -> dict[str, Any]:
    """mpjpe and pa_mpjpe in mm from stored detections, per action and pooled over actions (their
    mean, as papers report it), beside the same from true 2D, and the floor: detected x, y with the
    true depth. step: every step-th frame."""
    rows = human36m.measured_side(path, step=step)
    height = human36m.mean_height(path)
    report: dict[str, Any] = {"n": len(rows), "height_mm": height}
    for name in ("found", "true"):
        xyz = lifted(system, variables, rows.arrays[name], rows.arrays["camera"], height)
        report[name] = _by_action(xyz, rows.arrays)
    report["floor"] = _by_action(rows.arrays["near"], rows.arrays)
    return {**report, **{key: report["found"][key] for key in ("mpjpe", "pa_mpjpe")}}


def lifted(
    system: Any, variables: Any, joints: np.ndarray, camera: np.ndarray, height: float
) -> np.ndarray:
    """xyz (N, 17, 3) mm of joints (N, 16, 3) x, y, score, in batches of one size."""
    predict, parts = jax.jit(system.predict), []
    for first in range(0, len(joints), BATCH):
        rows = np.minimum(np.arange(first, first + BATCH), len(joints) - 1)
        batch = {
            "xy": joints[rows, :, :2],
            "score": joints[rows, :, 2],
            "camera": camera[rows],
            "height": np.full(BATCH, height, np.float32),
        }
        parts.append(np.asarray(predict(variables, batch)["xyz"]))
    return np.concatenate(parts)[: len(joints)]


def _by_action(xyz: np.ndarray, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """mpjpe and pa_mpjpe: the mean over actions, and {action: mpjpe}."""
    metrics, actions = Joints3D(H36M17), np.unique(arrays["action"])
    both, update = [], jax.jit(metrics.update)
    for action in actions:
        batch = {
            "xyz": arrays["xyz"],
            "visible": np.full(xyz.shape[:2], 2),
            "mask": arrays["action"] == action,
        }
        made = metrics.compute(update(metrics.init(), {"xyz": xyz}, batch))
        both.append((made["mpjpe"], made["pa_mpjpe"]))
    mean = np.mean(both, axis=0)
    return {
        "mpjpe": float(mean[0]),
        "pa_mpjpe": float(mean[1]),
        "actions": {str(a): float(one[0]) for a, one in zip(actions, both, strict=True)},
    }
