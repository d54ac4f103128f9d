"""Many trainings at once: plans, weights, and runs that are the engine's own steps."""

import jax
import numpy as np
import pytest

from bodyjax.engine import mesh, optim, settings
from bodyjax.engine import step as steps
from bodyjax.errors import UserError
from bodyjax.systems.sequence import build
from bodyjax.train import cross_validation, parallel_runs
from tests.engine.toy import Points, Toy
from tests.train.rising_clips import config, made


def test_plan_sees_every_row_once_an_epoch():
    rows = np.arange(3, 25)
    plan = parallel_runs.plan(rows, 4, 11, seed=1)
    assert plan.shape == (11, 4)
    epochs = plan.ravel().reshape(2, 22)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), rows)
    assert (epochs[0] != epochs[1]).any()
    np.testing.assert_array_equal(plan, parallel_runs.plan(rows, 4, 11, seed=1))
    assert (plan != parallel_runs.plan(rows, 4, 11, seed=2)).any()


def test_balanced_weights():
    labels = np.array([0, 0, 0, 1, 0, 1, 1])
    condition = np.array([0, 0, 0, 0, 1, 1, 1])
    train = np.array([0, 1, 2, 3, 4, 5])
    weights = parallel_runs.balanced(labels, condition, train)
    np.testing.assert_allclose(weights[:3].sum(), weights[3], rtol=1e-6)
    np.testing.assert_allclose(weights[4], weights[5], rtol=1e-6)
    np.testing.assert_allclose(weights[train].mean(), 1, rtol=1e-6)


@pytest.mark.parametrize("together", [False, True])
def test_a_run_is_the_engines_steps(together):
    """Statistics, dropout, frozen parameters, moving average and accumulation as under fit."""
    toy, data = Toy(), Points().make(5, 40)
    plans = np.stack([parallel_runs.plan(np.arange(40), 8, 12, seed) for seed in (0, 1, 2)])
    weights, seeds = np.ones((3, 40), np.float32), [7, 8, 9]
    chosen = settings.optimizer(
        {"rate": 0.02, "decay": "cosine", "clip": 1.0, "ema": 0.9, "accumulate": 2}
    )
    found = parallel_runs.train_runs(
        toy, data, plans, weights, seeds, chosen, chunk=5, together=together
    )
    transform, place = optim.make_optimizer(chosen, 12), mesh.one_device()
    for run, seed in enumerate(seeds):
        variables = jax.jit(toy.init)(jax.random.key(seed))
        key, shapes = jax.random.fold_in(jax.random.key(seed), 1), steps.shapes(toy.batch_spec(8))
        state = steps.init_state(toy, transform, variables, shapes, key, ema=True)
        step = steps.make_step(toy, transform, chosen, state, variables["frozen"], place)
        for rows in plans[run]:
            batch = {name: array[rows] for name, array in data.items()}
            state, _ = step(state, variables["frozen"], batch)
        wanted = {"params": state.ema, "batch_stats": state.ema_stats}
        for name, tree in wanted.items():
            mine = jax.tree.map(lambda leaf, run=run: leaf[run], found[name])
            for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(tree), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("together", [False, True])
def test_a_loss_that_is_no_number_ends_the_runs(together):
    data = Points().make(5, 16)
    data["x"][9, 0] = 77.0
    plans = np.tile(np.arange(8, dtype=np.int32), (2, 6, 1))
    plans[1, 3, 0] = 9  # the second run meets it at its fourth step
    with pytest.raises(UserError, match=r"loss of run 2 or its gradient is not .* at step 4;? "):
        parallel_runs.train_runs(
            Toy(bad_value=77.0), data, plans, np.ones((2, 16), np.float32), [0, 1],
            settings.optimizer({}), chunk=5, together=together,
        )  # fmt: skip


@pytest.mark.slow
def test_one_by_one_is_together():
    data = made()
    values = cross_validation.complete(config(), data)
    system = build(values)
    plans = np.stack([parallel_runs.plan(np.arange(40), 8, 6, seed) for seed in (0, 1)])
    weights = np.ones((2, 60), np.float32)
    optimizer = settings.optimizer(values["optimizer"])
    both = [
        parallel_runs.train_runs(
            system, data.arrays(), plans, weights, [3, 4], optimizer, chunk=3, together=together
        )
        for together in (True, False)
    ]
    for one, two in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(one, two, atol=2e-3)


def test_accumulated_batches_are_one_large_batch_of_weighted_rows():
    data = made()
    steady = config(augment={})
    values = cross_validation.complete(steady, data)
    system, rng = build(values), np.random.default_rng(3)
    large = parallel_runs.plan(np.arange(60), 16, 4, 0)[None]
    weights = rng.uniform(0.1, 3, (1, 60)).astype(np.float32)
    found = []
    for every in (1, 2):
        optimizer = settings.optimizer({**values["optimizer"], "ema": 0.9, "accumulate": every})
        plans = large.reshape(1, 4 * every, 16 // every)
        found.append(
            parallel_runs.train_runs(
                system, data.arrays(), plans, weights, [3], optimizer, chunk=8, together=False
            )
        )
    for one, two in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)
