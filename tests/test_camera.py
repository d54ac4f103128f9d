"""Cameras: views that look straight at a person, against rotations by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import camera

STRAIGHT, PROJECT = jax.jit(camera.straight), jax.jit(camera.project)
TURNED, BACK = jax.jit(camera.turned), jax.jit(camera.turned_back)
LENS = np.array([400.0, 400.0, 320.0, 240.0], np.float32)


def people(seed=0, count=5):
    rng = np.random.default_rng(seed)
    root = np.stack([rng.uniform(-900, 900, count), rng.uniform(-500, 500, count),
                     rng.uniform(2500, 5000, count)], -1)  # fmt: skip
    return (root[:, None] + rng.normal(0, 300, (count, 16, 3))).astype(np.float32)


def test_the_straight_view_is_that_of_a_turned_camera():
    xyz = people()
    view = STRAIGHT(PROJECT(xyz, LENS), np.ones(xyz.shape[:2]), LENS)
    turned = np.asarray(TURNED(xyz, view.turn))
    places = turned[..., :2] / turned[..., 2:]
    places = places - places.mean(1, keepdims=True)
    size = np.sqrt(np.square(places).sum(-1).mean(-1))
    np.testing.assert_allclose(view.size, size, rtol=1e-4)
    np.testing.assert_allclose(view.xy, places / size[:, None, None], atol=2e-4)


def test_axes_are_a_rotation_and_its_inverse_goes_back():
    xyz = people(1)
    turn = STRAIGHT(PROJECT(xyz, LENS), np.ones(xyz.shape[:2]), LENS).turn
    turn = np.asarray(turn)
    product = turn @ turn.swapaxes(-1, -2)
    np.testing.assert_allclose(product, np.tile(np.eye(3), (5, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(turn), 1.0, atol=1e-5)
    np.testing.assert_allclose(BACK(TURNED(xyz, turn), turn), xyz, atol=1e-2)
    middle = np.asarray(camera.towards(jnp.zeros(2)))
    np.testing.assert_allclose(middle, np.eye(3), atol=1e-7)


def test_joints_of_weight_0_change_nothing_nor_do_their_numbers():
    xyz = people(2)
    xy, weight = np.array(PROJECT(xyz, LENS)), np.ones((5, 16), np.float32)
    weight[:, 3] = 0.0
    one = STRAIGHT(xy, weight, LENS)
    xy[:, 3] = np.nan
    two = STRAIGHT(xy, weight, LENS)
    assert all(np.isfinite(part).all() for part in two)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_nobody_and_everybody_in_one_place_have_a_view_and_a_gradient(weight):
    xy = jnp.full((1, 16, 2), 100.0)

    def total(xy):
        view = camera.straight(xy, jnp.full((1, 16), weight), LENS)
        return view.xy.sum() + view.size.sum() + view.turn.sum()

    value, slope = jax.jit(jax.value_and_grad(total))(xy)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_the_assumed_camera_has_the_stated_field_of_view():
    lens = camera.assumed((480, 640), 60.0)
    assert lens[2:].tolist() == [319.5, 239.5]
    assert np.degrees(2 * np.arctan(320 / lens[0])) == pytest.approx(60.0, abs=1e-4)
