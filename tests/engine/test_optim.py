"""bodyjax.engine.optim."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bodyjax import losses
from bodyjax.engine import optim, settings
from bodyjax.errors import ConfigError

PARAMS = {
    "stem": {"conv": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}},
    "head": {"kernel": jnp.ones((3, 2)), "scale": jnp.ones((1, 3))},
}
GRADS = jax.tree.map(lambda x: jnp.full_like(x, 0.5), PARAMS)


def step(optimizer: optax.GradientTransformation, grads=GRADS, params=PARAMS, times: int = 1):
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for _ in range(times):
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def rates(steps: int = 100, **values):
    schedule = optim.schedule(settings.optimizer({"rate": 2.0, **values}), steps)
    return np.asarray(jax.jit(jax.vmap(schedule))(np.arange(steps)))


def test_schedules() -> None:
    n = np.arange(90) / 90
    warm = 2.0 * (np.arange(10) + 1) / 10
    cosine = rates(warmup=10, decay="cosine", final=0.1)
    np.testing.assert_allclose(cosine[:10], warm, rtol=1e-5)
    half = (1 + np.cos(np.pi * n)) / 2
    np.testing.assert_allclose(cosine[10:], 2.0 * (0.9 * half + 0.1), rtol=1e-5)
    exponential = rates(warmup=10, decay="exponential", final=0.01)
    np.testing.assert_allclose(exponential[10:], 2.0 * 0.01**n, rtol=1e-5)
    np.testing.assert_allclose(rates(warmup=10)[10:], 2.0, rtol=1e-6)
    np.testing.assert_allclose(rates(), 2.0, rtol=1e-6)
    onecycle = rates(decay="onecycle", warmup=40)
    assert onecycle.argmax() == 40
    assert onecycle.max() == pytest.approx(2.0)
    assert onecycle[0] == pytest.approx(2.0 / 25)
    assert rates(decay="onecycle").argmax() == 30


def test_schedule_counts_updates_not_batches() -> None:
    half = optim.schedule(settings.optimizer({"decay": "cosine", "accumulate": 2}), 100)
    assert float(half(50)) == pytest.approx(0, abs=1e-9)


def test_weight_decay_spares_biases_norms_and_vectors() -> None:
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    params, _ = step(optim.make_optimizer({"rate": 0.1, "weight_decay": 0.5}, 10), zero)
    np.testing.assert_allclose(params["stem"]["conv"]["kernel"], 0.95, rtol=1e-6)
    np.testing.assert_allclose(params["head"]["kernel"], 0.95, rtol=1e-6)
    np.testing.assert_array_equal(params["stem"]["conv"]["bias"], 1)
    np.testing.assert_array_equal(params["head"]["scale"], 1)


def test_adamw_equals_its_formula() -> None:
    rng = np.random.default_rng(0)
    w, m, v = rng.normal(size=(3, 4)), np.zeros((3, 4)), np.zeros((3, 4))
    params = {"kernel": jnp.asarray(w, jnp.float32)}
    optimizer = optim.make_optimizer({"rate": 0.01, "weight_decay": 0.1}, 10)
    state = optimizer.init(params)
    for t in range(1, 4):
        g = rng.normal(size=(3, 4))
        updates, state = optimizer.update({"kernel": jnp.asarray(g, jnp.float32)}, state, params)
        params = optax.apply_updates(params, updates)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        adam = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        w = w - 0.01 * (adam + 0.1 * w)
    np.testing.assert_allclose(params["kernel"], w, rtol=1e-4)


def test_relative_steps_are_shares_of_a_channel() -> None:
    """Channels a thousandfold apart change by the same share; one of zeros can still be learnt."""
    kernel = jnp.stack([jnp.full(6, 1000.0), jnp.full(6, -0.5), jnp.zeros(6)], axis=-1)
    params = {"kernel": kernel.reshape(2, 3, 3), "bias": jnp.array([3.0, 0.0, 4.0])}
    config = {"name": "relative_adamw", "rate": 0.01}
    optimizer = optim.make_optimizer(config, 10)
    gradients = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    expected = -0.01 * jnp.broadcast_to(jnp.array([1000.0, 0.5, optim.LEAST_RMS]), (2, 3, 3))
    np.testing.assert_allclose(updates["kernel"], expected, rtol=1e-5)
    np.testing.assert_allclose(updates["bias"], -0.01 * np.sqrt(25 / 3), rtol=1e-5)


def test_multipliers_scale_and_freeze_by_the_longest_prefix() -> None:
    config = {"name": "sgd", "rate": 0.1, "multipliers": {"stem": 0.0, "stem/conv/bias": 0.5}}
    params, state = step(optim.make_optimizer(config, 10))
    np.testing.assert_array_equal(params["stem"]["conv"]["kernel"], 1)
    full = 1 - params["head"]["kernel"][0, 0]
    np.testing.assert_allclose(1 - params["stem"]["conv"]["bias"], 0.5 * full, rtol=1e-5)
    kept = {leaf.shape for leaf in jax.tree.leaves(state)}
    assert (3, 2) in kept
    assert (2, 3) not in kept, "a frozen leaf has no momentum"


def test_frozen_leaves_do_not_count_in_the_norm() -> None:
    huge = {**GRADS, "stem": jax.tree.map(lambda x: x * 1e6, GRADS["stem"])}
    config = {"name": "sgd", "rate": 0.1, "clip": 0.1, "multipliers": {"stem": 0}}
    optimizer = optim.make_optimizer(config, 10)
    np.testing.assert_array_equal(
        step(optimizer, huge)[0]["head"]["kernel"], step(optimizer)[0]["head"]["kernel"]
    )


def test_clip_bounds_the_update() -> None:
    params, _ = step(optim.make_optimizer({"name": "sgd", "rate": 1.0, "clip": 0.1}, 10))
    change = optax.tree.norm(jax.tree.map(jnp.subtract, PARAMS, params))
    assert float(change) == pytest.approx(0.1 * 1.9, rel=1e-5)  # Nesterov: 1 + 0.9 at first


def test_a_prefix_of_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"multipliers\['stm'\].*parameters: head, stem"):
        optim.make_optimizer({"multipliers": {"stm": 0.1}}, 10).init(PARAMS)
    with pytest.raises(ConfigError):  # a whole name, not a beginning of one
        optim.make_optimizer({"multipliers": {"ste": 0.1}}, 10).init(PARAMS)


@pytest.mark.parametrize("multipliers", [{}, {"stem": 0.0}])
def test_accumulation_equals_the_larger_batch(multipliers: dict) -> None:
    rng = np.random.default_rng(1)
    parts = [jax.tree.map(lambda x: rng.normal(size=x.shape), PARAMS) for _ in range(4)]
    one = optim.make_optimizer({"rate": 0.1, "clip": 1.0, "multipliers": multipliers}, 10)
    mean = jax.tree.map(lambda *leaves: jnp.asarray(np.mean(leaves, 0), jnp.float32), *parts)
    wanted, _ = step(one, mean)
    config = {"rate": 0.1, "clip": 1.0, "accumulate": 4, "multipliers": multipliers}
    many = optim.make_optimizer(config, 40)
    params, state, update = PARAMS, many.init(PARAMS), jax.jit(many.update)
    for number, part in enumerate(parts):
        assert number == 0 or jax.tree.all(jax.tree.map(np.array_equal, params, PARAMS))
        grads = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), part)
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), params, wanted)


def test_accumulated_batches_weigh_by_their_counts() -> None:
    """Four batches of a weighted loss, one of them without rows, as one large batch."""
    rng = np.random.default_rng(2)
    x, labels = rng.normal(size=(4, 6, 3)).astype(np.float32), rng.integers(0, 2, (4, 6))
    weight = rng.uniform(0.2, 2, (4, 6)) * (rng.random((4, 6)) < 0.6)
    weight[1], classes = 0, np.array([1.0, 5.0], np.float32)
    params = {"kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)}

    def grad(x, labels, weight):
        def loss(params):
            return losses.cross_entropy(x @ params["kernel"], labels, classes, mask=weight)

        return jax.grad(loss)(params), losses.row_weights(labels, 2, classes, weight).sum()

    one, many = (
        optim.make_optimizer({"name": "sgd", "rate": 1.0, "accumulate": k}, 4 * k) for k in (1, 4)
    )
    whole, _ = grad(x.reshape(24, 3), labels.ravel(), weight.ravel())
    wanted, _ = step(one, whole, params)
    state, update, found = many.init(params), jax.jit(many.update), params
    for _ in range(2):  # nothing is left over for the second update
        found, inner = params, state.inner_opt_state
        for part in range(4):
            grads, counted = grad(x[part], labels[part], weight[part])
            updates, state = update(grads, state, found, weight=counted)
            found = optax.apply_updates(found, updates)
        np.testing.assert_allclose(found["kernel"], wanted["kernel"], rtol=1e-5)
        assert float(state.weight) == int(state.mini_step) == 0
        state = state._replace(inner_opt_state=inner)  # without the momentum of the first
    assert int(state.gradient_step) == 2


def test_a_warm_up_that_never_ends_is_refused() -> None:
    for decay in ("onecycle", "cosine", "constant"):
        assert rates(10, warmup=9, decay=decay).max() == pytest.approx(2.0)
        for warmup in (10, 15):
            with pytest.raises(ConfigError, match=r"optimizer.warmup: .*below train.steps \(10\)"):
                rates(10, warmup=warmup, decay=decay)


def test_moving_average() -> None:
    first = optim.moving_average({"a": jnp.zeros(2)}, {"a": jnp.ones(2)}, 0.99, jnp.int32(0))
    np.testing.assert_allclose(first["a"], 0.9, rtol=1e-6)
    late = optim.moving_average({"a": jnp.zeros(2)}, {"a": jnp.ones(2)}, 0.99, jnp.int32(10**6))
    np.testing.assert_allclose(late["a"], 0.01, rtol=1e-4)
    count = optim.moving_average({"n": jnp.int32(1)}, {"n": jnp.int32(4)}, 0.9, jnp.int32(10**6))
    assert (count["n"], count["n"].dtype) == (4, jnp.int32)
