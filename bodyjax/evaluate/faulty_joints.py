"""Do the joints' shares name the joints that made a movement non-standard? Simulated faults show
it.

Every simulated fault moves known joints (bodyjax.simulate.exercises.FAULTS). If the share of
`systems.sequence.joint_share` is meaningful, it falls on them more often than on others.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

from bodyjax.data.sequences.exercises import fault_of
from bodyjax.data.sequences.source import Sequences
from bodyjax.metrics.intervals import of_share
from bodyjax.simulate.exercises import FAULTS
from bodyjax.systems.sequence import SequenceSystem, joint_share

Variables = Any


def blame(
    system: SequenceSystem, variables: Variables, found: Sequences, rows: np.ndarray
) -> dict[str, Any]:
    """How often the shares of simulated exercises with a fault lie on its guilty joints.

    found: data.sequences.exercises.simulated(label="standard"), rows: which of them. Returns n, the
    clips with a fault; first: of how many the joint with the largest share is guilty, with
    first_interval; share: the mean share that lies on guilty joints; chance: the mean of guilty
    joints / joints, which both would be for shares without meaning; per_fault {"exercise fault":
    first}.
    """
    rows = rows[found.labels[rows] == 0]
    faults = [fault_of(found.names[row]) for row in rows]
    names = system.skeleton.joints
    guilty = np.array([np.isin(names, FAULTS[name][fault]) for name, fault in faults])
    batch = {name: array[rows] for name, array in found.arrays().items()}
    share = np.asarray(jax.jit(partial(joint_share, system), static_argnums=2)(variables, batch, 0))
    first = guilty[np.arange(len(rows)), share.argmax(axis=1)]
    kinds = np.array([f"{name} {fault}" for name, fault in faults])
    return {
        "n": len(rows),
        "first": float(first.mean()),
        "first_interval": of_share(int(first.sum()), len(rows), over="clips"),
        "share": float((share * guilty).sum(axis=1).mean()),
        "chance": float(guilty.mean()),
        "per_fault": {kind: float(first[kinds == kind].mean()) for kind in np.unique(kinds)},
    }
