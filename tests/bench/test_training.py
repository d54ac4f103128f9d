"""The training step that is timed is the engine's, with the optimizer of the config."""

import jax
import numpy as np

from bodyjax.bench import training
from tests.engine.toy import Points, Toy


def test_the_timed_step_updates_what_the_config_s_optimizer_updates():
    system = Toy()
    variables = training.variables_of(system)
    config = {
        "optimizer": {"name": "sgd", "rate": 0.1, "ema": 0.9, "multipliers": {"first": 0.0}},
        "train": {"steps": 50},
    }
    before = jax.tree.map(np.array, variables["params"])
    timed = training.step(config, system, variables, Points().make(0, 8))
    state, token = timed.outputs
    runs = int(state.step)
    assert runs >= 4  # one to warm up, three that are timed
    np.testing.assert_array_equal(state.params["first"]["kernel"], before["first"]["kernel"])
    assert np.abs(state.params["last"]["kernel"] - before["last"]["kernel"]).max() > 1e-3
    assert set(state.ema) == set(state.params)
    # every run went on from the state that the one before gave
    assert float(state.window.sums["loss"][1]) == runs
    assert np.isfinite(float(token))
