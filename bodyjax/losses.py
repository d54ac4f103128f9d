"""Every loss of bodyjax: float32 scalars from arrays of any floating type.

Maps are (B, H, W, C), stages a sequence of them or one array (S, B, H, W, C). A mask of 0 removes a
cell, a joint or a row: its content, NaN included, changes neither the value nor a gradient. A batch
without rows costs 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

Stages = Sequence[Array] | Array


def _difference(prediction: ArrayLike, target: ArrayLike, weight: Array) -> Array:
    """prediction - target in float32, exactly 0 (also in its gradient) where the weight is 0."""
    counted = weight != 0
    prediction = jnp.where(counted, jnp.asarray(prediction, jnp.float32), 0.0)
    return prediction - jnp.where(counted, jnp.asarray(target, jnp.float32), 0.0)


def masked_l2(prediction: ArrayLike, target: ArrayLike, mask: ArrayLike) -> Array:
    """Batch mean of the sum over cells and channels of W * (prediction - target)^2.

    prediction, target: (B, H, W, C); mask: W >= 0, broadcastable to them, as (B, H, W, 1).
    Source: Cao et al., "Realtime multi-person 2D pose estimation using part affinity fields",
    CVPR 2017, eq. 5.
    """
    weight = jnp.asarray(mask, jnp.float32)
    squares = weight * jnp.square(_difference(prediction, target, weight))
    return jnp.sum(squares) / max(squares.shape[0], 1)


def hard_joints(
    prediction: ArrayLike,
    target: ArrayLike,
    mask: ArrayLike,
    k: int,
    joint_mask: ArrayLike | None = None,
) -> Array:
    """Batch mean of the sum, in each picture, of the k largest per-joint losses.

    The loss of a joint is the sum over cells of W * (prediction - target)^2. prediction, target:
    (B, H, W, J), joints only (the background channel keeps `masked_l2`); mask: broadcastable to
    them; joint_mask: (J,) or (B, J), joints that are False never count among the k. If fewer than k
    joints are left, these are summed. Source: CN 114581953 B, loss of stages 5 and 6.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    weight = jnp.asarray(mask, jnp.float32)
    joints = jnp.shape(prediction)[-1]
    batch = jnp.shape(prediction)[0]
    counted = jnp.ones((batch, joints), bool)
    if joint_mask is not None:
        counted = jnp.broadcast_to(jnp.asarray(joint_mask, bool), (batch, joints))
        weight = weight * counted[:, None, None, :]
    losses = jnp.sum(weight * jnp.square(_difference(prediction, target, weight)), axis=(1, 2))
    worst, _ = jax.lax.top_k(jnp.where(counted, losses, -1.0), min(k, joints))
    return jnp.sum(jnp.maximum(worst, 0.0)) / max(batch, 1)


def stage_losses(stages: Stages, target: ArrayLike, mask: ArrayLike) -> Array:
    """`masked_l2` of each stage against one target: (S,). Their sum is the loss of a branch."""
    return jnp.stack([masked_l2(stage, target, mask) for stage in stages])


def heatmap_stage_losses(
    stages: Stages,
    target: ArrayLike,
    mask: ArrayLike,
    *,
    joints: int,
    k: int,
    hard_stages: int,
    joint_mask: ArrayLike | None = None,
) -> Array:
    """Losses of the heat-map branch, (S,): `hard_joints` in the last `hard_stages` stages.

    The first `joints` channels are joints, the rest (background) keeps `masked_l2` in every stage.
    joint_mask: (J,) or (B, J), applied in all stages. Source: CN 114581953 B (k = 8, two stages).
    """
    target = jnp.asarray(target)
    weight = jnp.asarray(mask, jnp.float32)
    if weight.shape[-1] != 1 and weight.shape[-1] != target.shape[-1]:
        raise ValueError(f"mask has {weight.shape[-1]} channels, the maps {target.shape[-1]}")
    shared = weight.shape[-1] == 1
    of_joints = weight if shared else weight[..., :joints]
    of_rest = weight if shared else weight[..., joints:]
    if joint_mask is not None:
        keep = jnp.asarray(joint_mask, bool)
        keep = keep[None, None, None, :] if keep.ndim == 1 else keep[:, None, None, :]
        of_joints = of_joints * keep
    losses = []
    for number, stage in enumerate(stages):
        parts = stage[..., :joints], target[..., :joints], of_joints
        if number >= len(stages) - hard_stages:
            loss = hard_joints(*parts, k, joint_mask)
        else:
            loss = masked_l2(*parts)
        if target.shape[-1] > joints:
            loss = loss + masked_l2(stage[..., joints:], target[..., joints:], of_rest)
        losses.append(loss)
    return jnp.stack(losses)


def focal(
    probability: ArrayLike,
    target: ArrayLike,
    mask: ArrayLike,
    *,
    alpha: float = 2.0,
    beta: float = 4.0,
) -> Array:
    """Penalty-reduced focal loss of heat maps of probabilities, divided by the number of peaks.

    probability: (B, H, W, C) in 0..1; target: the same shape, 1 in exactly the cells that are peaks
    and a Gaussian around them; mask: W >= 0, broadcastable. A peak costs (1 - p)^alpha -log p, any
    other cell (1 - target)^beta p^alpha -log(1 - p). Without a peak the divisor is 1.
    Source: Zhou et al., "Objects as Points", 2019, eq. 1 (after Law and Deng, CornerNet, 2018).
    """
    weight = jnp.broadcast_to(jnp.asarray(mask, jnp.float32), jnp.shape(probability))
    counted = weight != 0
    tiny = 1e-6
    p = jnp.clip(jnp.where(counted, jnp.asarray(probability, jnp.float32), 0.5), tiny, 1 - tiny)
    aim = jnp.where(counted, jnp.asarray(target, jnp.float32), 0.0)
    peak = counted & (aim >= 1)
    of_peak = -jnp.power(1 - p, alpha) * jnp.log(p)
    of_rest = -jnp.power(1 - aim, beta) * jnp.power(p, alpha) * jnp.log1p(-p)
    total = jnp.sum(weight * jnp.where(peak, of_peak, of_rest))
    return total / jnp.maximum(jnp.sum(peak), 1)


def soft_focal(
    probability: ArrayLike, target: ArrayLike, weight: ArrayLike = 1.0, *, beta: float = 2.0
) -> Array:
    """Focal loss against a teacher's probabilities, divided by the sum of their peaks.

    probability, target: one shape, values in 0..1; weight, broadcastable to it. Each cell costs
    |target - p|^beta times the cross-entropy of p under the target, less its least value: 0 where
    both agree. The divisor, at least 1, is the sum of target^2, a few cells per peak. No gradient
    reaches the target. Source: Li et al., "Generalized focal loss", NeurIPS 2020, eq. 2 (quality
    focal loss).
    """
    tiny = 1e-6
    p = jnp.clip(jnp.asarray(probability, jnp.float32), tiny, 1 - tiny)
    aim = jax.lax.stop_gradient(jnp.clip(jnp.asarray(target, jnp.float32), tiny, 1 - tiny))
    cost = aim * (jnp.log(aim) - jnp.log(p)) + (1 - aim) * (jnp.log1p(-aim) - jnp.log1p(-p))
    total = jnp.sum(jnp.asarray(weight) * jnp.power(jnp.abs(aim - p), beta) * cost)
    return total / jnp.maximum(jnp.sum(jnp.square(aim)), 1.0)


def masked_l1(prediction: ArrayLike, target: ArrayLike, mask: ArrayLike) -> Array:
    """Mean of |prediction - target| over what the mask counts; 0 if it counts nothing.

    All of one shape, mask W >= 0 broadcastable to it. CenterNet's loss of offsets and sizes (Zhou
    et al., "Objects as Points", 2019, eq. 2 and 3).
    """
    weight = jnp.broadcast_to(jnp.asarray(mask, jnp.float32), jnp.shape(prediction))
    total = jnp.sum(weight * jnp.abs(_difference(prediction, target, weight)))
    return total / jnp.maximum(jnp.sum(weight), 1.0)


class Distillation(NamedTuple):
    """total = (1 - alpha) * label + alpha * teacher."""

    total: Array
    label: Array
    teacher: Array


def distillation(
    student: Stages,
    teacher: Stages,
    target: ArrayLike,
    mask: ArrayLike,
    alpha: ArrayLike,
    *,
    pairing: str = "last",
    teacher_mask: ArrayLike | None = None,
) -> Distillation:
    """Student stages against the labels and against a trained teacher.

    label = sum over stages of masked_l2(stage, target, mask); teacher = the same against the
    teacher's maps with `teacher_mask` (None: 1): cells without labels learn from the teacher. If
    the label's mask weights cells by the target, the teacher's should weight them by its own maps;
    otherwise the two terms have different scales. student: S maps (B, H, W, C); teacher: its
    stages, or its last output alone (B, h, w, C). pairing "last": the teacher's last output is the
    target of every stage; "same": stage i learns from stage i. Maps of another stride are resized
    (cell centres as in codec). No gradient reaches the teacher. alpha in [0, 1], a number or a
    traced scalar (a schedule). Source: Zhang, Zhu and Ye, "Fast human pose estimation", CVPR 2019.
    """
    if pairing not in ("last", "same"):
        raise ValueError(f'pairing is "last" or "same", not {pairing!r}')
    alone = not isinstance(teacher, Sequence) and jnp.ndim(teacher) == 4
    teachers = [jnp.asarray(teacher)] if alone else [jnp.asarray(stage) for stage in teacher]
    if pairing == "last":
        teachers = [teachers[-1]] * len(student)
    if len(teachers) != len(student):
        raise ValueError(f"{len(student)} student stages but {len(teachers)} of the teacher")
    label = jnp.sum(stage_losses(student, target, mask))
    terms = []
    for stage, aim in zip(student, teachers, strict=True):
        aim = jax.lax.stop_gradient(aim.astype(jnp.float32))
        if aim.shape != stage.shape:
            aim = jax.image.resize(aim, stage.shape[:3] + aim.shape[3:], "linear")
        weight = jnp.ones((1, 1, 1, 1)) if teacher_mask is None else jnp.asarray(teacher_mask)
        if weight.shape[1:3] not in ((1, 1), stage.shape[1:3]):
            weight = jax.image.resize(
                weight, (*weight.shape[:1], *stage.shape[1:3], weight.shape[-1]), "linear"
            )
        terms.append(masked_l2(stage, aim, weight))
    second = jnp.sum(jnp.stack(terms))
    alpha = jnp.asarray(alpha, jnp.float32)
    return Distillation((1 - alpha) * label + alpha * second, label, second)


def depth_l2(prediction: ArrayLike, target: ArrayLike, mask: ArrayLike) -> Array:
    """Batch mean of the sum over joints (or cells) of mask * (prediction - target)^2.

    prediction, target: root-relative depth, (B, J) at the joints or (B, H, W, J) as maps; mask:
    weights >= 0, broadcastable to them, 0 for pictures and joints without 3D label.
    Source: CN 111260774 B, formula (1), pictures with 3D labels.
    """
    return masked_l2(prediction, target, mask)


def bone_ratio(
    joints: ArrayLike,
    bones: Sequence[tuple[int, int]],
    groups: Mapping[str, Sequence[int]] | Sequence[Sequence[int]],
    mean_lengths: ArrayLike,
    visible: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    *,
    over: str = "person",
) -> Array:
    """How unequal the bones of a group are, in units of their mean lengths: batch mean of
    sum_i 1/|R_i| sum_{b in R_i} (l_b / mean_b - r_i)^2 with r_i the mean of l_b / mean_b.

    joints: (B, J, 3), x, y and depth in one unit; bones: pairs of joints; groups R_i: indices of
    bones; mean_lengths: (L,) > 0; visible: (B, J), a bone with an absent joint is left out of its
    group; weight: (B,), 0 for pictures that have 3D labels. over "person": r_i is each person's, as
    in the formula; "batch": r_i is the mean over all counted bones of the batch. Source: CN
    111260774 B, formula (2); Zhou et al., "Towards 3D human pose estimation in the wild", ICCV
    2017.
    """
    if over not in ("person", "batch"):
        raise ValueError(f'over is "person" or "batch", not {over!r}')
    points = jnp.asarray(joints, jnp.float32)
    batch = points.shape[0]
    weights = jnp.ones(batch) if weight is None else jnp.asarray(weight, jnp.float32)
    seen = jnp.ones(points.shape[:2], bool) if visible is None else jnp.asarray(visible) > 0
    seen = seen & (weights != 0)[:, None]
    points = jnp.where(seen[..., None], points, 0.0)
    first, second = np.asarray(bones).T
    squares = jnp.sum(jnp.square(points[:, first] - points[:, second]), axis=-1)
    # The length of a bone of length 0 has no gradient: 0 is taken.
    some = squares > 0
    lengths = jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1.0)), 0.0)
    ratios = lengths / jnp.asarray(mean_lengths, jnp.float32)

    lists = list(groups.values() if isinstance(groups, Mapping) else groups)
    member = np.array([np.isin(np.arange(len(bones)), group) for group in lists])
    there = member & (seen[:, first] & seen[:, second])[:, None, :]  # (B, groups, L)
    ratio = jnp.where(there, ratios[:, None, :], 0.0)
    axes = -1 if over == "person" else (0, -1)
    count = jnp.maximum(jnp.sum(there, axis=axes, keepdims=True), 1)
    mean = jnp.sum(ratio, axis=axes, keepdims=True) / count
    spread = jnp.sum(jnp.where(there, jnp.square(ratio - mean), 0.0), axis=-1)
    each = spread / jnp.maximum(jnp.sum(there, axis=-1), 1)
    return jnp.sum(weights * jnp.sum(each, axis=-1)) / max(batch, 1)


def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    class_weights: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    mask: ArrayLike | None = None,
) -> Array:
    """Softmax cross-entropy, the mean over counted rows weighted by the class weight of the label.

    logits: (..., C); labels: (...,) int in [0, C); class_weights: (C,); mask: (...,), rows of 0 are
    left out whatever their label; without any row left the loss is 0. Smoothing gives every class
    label_smoothing / C of the target, its term weighted by that class's weight.
    """
    scores = jnp.asarray(logits, jnp.float32)
    classes = scores.shape[-1]
    rows = jnp.ones(scores.shape[:-1]) if mask is None else jnp.asarray(mask, jnp.float32)
    counted = rows != 0
    scores = jnp.where(counted[..., None], scores, 0.0)
    labels = jnp.where(counted, jnp.asarray(labels), 0).astype(jnp.int32)
    of_class = jnp.ones(classes) if class_weights is None else jnp.asarray(class_weights)
    of_class = of_class.astype(jnp.float32)
    onehot = jax.nn.one_hot(labels, classes)
    target = (1 - label_smoothing) * onehot + label_smoothing / classes
    losses = -jnp.sum(of_class * target * jax.nn.log_softmax(scores), axis=-1)
    total = row_weights(labels, classes, class_weights, mask).sum()
    return jnp.sum(rows * losses) / jnp.where(total > 0, total, 1.0)


def row_weights(
    labels: ArrayLike,
    classes: int,
    class_weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> Array:
    """The weight of each row in the mean of `cross_entropy`: (...,) float32. Their sum is the
    weight of the loss when means of several batches are averaged."""
    rows = jnp.ones(jnp.shape(labels)) if mask is None else jnp.asarray(mask, jnp.float32)
    of_class = jnp.ones(classes) if class_weights is None else jnp.asarray(class_weights)
    onehot = jax.nn.one_hot(jnp.where(rows != 0, jnp.asarray(labels), 0).astype(jnp.int32), classes)
    return rows * jnp.sum(of_class.astype(jnp.float32) * onehot, axis=-1)


def sigmoid_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    class_weights: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    mask: ArrayLike | None = None,
) -> Array:
    """Several movements at once: the sum over classes of binary cross-entropies, mean over rows.

    logits, targets: (..., C), targets in [0, 1]; class_weights: (C,); mask: (...,) for rows, or
    (..., C) where single labels are unknown; without any row left the loss is 0. Smoothing moves
    each target to (1 - label_smoothing) * target + label_smoothing / 2.
    """
    scores = jnp.asarray(logits, jnp.float32)
    rows = jnp.ones(scores.shape[:-1]) if mask is None else jnp.asarray(mask, jnp.float32)
    cells = jnp.broadcast_to(rows if rows.ndim == scores.ndim else rows[..., None], scores.shape)
    counted = cells != 0
    scores = jnp.where(counted, scores, 0.0)
    target = jnp.where(counted, jnp.asarray(targets, jnp.float32), 0.0)
    target = (1 - label_smoothing) * target + label_smoothing / 2
    losses = jax.nn.softplus(scores) - scores * target
    if class_weights is not None:
        losses = losses * jnp.asarray(class_weights, jnp.float32)
    total = jnp.sum(jnp.max(cells, axis=-1))
    return jnp.sum(cells * losses) / jnp.where(total > 0, total, 1.0)
