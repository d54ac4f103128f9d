"""Networks as ONNX give what XLA gives, for any batch, and pass ONNX's own checks."""

import jax
import numpy as np
import pytest

from bodyjax import tasks
from bodyjax.contract import Network
from bodyjax.errors import UserError
from bodyjax.export import onnx_file, parity
from configs import lifter
from tests import tiny_classifier
from tests.export import needs
from tests.random_variables import drawn
from tests.test_lowering import small_sequence
from tests.tiny_detector import untrained


@pytest.fixture(autouse=True)
def _jax2onnx():
    needs.jax2onnx()


def compared(network, variables, **options):
    """The program, and its largest difference from ours."""
    import onnx

    program = onnx_file.program(network, variables, **options)
    onnx.checker.check_model(onnx.load_from_string(program.data), full_check=True)
    run = jax.jit(network.run)
    found = parity.differences(
        lambda arrays: run(variables, *arrays.values()),
        program.run,
        parity.examples(program.inputs, count=3),
    )
    return program, max(found.values())


def test_a_detector_with_norms_pooling_and_excitation():
    checkpoint = untrained()
    network = tasks.network(checkpoint.config)
    program, worst = compared(network, checkpoint.variables)
    assert worst < 1e-5
    assert program.fixed == ""
    assert program.inputs["pixels"].shape == ("batch", 64, 64, 3)
    assert program.outputs["heatmaps"].shape == ("batch", 8, 8, 18)
    half, rounded = compared(network, checkpoint.variables, float16=True)
    assert len(half.data) < 0.6 * len(program.data)
    assert 1e-6 < rounded < 1e-2


def test_a_movement_classifier_from_maps():
    network = tasks.network(tiny_classifier.config())
    program, worst = compared(network, tiny_classifier.variables())
    assert worst < 1e-5
    assert program.inputs["maps"].shape == (1, 4, 8, 12, 18)
    assert program.outputs["probability"].shape == (1, 4)


def test_a_scorer_from_joints():
    config = small_sequence()
    program, worst = compared(tasks.network(config), drawn(tasks.systems.build(config)))
    assert worst < 1e-5
    assert list(program.inputs) == ["joints", "visible", "score", "length", "size"]
    assert program.outputs["attention"].shape == (1, 5)


@pytest.mark.parametrize("variant", ["tiny", "maps"])
def test_a_lifter_from_a_crop_or_from_joints(variant):
    config = lifter.get_config(variant)
    program, worst = compared(tasks.network(config), drawn(tasks.systems.build(config)))
    assert worst < 1e-4
    assert program.outputs["xyz"].shape[1:] == (17, 3)


def test_a_step_that_onnx_lacks_is_named_in_one_line():
    def run(variables, x):
        return {"y": jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)}

    network = Network(run, {"x": jax.ShapeDtypeStruct((1, 3), np.float32)}, {})
    with pytest.raises(UserError, match="ONNX can't hold the step pure_callback; take --format"):
        onnx_file.program(network, {})
