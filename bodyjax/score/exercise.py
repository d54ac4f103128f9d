"""Does a stretch of joints show the exercise that a scorer judges? If not, it gets no verdict.

A scorer of push-ups has only seen push-ups: "standard" or "not standard" says nothing about a
person who walks by, or about joints that are guesses. The evidence is the mean direction of twelve
limbs over the stretch, which needs no size and hardly depends on who finds the joints; a logistic
model of it, fitted on the exercise and on other movements (bodyjax.evaluate.exercise), decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bodyjax.errors import ConfigError
from bodyjax.skeleton import Skeleton, common_name

ENDS = tuple(
    tuple(pair.split("-"))
    for pair in (
        "left_shoulder-left_elbow", "left_elbow-left_wrist", "left_hip-left_knee",
        "left_knee-left_ankle", "right_shoulder-right_elbow", "right_elbow-right_wrist",
        "right_hip-right_knee", "right_knee-right_ankle", "left_shoulder-right_shoulder",
        "left_hip-right_hip", "left_shoulder-left_hip", "right_shoulder-right_hip",
    )
)  # fmt: skip
"""The limbs: two joints each."""
NAMES = ("one", *(f"{'-'.join(ends)} {axis}" for ends in ENDS for axis in "xy"))
"""The evidence values, in order."""
HARDLY_SEEN, UNLIKE = "hardly seen", "unlike the exercise"
"""Why a stretch has no verdict."""
SEEN, LEAST_JOINTS = 0.3, 3
"""A person is seen if, on average over the steps, this many joints have this score; chosen, as the
weights were, on training clips of JHMDB's split 1 and on push-ups."""


def evidence(joints: np.ndarray, visible: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(N, len(NAMES)) of N stretches: 1, and the mean direction of each limb over the steps that
    show both of its joints, 0 where none does.

    joints (N, S, J, 2) pixels, visible (N, S, J), 0 for absent joints; S steps that all count. A
    limb whose joints the skeleton lacks is never shown.
    """
    columns = [np.ones(len(joints))]
    for ends in _limbs(skeleton):
        if ends is None:
            columns += [np.zeros(len(joints))] * 2
            continue
        first, second = ends
        along = np.asarray(joints[:, :, second], np.float64) - joints[:, :, first]
        length = np.linalg.norm(along, axis=-1)
        there = (visible[:, :, first] > 0) & (visible[:, :, second] > 0) & (length > 1e-6)
        unit = np.where(there[..., None], along / np.where(there, length, 1.0)[..., None], 0.0)
        mean = unit.sum(axis=1) / np.maximum(there.sum(axis=1), 1)[:, None]
        columns += [mean[:, 0], mean[:, 1]]
    return np.stack(columns, axis=1)


def reasons(
    weights: Sequence[float],
    joints: np.ndarray,
    visible: np.ndarray,
    score: np.ndarray,
    skeleton: Skeleton,
) -> tuple[str, ...]:
    """Why each of N stretches has no verdict, "" if it has one; score (N, S, J), the rest as for
    `evidence`. Without weights every stretch has one."""
    if not weights:
        return ("",) * len(joints)
    seen = (np.asarray(score) >= SEEN).sum(axis=-1).mean(axis=-1) >= LEAST_JOINTS
    like = evidence(joints, visible, skeleton) @ np.asarray(weights) > 0
    return tuple(
        "" if s and x else UNLIKE if s else HARDLY_SEEN for s, x in zip(seen, like, strict=True)
    )


def check(weights: Sequence[float]) -> None:
    """ConfigError unless there is one weight for each evidence value, or none at all."""
    if len(weights) not in (0, len(NAMES)):
        what = f"{len(weights)} weights for {len(NAMES)} evidences ({', '.join(NAMES[:3])}, ...)"
        raise ConfigError(what, place="score.exercise", hint="bodyjax.evaluate.exercise fits them")


def _limbs(skeleton: Skeleton) -> tuple[tuple[int, int] | None, ...]:
    """The two joints of each limb in a skeleton, None if it lacks one."""
    number = {common_name(joint): i for i, joint in enumerate(skeleton.joints)}
    return tuple(
        (number[first], number[second]) if {first, second} <= number.keys() else None
        for first, second in ENDS
    )
