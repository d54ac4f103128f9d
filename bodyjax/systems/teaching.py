"""A teacher of the detector (system B: distillation): how much it counts, and what it says.

Source: CN application of Alibaba DAMO, "Motion key point video analysis model training method",
2022: the first loss is the student against labels, the second against a trained teacher.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from bodyjax import codec, skeleton
from bodyjax.contract import Variables
from bodyjax.models.pose import CenterPose, Maps, MultiStagePose
from bodyjax.skeleton import Skeleton
from bodyjax.systems import hints
from bodyjax.systems.moved_maps import MapForm

Array = jax.Array


@dataclass(frozen=True)
class Teaching:
    """How a teacher takes part. `network`: the teacher, of skeleton `bones`; None: its stored maps
    of the form `maps`, or stored joints.

    alpha is `start`, or goes linearly from `start` to `end` in the first `steps` steps. `pairing`:
    see losses.distillation. `hints`: the weight of the teacher's features (systems.hints);
    `agreement`: that of the student's own maps of neighbouring frames (systems.agreement).
    `confident`: alpha of a picture is multiplied by how sure the teacher is of it (`sure`).
    """

    network: MultiStagePose | CenterPose | None
    bones: Skeleton
    start: float
    end: float
    steps: int
    pairing: str = "last"
    maps: MapForm | None = None
    hints: float = 0.0
    agreement: float = 0.0
    confident: bool = False

    def alpha(self, step: Array) -> Array:
        if not self.steps:
            return jnp.float32(self.start)
        return self.start + (self.end - self.start) * jnp.clip(step / self.steps, 0.0, 1.0)

    def sure(self, heatmaps: Array) -> Array:
        """How much each picture (B,) counts, from the teacher's heat maps (B, h, w, J + 1): 1, or
        if `confident` the mean over joints of the highest value, 0 to 1."""
        if not self.confident:
            return jnp.ones(heatmaps.shape[0])
        return jnp.clip(heatmaps[..., :-1].max(axis=(1, 2)), 0.0, 1.0).mean(axis=-1)


def around(
    xy: Array, visible: Array, shape: tuple[int, int], stride: int, margin: float = 0.25
) -> Array:
    """Cells (B, *shape, 1) within the box of the visible joints (B, J), enlarged by `margin` x its
    longer side; none if no joint is visible."""
    there = (visible > 0)[..., None]
    low = jnp.where(there, xy, jnp.inf).min(1)
    high = jnp.where(there, xy, -jnp.inf).max(1)
    reach = margin * (high - low).max(-1, keepdims=True)
    low, high = low - reach, high + reach

    def between(axis: int, cells: int) -> Array:
        places = codec.cells_to_pixels(jnp.arange(cells), stride)
        return (places >= low[:, axis, None]) & (places <= high[:, axis, None])

    rows, columns = between(1, shape[0]), between(0, shape[1])
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def common_maps(
    student: Maps, bones: Skeleton, teacher: Maps, others: Skeleton
) -> list[tuple[Array, Array]]:
    """The channels that both skeletons have, (S, B, h, w, C) of each side: heat maps, fields.

    Joints are matched by name, limbs by their joints; a reversed limb changes sign. The background
    is included if the student has no joint beyond the teacher's.
    """
    place = {skeleton.common_name(joint): i for i, joint in enumerate(others.joints)}
    names = [skeleton.common_name(joint) for joint in bones.joints]
    joints = [(i, place[name]) for i, name in enumerate(names) if name in place]
    if len(joints) == len(names):
        joints.append((len(bones.joints), len(others.joints)))
    limbs = []
    for i, (a, b) in enumerate(bones.limbs):
        ends = place.get(names[a], -1), place.get(names[b], -1)
        for pair, sign in ((ends, 1.0), (ends[::-1], -1.0)):
            if pair in others.limbs:
                k = others.limbs.index(pair)
                limbs += [(2 * i, 2 * k, sign), (2 * i + 1, 2 * k + 1, sign)]
    mine, theirs = (jnp.array(column) for column in zip(*joints, strict=True))
    pairs = [(student.heatmaps[..., mine], teacher.heatmaps[..., theirs])]
    if limbs:
        mine, theirs, signs = (jnp.array(column) for column in zip(*limbs, strict=True))
        pairs.append((student.pafs[..., mine], teacher.pafs[..., theirs] * signs))
    return pairs


def of_network(variables: Variables) -> Variables:
    """Parameters and statistics of a network, without what only its training with a teacher needs:
    the counter, and the convolutions of hints."""
    statistics = {k: v for k, v in variables["batch_stats"].items() if k != "teaching"}
    params = {k: v for k, v in variables["params"].items() if k != hints.PART}
    return {"params": params, "batch_stats": statistics}
