"""Losses of CenterNet-style heads: focal, soft focal and masked L1."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from bodyjax import losses
from tests.test_losses import same


def penalty_reduced(p, target, weight, alpha=2.0, beta=4.0):
    """Objects as Points, eq. 1, cell by cell."""
    total, peaks = 0.0, 0
    for p_, t_, w_ in zip(p.ravel(), target.ravel(), weight.ravel(), strict=True):
        if w_ == 0:
            continue
        if t_ == 1:
            peaks += 1
            total -= w_ * (1 - p_) ** alpha * np.log(p_)
        else:
            total -= w_ * (1 - t_) ** beta * p_**alpha * np.log(1 - p_)
    return total / max(peaks, 1)


@pytest.fixture(scope="module")
def heat():
    """(probability, target with peaks, weights with zeros), float32."""
    rng = np.random.default_rng(8)
    p = rng.uniform(0.02, 0.98, (2, 4, 5, 3)).astype(np.float32)
    target = rng.uniform(0, 0.99, p.shape).astype(np.float32)
    target[rng.random(p.shape) < 0.1] = 1.0
    weight = (rng.uniform(0.5, 2, p.shape) * (rng.random(p.shape) < 0.8)).astype(np.float32)
    assert ((target == 1) & (weight > 0)).sum() > 3
    assert ((target == 1) & (weight == 0)).any()
    return p, target, weight


focal = jax.jit(losses.focal, static_argnames=("alpha", "beta"))


def test_focal_equals_the_paper_s_formula_in_numpy(heat):
    p, target, weight = heat
    same(focal(p, target, weight), penalty_reduced(*(x.astype(np.float64) for x in heat)), 1)
    ones = np.ones_like(p)
    same(focal(p, target, np.ones((1, 1, 1, 1))), penalty_reduced(p, target, ones), 1)
    other = penalty_reduced(p, target, ones, alpha=1.5, beta=3.0)
    same(focal(p, target, ones, alpha=1.5, beta=3.0), other, 1)
    # Without a peak the sum stands as it is; a perfect map costs nothing.
    target = np.minimum(target, 0.9)
    same(focal(p, target, ones), penalty_reduced(p, target, ones), 1)
    peaks = (heat[1] == 1).astype(np.float32)
    assert focal(peaks, heat[1], ones) < 1e-6
    # What is certain and wrong costs much, and nothing is infinite.
    assert 10 < focal(1 - peaks, heat[1], ones) < np.inf


def test_focal_gradient_equals_finite_differences(heat):
    p, target, weight = (x.astype(np.float64) for x in heat)
    gradient = jax.jit(jax.grad(losses.focal))(*heat)
    expected, step = np.zeros_like(p), 1e-6
    for place in np.ndindex(p.shape):
        ends = []
        for sign in (1, -1):
            moved = p.copy()
            moved[place] += sign * step
            ends.append(penalty_reduced(moved, target, weight))
        expected[place] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
    assert not np.any(gradient[weight == 0])


def test_focal_is_least_at_the_peak_and_spares_cells_near_it(heat):
    p = np.full((1, 1, 3, 1), 0.4, np.float32)
    target = np.array([1.0, 0.9, 0.0], np.float32).reshape(p.shape)
    slope = jax.grad(losses.focal)(p, target, np.ones_like(p)).ravel()
    assert slope[0] < 0 < slope[1] < 1e-3 * slope[2]


def test_soft_focal_equals_its_formula_and_is_least_where_both_agree(heat):
    p, target, _ = (x.astype(np.float64) for x in heat)
    p, aim = (np.clip(x, 1e-6, 1 - 1e-6) for x in (p, target))
    cost = aim * np.log(aim / p) + (1 - aim) * np.log((1 - aim) / (1 - p))
    expected = ((aim - p) ** 2 * cost).sum() / max((aim**2).sum(), 1)
    same(losses.soft_focal(heat[0], heat[1]), expected, 1)
    both = jax.jit(jax.value_and_grad(losses.soft_focal, argnums=(0, 1)))
    value, (gradient, to_teacher) = both(heat[1], heat[1])
    assert value == 0
    assert not np.any(gradient)
    assert not np.any(to_teacher)
    _, (gradient, to_teacher) = both(heat[0], heat[1])
    wrong = np.abs(p - aim) > 0.01
    assert wrong.sum() > 3
    assert (np.sign(gradient) == np.sign(p - aim))[wrong].all()
    assert not np.any(to_teacher)


def test_masked_l1_by_hand_and_under_grad():
    predicted = np.array([[1.0, -2.0], [4.0, np.nan], [0.5, 0.0]], np.float32)
    target = np.array([[3.0, 1.0], [0.0, 5.0], [np.nan, 0.0]], np.float32)
    mask = np.array([[1, 1], [2, 0], [0, 0]], np.float32)
    both = jax.jit(jax.value_and_grad(losses.masked_l1))
    value, gradient = both(predicted, target, mask)
    same(value, (2 + 3 + 2 * 4) / 4, 1)
    np.testing.assert_allclose(gradient, np.array([[-1, -1], [2, 0], [0, 0]]) / 4)
    # A mask of one column counts both coordinates of a row.
    same(losses.masked_l1(predicted[:1], target[:1], mask[:1, :1]), 5 / 2, 1)
    value, gradient = both(predicted, target, 0 * mask)
    assert value == 0
    assert not np.any(gradient)
