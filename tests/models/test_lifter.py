"""The lifters' networks: shapes, joints that are not there, and what a person's size means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import systems
from bodyjax.models.lifter import JointLifter, Lifter
from bodyjax.skeleton import H36M17, LIFT16
from bodyjax.systems.lifter_joints import BASE
from configs import lifter as configs


@pytest.fixture(scope="module")
def network():
    model = JointLifter(BASE, width=16, blocks=1)
    seen = jnp.zeros((1, 16, 2)), jnp.zeros((1, 16)), jnp.ones(1)
    variables = jax.jit(model.init)(jax.random.key(0), *seen)
    return jax.jit(model.apply), variables


def test_joints_with_score_0_change_nothing(network):
    apply, variables = network
    rng = np.random.default_rng(0)
    xy, score = rng.normal(size=(3, 16, 2)), rng.uniform(0.2, 1, (3, 16))
    score[:, 5] = 0.0
    one = apply(variables, xy, score, np.ones(3))
    xy[:, 5] = np.nan
    two = apply(variables, xy, score, np.ones(3))
    assert one.shape == (3, 17, 3)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one[:, 0], 0.0)


def test_a_network_that_says_nothing_shows_a_person_flat_and_as_they_are_seen(network):
    apply, variables = network
    params = {
        **variables["params"],
        "leave": jax.tree.map(np.zeros_like, variables["params"]["leave"]),
    }
    xy = np.random.default_rng(1).normal(size=(1, 16, 2)).astype(np.float32)
    pose = np.asarray(apply({"params": params}, xy, np.ones((1, 16)), np.ones(1)))[0]
    seen = [LIFT16.index(name) for name in H36M17.joints if name in LIFT16.joints]
    joints = [H36M17.index(name) for name in H36M17.joints if name in LIFT16.joints]
    hips = xy[0, [LIFT16.index("left_hip"), LIFT16.index("right_hip")]].mean(0)
    np.testing.assert_allclose(pose[joints, :2], 0.25 * (xy[0, seen] - hips), atol=1e-6)
    np.testing.assert_array_equal(pose[:, 2], 0.0)


def test_a_picture_gives_maps_of_both_kinds_at_stride_8():
    system = systems.build(configs.get_config("tiny"))
    assert isinstance(system.model, Lifter)
    variables = jax.eval_shape(system.init, jax.random.key(0))
    pictures = jax.ShapeDtypeStruct((2, 64, 96, 3), np.uint8)
    maps = jax.eval_shape(system.maps, variables, pictures)
    assert maps.heatmaps.shape == maps.depth.shape == (1, 2, 8, 12, 17)
