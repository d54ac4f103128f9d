"""Measures in space against SciPy's rotations and by hand; the fold against the functions."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodyjax import skeleton
from bodyjax.metrics import pose3d


@pytest.fixture(scope="module")
def align():
    return jax.jit(pose3d.procrustes)


def test_procrustes_undoes_any_similarity(align):
    rng = np.random.default_rng(3)
    target = rng.normal(scale=300, size=(20, 17, 3))
    turns = Rotation.random(20, rng).as_matrix()
    scale = rng.uniform(0.2, 5, (20, 1, 1))
    moved = scale * target @ turns + rng.normal(scale=500, size=(20, 1, 3))
    np.testing.assert_allclose(align(moved, target), target, atol=0.05)
    assert float(pose3d.pa_mpjpe(moved, target)) < 0.01
    # A mirror image is no rotation: what is left is what the best proper rotation leaves.
    mirrored = target * [-1, 1, 1]
    best = np.asarray(align(mirrored, target))
    assert np.linalg.norm(best - target, axis=-1).mean() > 10
    a, b = mirrored - mirrored.mean(1, keepdims=True), target - target.mean(1, keepdims=True)
    for i in range(20):
        turn, _ = Rotation.align_vectors(b[i], a[i])
        turned = turn.apply(a[i])
        fit = (turned * b[i]).sum() / (turned**2).sum() * turned
        np.testing.assert_allclose(best[i] - target[i].mean(0), fit, atol=0.05)
    # Joints that are not labelled do not steer; a pose of one point has no shape to align.
    visible = np.ones((20, 17))
    visible[:, :5] = 0
    spoilt = moved.copy()
    spoilt[:, :5] += 1e4
    np.testing.assert_allclose(align(spoilt, target, visible)[:, 5:], target[:, 5:], atol=0.05)
    assert np.isfinite(align(np.zeros((1, 17, 3)), target[:1])).all()
    # Flat poses: the rotation may be completed either way, the fit is the same.
    flat = target[..., :2]
    np.testing.assert_allclose(align(2 * flat @ turns[0, :2, :2], flat).shape, flat.shape)


def test_errors_in_space_by_hand():
    target = np.zeros((2, 2, 3))
    found = np.array([[[3, 4, 0], [0, 0, 0]], [[0, 0, 200], [np.nan, 0, 0]]], float)
    visible = np.array([[1, 2], [1, 0]])
    assert float(pose3d.mpjpe(found, target, visible)) == pytest.approx(205 / 3)
    assert float(pose3d.pck3d(found, target, visible)) == pytest.approx(2 / 3)
    # Within 5 mm at 30 of 31 thresholds, exact at all, 200 mm at none.
    assert float(pose3d.auc3d(found, target, visible)) == pytest.approx((30 + 31) / 31 / 3)
    rooted = pose3d.mpjpe(found[:1], target[:1], root=0)
    assert float(rooted) == pytest.approx(2.5)
    assert np.isnan(pose3d.mpjpe(found, target, 0 * visible))


def test_joints3d_fold():
    rng = np.random.default_rng(4)
    h36m = skeleton.get("h36m17")
    target = rng.normal(scale=300, size=(7, 17, 3)).astype(np.float32)
    found = target + rng.normal(scale=60, size=target.shape).astype(np.float32)
    visible = rng.integers(0, 3, (7, 17))
    visible[:, 0] = [1, 1, 1, 0, 1, 2, 2]
    target[visible == 0] = np.nan
    fold = pose3d.Joints3D(h36m)
    update = jax.jit(fold.update)
    state = fold.init()
    for start in (0, 4):
        rows = np.arange(start, start + 4)
        batch = {"xyz": target[rows % 7], "visible": visible[rows % 7], "mask": rows < 7}
        state = update(state, {"xyz": found[rows % 7]}, batch)
    result = fold.compute(state)
    keep = [0, 1, 2, 4, 5, 6]
    arrays = found[keep], target[keep], visible[keep]
    assert result["mpjpe"] == pytest.approx(float(pose3d.mpjpe(*arrays, root=0)), rel=1e-5)
    assert result["pck3d"] == pytest.approx(float(pose3d.pck3d(*arrays, root=0)), rel=1e-5)
    assert result["auc3d"] == pytest.approx(float(pose3d.auc3d(*arrays, root=0)), rel=1e-5)
    aligned = float(pose3d.pa_mpjpe(*arrays))
    assert result["pa_mpjpe"] == pytest.approx(aligned, rel=1e-5)
    assert aligned < result["mpjpe"]
    assert (result["n"], result["left_out"]) == (6, 1)
    assert result["per_joint"]["pelvis"] == 0


def test_gradients_of_errors_at_an_exact_hit_and_beside_absent_joints():
    target = np.zeros((1, 3, 3), np.float32)
    found = np.array([[[0, 0, 0], [3, 4, 0], [7, 7, 7]]], np.float32)
    target[0, 2] = np.nan  # absent
    visible = np.array([[2, 1, 0]])
    gradient = jax.jit(jax.grad(pose3d.mpjpe))(found, target, visible)
    np.testing.assert_allclose(gradient, [[[0, 0, 0], [0.3, 0.4, 0], [0, 0, 0]]], atol=1e-6)
    both_hit = jax.grad(lambda xyz: pose3d.mpjpe(xyz, found[:, :2], root=0))(found[:, :2])
    np.testing.assert_array_equal(both_hit, np.zeros((1, 2, 3)))
