"""Who is who from frame to frame, for tables of joints that do not say it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NEAR = 0.5
"""Mean distance of the joints from one frame to a later one, in the person's larger side, up to
which it is the same person."""

Pose = np.ndarray
"""(J, D + 1) float64: the place and the score of each joint, NaN where it is absent."""


def linked(poses: Sequence[tuple[int, int | None, Pose]]) -> list[tuple[int, int, Pose]]:
    """The same with a number for everybody: in each frame the person of an earlier one whose joints
    are nearest, within NEAR of that person's larger side; otherwise a new one."""
    keys = {(at, who) for at, who, _ in poses}  # AlphaPose without tracking calls everybody 0
    if len(keys) == len(poses) and all(who is not None for _, who, _ in poses):
        return [(at, int(who or 0), pose) for at, who, pose in poses]
    last: list[Pose] = []
    out = []
    for frame in sorted({at for at, _, _ in poses}):
        here = [pose for at, _, pose in poses if at == frame]
        pairs = sorted(
            (apart, who, k)
            for k, pose in enumerate(here)
            for who, before in enumerate(last)
            if (apart := _apart(before, pose)) <= NEAR
        )
        taken: dict[int, int] = {}
        for _, who, k in pairs:
            if k not in taken and who not in taken.values():
                taken[k] = who
        for k, pose in enumerate(here):
            who = taken.get(k, len(last))
            if who == len(last):
                last.append(pose)
            last[who] = pose
            out.append((frame, who, pose))
    return out


def _apart(before: Pose, pose: Pose) -> float:
    """Mean distance of the joints that both have, in the larger side of the first; inf without
    any."""
    both = present(before) & present(pose)
    if not both.any():
        return float("inf")
    side = float(np.ptp(before[present(before), :-1], axis=0).max())
    return float(np.linalg.norm((before - pose)[both, :-1], axis=-1).mean()) / max(side, 1e-9)


def present(pose: Pose) -> np.ndarray:
    """Which joints are there: numbers, a score above 0, and not 0, 0, 0, which means missing."""
    whole = np.isfinite(pose).all(axis=-1)
    return whole & (np.nan_to_num(pose[..., -1]) > 0) & (np.nan_to_num(pose[..., :-1]) != 0).any(-1)
