"""Losses against stored outputs of public implementations, and their rules one by one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import losses
from tests.shared import GOLDENS

RTOL = 1e-5
CASES = (0, 1)


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDENS / "losses.npz", allow_pickle=False)


def last(array):
    """(..., C, H, W) -> (..., H, W, C)."""
    return np.moveaxis(array, -3, -1)


def same(ours, theirs, factor, *, gradient=False):
    theirs = np.asarray(theirs, np.float64) * factor
    atol = 1e-6 * factor if gradient else 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-4 if gradient else RTOL, atol=atol)


@pytest.mark.parametrize("c", CASES)
@pytest.mark.parametrize("branch", ["heatmaps", "pafs"])
def test_masked_l2_equals_golden(golden, c, branch):
    predicted, target = (last(golden[f"c{c}_lw_{part}_{branch}"]) for part in ("pred", "target"))
    mask = last(golden[f"c{c}_lw_mask"]) ** 2
    values = jax.jit(losses.stage_losses)(predicted, target, mask)
    same(values, golden[f"c{c}_lw_stage_losses"][:, 0 if branch == "heatmaps" else 1], 2)
    gradient = jax.grad(lambda x: jnp.sum(losses.stage_losses(x, target, mask)))(predicted)
    same(gradient, last(golden[f"c{c}_lw_grad_{branch}"]), 2, gradient=True)


def joint_weight(golden, c, kind, power):
    weight = {
        "w": golden[f"c{c}_target_weight"],
        "wf": golden[f"c{c}_target_weight_fractional"],
        "now": np.ones_like(golden[f"c{c}_target_weight"]),
    }[kind]
    return (weight[..., 0] ** power)[:, None, None, :]


@pytest.mark.parametrize("c", CASES)
@pytest.mark.parametrize("kind", ["w", "wf", "now"])
@pytest.mark.parametrize("source", ["hrnet", "mmpose"])
def test_joint_losses_equal_golden(golden, c, kind, source):
    predicted, target = last(golden[f"c{c}_pred"]), last(golden[f"c{c}_target"])
    cells, joints = target.shape[1] * target.shape[2], target.shape[3]
    k = int(golden[f"c{c}_topk"])
    half = 2 if source == "hrnet" else 1

    value, gradient = jax.value_and_grad(losses.hard_joints)(
        predicted, target, joint_weight(golden, c, kind, 2), k
    )
    factor = half * k * cells
    same(value, golden[f"c{c}_{source}_ohkm_{kind}_loss"], factor)
    same(gradient, last(golden[f"c{c}_{source}_ohkm_{kind}_grad"]), factor, gradient=True)

    # mmpose's plain loss is the one place where the weight enters once.
    weight = joint_weight(golden, c, kind, 1 if source == "mmpose" else 2)
    value, gradient = jax.value_and_grad(losses.masked_l2)(predicted, target, weight)
    factor = half * joints * cells
    same(value, golden[f"c{c}_{source}_mse_{kind}_loss"], factor)
    same(gradient, last(golden[f"c{c}_{source}_mse_{kind}_grad"]), factor, gradient=True)


@pytest.mark.parametrize("c", CASES)
@pytest.mark.parametrize("stages", ["stages", "single"])
def test_distillation_equals_golden(golden, c, stages):
    student = last(golden[f"c{c}_fpd_student"])
    student = student if stages == "stages" else student[:1]
    teacher, target = last(golden[f"c{c}_fpd_teacher"]), last(golden[f"c{c}_target"])
    weight = joint_weight(golden, c, "w", 1)
    factor = 2 * target[0].size
    compute = jax.jit(losses.distillation)
    for alpha, name in ((0.0, "a000"), (0.25, "a025"), (0.5, "a050"), (1.0, "a100")):
        stem = f"c{c}_fpd_{stages}_{name}"
        got = compute(student, teacher, target, weight, alpha)
        same(got.label, golden[f"{stem}_w_pose_loss"], factor)
        same(got.teacher, golden[f"{stem}_now_kd_loss"], factor)
        same(got.total, (1 - alpha) * got.label + alpha * got.teacher, 1)

    stem = f"c{c}_fpd_{stages}"
    g = {
        name: last(golden[f"{stem}_{name}_grad"])
        for name in ("a025_w", "a050_w", "a025_now", "a050_now")
    }
    label = 2 * g["a025_w"] - g["a050_w"]
    taught = 3 * g["a050_now"] - 2 * g["a025_now"]
    for alpha in (0.0, 0.25, 1.0):
        gradient = jax.grad(lambda s, a=alpha: compute(s, teacher, target, weight, a).total)
        same(gradient(student), (1 - alpha) * label + alpha * taught, factor, gradient=True)


def test_distillation_rules():
    rng = np.random.default_rng(0)
    student, teacher = rng.random((2, 3, 1, 4, 4, 2), np.float32)
    target, mask = np.full((1, 4, 4, 2), np.nan, np.float32), np.zeros((1, 1, 1, 1))
    got = losses.distillation(student, teacher, target, mask, 0.5)
    expected = np.sum((student - teacher[-1]) ** 2)
    same(got.teacher, expected, 1)
    assert got.label == 0  # without labels the teacher alone teaches
    same(got.total, expected / 2, 1)
    paired = losses.distillation(student, teacher, target, mask, 0.5, pairing="same")
    same(paired.teacher, np.sum((student - teacher) ** 2), 1)
    both = jax.grad(lambda t: losses.distillation(student, t, target, mask, 0.5).total)(teacher)
    assert not np.any(both)
    # A teacher at twice the resolution: a ramp that follows the pixel convention stays itself.
    ramp = np.broadcast_to(np.arange(16.0)[:, None], (16, 16))[None, ..., None]
    coarse = np.broadcast_to(2 * np.arange(8.0)[:, None] + 0.5, (8, 8))[None, ..., None]
    got = losses.distillation([jnp.asarray(coarse)], jnp.asarray(ramp), 0 * coarse, mask, 1.0)
    inner = jax.image.resize(jnp.asarray(ramp), coarse.shape, "linear")[:, 1:-1]
    np.testing.assert_allclose(inner, coarse[:, 1:-1], atol=1e-4)
    assert got.total < 1
    with pytest.raises(ValueError, match="3 student stages but 2"):
        losses.distillation(student, teacher[:2], target, mask, 0.5, pairing="same")
    with pytest.raises(ValueError, match="pairing"):
        losses.distillation(student, teacher, target, mask, 0.5, pairing="first")


@pytest.fixture(scope="module")
def geometric():
    return np.load(GOLDENS / "geometric_loss.npz", allow_pickle=False)


@pytest.mark.parametrize("c", CASES)
def test_bone_ratio_equals_golden(geometric, c):
    bones = [tuple(int(j) for j in pair) for pair in geometric["bone_pairs"]]
    numbers = geometric["bone_group"]
    groups = [np.flatnonzero(numbers == g).tolist() for g in np.unique(numbers)]
    plane, depth = geometric[f"c{c}_gt_2d"], geometric[f"c{c}_pred"]
    weak = ~geometric[f"c{c}_supervised"].astype(bool)
    visible = geometric[f"c{c}_target"][..., 0]

    @jax.jit
    def loss(depth):
        joints = jnp.concatenate([plane, depth], axis=-1)
        mean_lengths = 1 / geometric["bone_weight"]
        return losses.bone_ratio(joints, bones, groups, mean_lengths, visible, weak)

    value, gradient = jax.value_and_grad(loss)(depth)
    assert weak.any()
    same(value, geometric[f"c{c}_var_loss"], 2)
    same(gradient, geometric[f"c{c}_var_grad_pred"], 2, gradient=True)


def test_bone_ratio_by_hand():
    # Two people with two bones: ratios (1, 3) and (2, 2); the group's mean is 2 for each and for
    # the batch, then the second person grows to (4, 4) and the batch's mean to 3.
    def person(a, b):
        return [[0, 0, 0], [a, 0, 0], [a, b, 0]]

    bones, groups, lengths = [(0, 1), (1, 2)], {"arm": (0, 1)}, [1.0, 1.0]
    joints = np.array([person(1, 3), person(2, 2)], np.float32)
    single = jax.jit(lambda joints, lengths: losses.bone_ratio(joints, bones, groups, lengths))
    whole = jax.jit(lambda joints: losses.bone_ratio(joints, bones, groups, lengths, over="batch"))
    same(single(joints, lengths), 0.5, 1)
    same(whole(joints), 0.5, 1)
    joints[1] = person(4, 4)
    same(single(joints, lengths), 0.5, 1)
    # ((1-3)^2 + (3-3)^2) / 2 = 2 and ((4-3)^2 + (4-3)^2) / 2 = 1, batch mean 1.5
    same(whole(joints), 1.5, 1)
    # Joints and mean lengths scaled alike change nothing; an absent joint takes its bones along.
    same(single(joints / 2, [0.5, 0.5]), 0.5, 1)
    seen = np.array([[1, 1, 0], [2, 2, 2]])
    joints[0, 2] = np.nan
    both = jax.jit(jax.value_and_grad(lambda j, v: losses.bone_ratio(j, bones, groups, lengths, v)))
    value, gradient = both(joints, seen)
    assert value == 0
    assert np.isfinite(gradient).all()
    collapsed = both(np.zeros((2, 3, 3), np.float32), np.ones((2, 3), int))[1]
    assert np.isfinite(collapsed).all()
    with pytest.raises(ValueError, match="over"):
        losses.bone_ratio(joints, bones, groups, lengths, over="set")


def test_hard_joints_against_a_loop():
    rng = np.random.default_rng(1)
    compute = jax.jit(losses.hard_joints, static_argnums=3)
    for k in (1, 3, 6, 9):
        predicted, target = rng.normal(size=(2, 4, 5, 3, 6)).astype(np.float32)
        mask = rng.random((4, 5, 3, 1)).astype(np.float32)
        there = rng.random((4, 6)) < 0.6
        expected = 0.0
        for picture in range(4):
            each = (mask[picture] * (predicted - target)[picture] ** 2).sum((0, 1))
            expected += np.sort(each[there[picture]])[::-1][:k].sum() / 4
        same(compute(predicted, target, mask, k, there), expected, 1)
    with pytest.raises(ValueError, match="k must be"):
        losses.hard_joints(predicted, target, mask, 0)


def test_masked_joints_never_count_among_the_hard_ones():
    rng = np.random.default_rng(2)
    predicted, target = rng.normal(size=(2, 2, 3, 3, 4)).astype(np.float32)
    predicted[..., 1] += 100  # the worst joint by far is not in this data set
    target[..., 1] = np.nan
    there = np.array([True, False, True, True])
    both = jax.jit(jax.value_and_grad(losses.hard_joints), static_argnums=3)
    value, gradient = both(predicted, target, np.ones((1, 1, 1, 1)), 2, there)
    kept = [0, 2, 3]
    expected = losses.hard_joints(predicted[..., kept], target[..., kept], np.ones((1, 1, 1, 1)), 2)
    same(value, expected, 1)
    assert np.isfinite(gradient).all()
    assert not np.any(gradient[..., 1])
    nothing = losses.hard_joints(predicted, target, np.ones((1, 1, 1, 1)), 2, np.zeros(4, bool))
    assert nothing == 0


def test_heatmap_stages_keep_the_background():
    rng = np.random.default_rng(3)
    stages = rng.normal(size=(3, 2, 4, 4, 6)).astype(np.float32)
    target = rng.normal(size=(2, 4, 4, 6)).astype(np.float32)
    mask = rng.random((2, 4, 4, 1)).astype(np.float32)
    there = np.array([[1, 1, 1, 1, 0], [1, 0, 1, 1, 1]], bool)
    got = losses.heatmap_stage_losses(
        stages, target, mask, joints=5, k=2, hard_stages=2, joint_mask=there
    )
    squares = mask * (stages - target) ** 2
    each = squares.sum((2, 3))
    joints = np.where(there, each[..., :5], 0)
    hard = np.sort(joints, axis=-1)[..., -2:].sum(-1).mean(-1)
    plain = joints.sum(-1).mean(-1)
    background = each[..., 5].mean(-1)
    same(got, np.array([plain[0], hard[1], hard[2]]) + background, 1)
    wide = np.concatenate([np.broadcast_to(mask, (2, 4, 4, 5)), 0 * mask], axis=-1)
    without = losses.heatmap_stage_losses(
        stages, target, wide, joints=5, k=2, hard_stages=2, joint_mask=there
    )
    same(without, np.array([plain[0], hard[1], hard[2]]), 1)


@pytest.mark.parametrize(
    "name", ["masked_l2", "hard_joints", "depth_l2", "distillation", "focal", "masked_l1"]
)
def test_what_is_masked_leaks_nowhere(name):
    rng = np.random.default_rng(4)
    predicted, target = rng.normal(size=(2, 2, 4, 4, 3)).astype(np.float32)
    if name == "focal":  # of probabilities
        predicted, target = rng.uniform(0.05, 0.95, (2, 2, 4, 4, 3)).astype(np.float32)
        target[rng.random(target.shape) < 0.2] = 1.0
    mask = (rng.random((2, 4, 4, 1)) < 0.7).astype(np.float32)

    def loss(predicted, target):
        if name == "hard_joints":
            return losses.hard_joints(predicted, target, mask, 2)
        if name == "distillation":
            teacher = jnp.zeros((2, 4, 4, 3))
            return losses.distillation([predicted], teacher, target, mask, 0.3).total
        return getattr(losses, name)(predicted, target, mask)

    both = jax.jit(jax.value_and_grad(loss))
    clean = both(predicted, target)
    dirty = both(predicted, np.where(mask == 0, np.nan, target))
    np.testing.assert_array_equal(clean[0], dirty[0])
    np.testing.assert_array_equal(clean[1], dirty[1])
    if name in ("focal", "masked_l1"):  # nor does what the network says there
        dirty = both(np.where(mask == 0, np.nan, predicted), target)
        np.testing.assert_array_equal(clean[0], dirty[0])
        np.testing.assert_array_equal(clean[1], dirty[1])
    assert np.isfinite(clean[0])
    # bfloat16 comes in, float32 goes out, and sums are not rounded to 8 bits.
    half = loss(jnp.asarray(predicted, jnp.bfloat16), jnp.asarray(target, jnp.bfloat16))
    assert half.dtype == jnp.float32
    same(
        half,
        loss(
            np.asarray(jnp.asarray(predicted, jnp.bfloat16), np.float32),
            np.asarray(jnp.asarray(target, jnp.bfloat16), np.float32),
        ),
        1,
    )


def test_the_teacher_s_mask_weighs_its_own_term_alone():
    rng = np.random.default_rng(9)
    student = rng.normal(size=(2, 1, 4, 4, 3)).astype(np.float32)
    teacher, target = rng.normal(size=(2, 1, 4, 4, 3)).astype(np.float32)
    mask = rng.random((1, 4, 4, 1)).astype(np.float32)
    weight = rng.random((1, 4, 4, 3)).astype(np.float32)
    got = losses.distillation(student, teacher, target, mask, 0.3, teacher_mask=weight)
    plain = losses.distillation(student, teacher, target, mask, 0.3)
    same(got.label, plain.label, 1)
    same(got.teacher, (weight * (student - teacher) ** 2).sum(), 1)
    same(got.total, 0.7 * got.label + 0.3 * got.teacher, 1)
    # A teacher that says what the labels say, weighted alike, costs what they do.
    alike = losses.distillation(student, target, target, mask, 0.3, teacher_mask=mask)
    same(alike.teacher, alike.label, 1)
    # Weights of a teacher of twice the resolution come along with its maps.
    wide = np.full((1, 8, 8, 1), 2.0, np.float32)
    big = losses.distillation(student, 0 * np.ones((1, 8, 8, 3)), target, mask, 1.0,
                              teacher_mask=wide)  # fmt: skip
    same(big.teacher, 2 * (student**2).sum(), 1)


def test_depth_l2_by_hand():
    depth = np.array([[1.0, 2.0], [3.0, 5.0]])
    target = np.array([[0.0, 0.0], [0.0, np.nan]])
    same(losses.depth_l2(depth, target, np.array([[1, 1], [2, 0]])), (1 + 4 + 2 * 9) / 2, 1)


@pytest.mark.parametrize("c", CASES)
def test_depth_and_bones_equal_the_other_branch(geometric, c):
    """hg_loss: no 1/2 in the variance; rows with a label train depth, the others the bones."""
    stored = geometric[f"c{c}_hg_target"]
    depth = geometric[f"c{c}_hg_depth"]
    labelled = (stored[..., :2] == 0).all((1, 2))
    bones = [tuple(int(j) for j in pair) for pair in geometric["bone_pairs"]]
    numbers = geometric["bone_group"]
    groups = [np.flatnonzero(numbers == g).tolist() for g in np.unique(numbers)]
    plane = 2 * stored[..., :2] / 64 - 1
    visible = np.where(labelled[:, None], 0, stored[..., 2])

    @jax.jit
    def terms(depth):
        supervised = losses.depth_l2(depth, stored[..., 2], labelled[:, None])
        joints = jnp.concatenate([jnp.asarray(plane), depth[..., None]], axis=-1)
        lengths = 1 / geometric["bone_weight"]
        weak = losses.bone_ratio(joints, bones, groups, lengths, visible, ~labelled)
        return jnp.stack([supervised, weak])

    # Both terms enter the source's gradient with one constant each: solve for them.
    jacobian = jax.jit(jax.jacrev(terms))(jnp.asarray(depth)).reshape(2, -1)
    golden = geometric[f"c{c}_hg_grad"].ravel()
    factors, *_ = np.linalg.lstsq(np.asarray(jacobian).T, golden, rcond=None)
    np.testing.assert_allclose(factors @ jacobian, golden, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(factors @ terms(depth), geometric[f"c{c}_hg_loss"], rtol=1e-4)


def test_cross_entropy_against_numpy():
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(6, 4)).astype(np.float32) * 3
    labels = np.array([0, 1, 2, 3, 1, -7])
    mask = np.array([1, 1, 1, 1, 1, 0], bool)
    weights = np.array([1.0, 2.0, 0.5, 4.0], np.float32)
    logits[-1] = np.nan
    compute = jax.jit(losses.cross_entropy)
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nll, w = -logp[np.arange(5), labels[:5]], weights[labels[:5]]
    same(compute(logits, labels, mask=mask), nll.mean(), 1)
    same(compute(logits, labels, weights, mask=mask), (w * nll).sum() / w.sum(), 1)
    smooth = 0.9 * w * nll - 0.1 / 4 * (weights * logp[:5]).sum(-1)
    same(compute(logits, labels, weights, 0.1, mask), smooth.sum() / w.sum(), 1)
    gradient = jax.jit(jax.grad(losses.cross_entropy))(logits, labels, weights, 0.1, mask)
    assert np.isfinite(gradient).all()
    assert compute(logits, labels, mask=np.zeros(6)) == 0
    assert compute(jnp.asarray(logits, jnp.bfloat16), labels, mask=mask).dtype == jnp.float32
    huge = compute(np.array([[1e4, 0.0]]), np.array([1]))
    same(huge, 1e4, 1)


def test_sigmoid_cross_entropy_against_numpy():
    rng = np.random.default_rng(6)
    logits = rng.normal(size=(5, 3)).astype(np.float32)
    targets = (rng.random((5, 3)) < 0.4).astype(np.float32)
    weights = np.array([1.0, 2.0, 0.5], np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    smooth = 0.8 * targets + 0.1
    each = -weights * (smooth * np.log(p) + (1 - smooth) * np.log(1 - p))
    rows = np.array([1, 1, 0, 1, 1])
    compute = jax.jit(losses.sigmoid_cross_entropy)
    same(compute(logits, targets, weights, 0.2), each.sum(1).mean(), 1)
    targets[2] = np.nan
    same(compute(logits, targets, weights, 0.2, rows), each[rows > 0].sum(1).mean(), 1)
    cells = np.ones((5, 3))
    cells[2], cells[0, 1] = 0, 0
    same(compute(logits, targets, weights, 0.2, cells), (each * cells).sum() / 4, 1)
    gradient = jax.jit(jax.grad(losses.sigmoid_cross_entropy))(logits, targets, weights, 0.2, rows)
    assert np.isfinite(gradient).all()
    same(compute(np.array([[1e4, -1e4]]), np.array([[0.0, 1.0]])), 2e4, 1)


def test_gradient_of_sigmoid_cross_entropy_at_logit_0():
    targets = np.array([[0.0, 1.0, 0.3]], np.float32)
    gradient = jax.grad(losses.sigmoid_cross_entropy)(np.zeros((1, 3), np.float32), targets)
    np.testing.assert_allclose(gradient, 0.5 - targets, atol=1e-6)


def test_a_batch_without_rows_costs_nothing():
    maps, mask = np.zeros((0, 4, 4, 3)), np.zeros((0, 4, 4, 1))
    joints, rows = np.zeros((0, 3, 3)), np.zeros((0, 3))
    costs = {
        "masked_l2": losses.masked_l2(maps, maps, mask),
        "hard_joints": losses.hard_joints(maps, maps, mask, 2),
        "focal": losses.focal(maps, maps, mask),
        "masked_l1": losses.masked_l1(maps, maps, mask),
        "bone_ratio": losses.bone_ratio(joints, [(0, 1), (1, 2)], [[0, 1]], [1.0, 1.0]),
        "cross_entropy": losses.cross_entropy(rows, np.zeros(0, int)),
        "sigmoid_cross_entropy": losses.sigmoid_cross_entropy(rows, rows),
    }
    assert {name: float(cost) for name, cost in costs.items()} == dict.fromkeys(costs, 0.0)


def test_losses_map_over_a_leading_axis():
    rng = np.random.default_rng(7)
    predicted, target = rng.normal(size=(2, 3, 2, 4, 4, 5)).astype(np.float32)
    mask = rng.random((3, 2, 4, 4, 1)).astype(np.float32)
    labels = rng.integers(0, 5, size=(3, 2))
    mapped = {
        "masked_l2": (losses.masked_l2, (predicted, target, mask)),
        "hard_joints": (lambda *a: losses.hard_joints(*a, 2), (predicted, target, mask)),
        "focal": (losses.focal, (jax.nn.sigmoid(predicted), np.round(target % 1, 1), mask)),
        "masked_l1": (losses.masked_l1, (predicted, target, mask)),
        "distillation": (
            lambda p, t, m: losses.distillation([p], 0 * t, t, m, 0.5).total,
            (predicted, target, mask),
        ),
        "cross_entropy": (losses.cross_entropy, (predicted[:, :, 0, 0], labels)),
    }
    for loss, arrays in mapped.values():
        single = jax.jit(loss)
        singles = [single(*(a[i] for a in arrays)) for i in range(3)]
        np.testing.assert_allclose(jax.jit(jax.vmap(loss))(*arrays), singles, rtol=1e-5)
