"""A network as .tflite gives what XLA gives."""

import jax
import numpy as np
import pytest

from bodyjax import tasks
from bodyjax.contract import Network
from bodyjax.errors import UserError
from bodyjax.export import parity, tflite_file
from tests.tiny_detector import untrained


@pytest.fixture(autouse=True)
def _litert():
    for name in ("litert_converter", "ai_edge_litert"):
        pytest.importorskip(name, reason='pip install "bodyjax[tflite]"')


def test_a_detector():
    checkpoint = untrained()
    network = tasks.network(checkpoint.config)
    program = tflite_file.program(network, checkpoint.variables)
    run = jax.jit(network.run)
    found = parity.differences(
        lambda arrays: run(checkpoint.variables, *arrays.values()),
        program.run,
        parity.examples(program.inputs, count=2),
    )
    assert found.keys() == {"heatmaps", "pafs"}
    assert max(found.values()) < 1e-4


def test_a_step_that_it_lacks_is_one_line():
    network = Network(
        lambda variables, x: {"y": jax.numpy.sort(x)},
        {"x": jax.ShapeDtypeStruct((1, 5), np.float32)},
        {},
    )
    with pytest.raises(UserError, match="tflite can't hold") as error:
        tflite_file.program(network, {})
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_step_that_the_converter_fails_at_is_found():
    """The converter names no step for this one; without it there is nothing to find."""

    def function(x, *, turns):
        y = jax.numpy.sin(x) * 2
        return jax.lax.while_loop(lambda y: y[0] < 9, lambda y: y + 1, y) if turns else y - 1

    x = jax.ShapeDtypeStruct((5,), np.float32)
    traced = jax.make_jaxpr(lambda x: 3 * function(x, turns=True))(x)
    assert tflite_file.lacking(traced) == "while"
    assert tflite_file.lacking(jax.make_jaxpr(lambda x: function(x, turns=False))(x)) == ""
