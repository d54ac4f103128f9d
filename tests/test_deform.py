"""Changes of joint sequences: the same in NumPy and in jax, and what each part does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import skeleton
from bodyjax.deform import UNIFORMS, Clip, Limits, apply, deformation, even_times, resample

BODY = skeleton.get("penn13")
STRONG = Limits(
    flip=0.5,
    rotation=0.4,
    tilt=0.2,
    scale=0.2,
    stretch=0.1,
    shift=0.1,
    crop=0.3,
    bend=0.5,
    jitter=1.0,
    offset=0.05,
    noise=0.05,
    drop=0.2,
)


def clip(seed, steps=9, dims=2):
    rng = np.random.default_rng(seed)
    joints = rng.normal(50, 20, (steps, 13, dims)).astype(np.float32)
    visible = np.repeat(rng.choice([0, 2], (1, 13), p=[0.2, 0.8]), steps, 0).astype(np.uint8)
    return Clip(joints, visible, rng.random((steps, 13)).astype(np.float32))


def numbers(seed, steps=6, dims=2):
    rng = np.random.default_rng(seed)
    uniform = rng.random(UNIFORMS + steps + 13).astype(np.float32)
    return uniform, rng.normal(size=(steps + 1, 13, dims)).astype(np.float32)


@pytest.mark.parametrize("dims", [2, 3])
def test_numpy_and_jax_do_the_same(dims):
    def change(clip, uniform, normal):
        mirror = jnp.asarray(BODY.mirror)
        return apply(clip, jnp.float32(9), deformation(STRONG, uniform, normal), mirror)

    rows = [(clip(k, dims=dims), *numbers(k, dims=dims)) for k in range(8)]
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    together = jax.jit(jax.vmap(change))(*many)
    flipped = set()
    for k, (one, uniform, normal) in enumerate(rows):
        drawn = deformation(STRONG, uniform, normal)
        flipped.add(bool(drawn.mirror))
        got = apply(one, np.float32(9), drawn, np.array(BODY.mirror))
        assert isinstance(got.joints, np.ndarray)
        there = got.visible > 0
        np.testing.assert_array_equal(got.visible, together.visible[k])
        np.testing.assert_allclose(got.joints[there], together.joints[k][there], atol=1e-3)
        np.testing.assert_allclose(got.score, together.score[k], atol=1e-5)
    assert flipped == {False, True}


def test_no_limits_change_nothing():
    one = clip(1)
    uniform, normal = numbers(1, steps=9)
    drawn = deformation(Limits(), uniform, normal)
    drawn = drawn._replace(times=np.linspace(0, 1, 9, dtype=np.float32))
    got = apply(one, np.float32(9), drawn, np.array(BODY.mirror))
    there = one.visible > 0
    np.testing.assert_array_equal(got.visible, one.visible)
    np.testing.assert_allclose(got.joints[there], one.joints[there], atol=1e-4)
    np.testing.assert_allclose(got.score, one.score, atol=1e-6)


def test_mirror_exchanges_sides_and_twice_is_once():
    one = clip(2)
    uniform, normal = numbers(2, steps=9)
    drawn = deformation(Limits(flip=1.1), uniform, normal)
    drawn = drawn._replace(times=np.linspace(0, 1, 9, dtype=np.float32))
    mirror = np.array(BODY.mirror)
    once = apply(one, np.float32(9), drawn, mirror)
    left, right = BODY.index("left_wrist"), BODY.index("right_wrist")
    np.testing.assert_array_equal(once.visible[:, left], one.visible[:, right])
    np.testing.assert_allclose(once.joints[:, left, 1], one.joints[:, right, 1], atol=1e-4)
    twice = apply(once, np.float32(9), drawn, mirror)
    there = one.visible > 0
    np.testing.assert_allclose(twice.joints[there], one.joints[there], atol=1e-3)


def test_turning_and_growing_keep_the_shape():
    one = clip(3)
    uniform, normal = numbers(3, steps=9)
    drawn = deformation(Limits(rotation=1.0, scale=0.5, shift=0.3), uniform, normal)
    drawn = drawn._replace(times=np.linspace(0, 1, 9, dtype=np.float32))
    got = apply(one, np.float32(9), drawn, np.array(BODY.mirror))
    there = np.flatnonzero(one.visible[0])

    def apart(joints):
        inside = joints[:, there]
        return np.linalg.norm(inside[:, :, None] - inside[:, None], axis=-1)

    ratio = apart(got.joints)[:, 0, 1:] / apart(one.joints)[:, 0, 1:]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)
    assert 0.6 < ratio[0, 0] < 1.7
    assert abs(ratio[0, 0] - 1) > 1e-3


@pytest.mark.parametrize("seed", range(20))
def test_time_keeps_its_order_and_stays_inside(seed):
    uniform, normal = numbers(seed, steps=16)
    times = deformation(Limits(crop=0.5, bend=0.9, jitter=1.0), uniform, normal).times
    assert (np.diff(times) > -1e-6).all()
    assert times.min() >= 0
    assert times.max() <= 1
    plain = deformation(Limits(), uniform, normal).times
    np.testing.assert_allclose(plain, even_times(16), atol=1e-6)


def test_resample_at_stored_places_and_between():
    one = clip(4)
    same = resample(one, np.arange(9, dtype=np.float32))
    np.testing.assert_array_equal(same.joints, one.joints)
    half = resample(one, np.array([2.5], np.float32))
    there = one.visible[0] > 0
    expected = (one.joints[2] + one.joints[3]) / 2
    np.testing.assert_allclose(half.joints[0][there], expected[there], atol=1e-5)
    gap = one._replace(visible=one.visible.copy())
    gap.visible[2] = 0
    alone = resample(gap, np.array([2.5], np.float32))
    np.testing.assert_array_equal(alone.joints[0][there], one.joints[3][there])
    assert (alone.visible[0][there] == 2).all()


def test_samples_lie_between_each_other():
    times = np.array([even_times(4, k, 3) for k in range(3)])
    np.testing.assert_allclose(np.diff(np.sort(times.ravel())), 1 / 12)
