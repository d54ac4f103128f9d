"""Agreement on neighbouring frames: which rows, how far apart, and its place in the loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax.systems import agreement
from bodyjax.systems.teaching import Teaching
from tests.systems.tiny_pose import BONES, KEY, PLAIN, largest, network, scene, value_and_grad


def test_rows_with_a_neighbour_are_compared_first():
    known = jnp.array([False, False, True, False, False, False, True, False])
    assert set(agreement.compared(known).tolist()) == {2, 6}
    assert agreement.compared(known[:3]).tolist() == [2]


def test_the_distance_is_relative_to_the_maps_and_of_known_rows_alone():
    rng = np.random.default_rng(0)
    one, other = rng.uniform(0, 1, (2, 3, 8, 8, 5))
    known = np.array([1.0, 0.0, 1.0])
    each = [
        ((a - b) ** 2).sum() / (0.5 * (a**2 + b**2).sum()) for a, b in zip(one, other, strict=True)
    ]
    found = agreement.loss(jnp.asarray(one), jnp.asarray(other), jnp.asarray(known))
    np.testing.assert_allclose(found, (each[0] + each[2]) / 2, rtol=1e-5)
    assert agreement.loss(jnp.asarray(one), jnp.asarray(one), jnp.asarray(known)) == 0
    nothing = agreement.loss(jnp.asarray(one), jnp.asarray(other), jnp.zeros(3))
    assert nothing == 0
    slopes = jax.grad(agreement.loss, argnums=(0, 1))(one, other, known)
    np.testing.assert_allclose(slopes[0], -slopes[1], rtol=1e-5)
    assert largest(slopes[0][1]) == 0
    assert largest(slopes[0][0]) > 0


@pytest.mark.slow
def test_equal_neighbours_add_nothing_and_others_a_gradient():
    taught = Teaching(network(16, 1), BONES, 0.5, 0.5, 0, agreement=3.0)
    system = dataclasses.replace(PLAIN, teaching=taught)
    variables, batch = system.init(KEY), scene(system, rows=4)
    batch["neighbour_known"] = np.array([False, False, True, False])
    run = value_and_grad(system)
    batch["neighbour"] = batch["image"][::-1].copy()
    value, aux, grads = run(variables, batch)
    batch["neighbour_known"][:] = False
    without, silent, others = run(variables, batch)
    apart = float(aux.metrics["disagreement"][0])
    assert silent.metrics["disagreement"][0] == 0
    assert apart > 0
    np.testing.assert_allclose(value - without, 3.0 * apart, rtol=1e-4)
    assert largest(jax.tree.map(jnp.subtract, grads, others)) > 0
