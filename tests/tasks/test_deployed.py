"""What users call of a system: which function, from what, to what. Shapes alone, nothing runs."""

import jax
import pytest

from bodyjax import systems, tasks
from bodyjax.detect import Detections
from bodyjax.engine.step import shapes
from bodyjax.errors import ConfigError
from bodyjax.recognize import Result
from tests.test_lowering import CONFIGS, small_movement, small_pose, small_sequence


def called(config):
    """(system, what is deployed, its result in shapes)."""
    system, found = systems.build(config), tasks.deployed(config)
    variables = jax.eval_shape(system.init, jax.random.key(0))
    return system, found, jax.eval_shape(found.run, variables, *found.inputs)


def test_a_detector_gives_the_people_of_a_canvas():
    config = small_pose()
    config.detect = {"size": 128, "max_people": 3}
    _, found, people = called(config)
    (canvas,) = found.inputs
    assert (canvas.shape, str(canvas.dtype)) == ((128, 128, 3), "uint8")
    assert isinstance(people, Detections)
    assert people.xy.shape == (3, 18, 2)


def test_a_movement_classifier_gives_the_movement_of_frames():
    config = small_movement()
    config.data.samples = 3
    _, found, result = called(config)
    (frames,) = found.inputs
    assert (frames.shape, str(frames.dtype)) == ((6, 64, 64, 3), "uint8")
    assert isinstance(result, Result)
    assert (result.label.shape, result.probability.shape) == ((), (2,))


def test_a_movement_classifier_of_joints_predicts_from_them():
    config = small_movement()
    config.model.input = "joints"
    _, found, result = called(config)
    assert set(found.inputs[0]) == {"xy", "score"}
    assert result["probability"].shape == (1, 2)


def test_a_system_whose_file_offers_nothing_predicts_a_batch_of_one():
    system, found, result = called(small_sequence())
    assert found.inputs[0].keys() == system.input_spec(1).keys()
    assert result["probability"].shape == (1, 2)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_prediction_needs_no_labels(name):
    system = systems.build(CONFIGS[name]())
    inputs = system.input_spec(4)
    assert not inputs.keys() & {"label", "joint_mask", "area_mask", "xyz", "maps"}
    variables = jax.eval_shape(system.init, jax.random.key(0))
    assert jax.eval_shape(system.predict, variables, shapes(inputs))  # they are enough


@pytest.mark.parametrize("name", CONFIGS)
def test_every_system_says_a_network_of_arrays_for_a_batch_of_one(name):
    config = CONFIGS[name]()
    network = tasks.network(config)
    variables = jax.eval_shape(systems.build(config).init, jax.random.key(0))
    results = jax.eval_shape(network.run, variables, *network.inputs.values())
    ends = {**network.inputs, **results}
    assert {leaf.shape[0] for leaf in ends.values()} == {1}
    assert ends.keys() <= network.says.keys()


def test_a_network_is_computed_as_other_runtimes_do():
    config = small_pose()
    config.train.compute_dtype, config.model.depthwise = "bfloat16", "shifted"
    changed = tasks.portable(config)
    assert (changed.train.compute_dtype, changed.model.depthwise) == ("float32", "grouped")
    assert (config.train.compute_dtype, config.model.depthwise) == ("bfloat16", "shifted")


def test_a_system_without_a_network_says_what_to_do(monkeypatch):
    monkeypatch.setattr(tasks, "offered", lambda system, function: None)
    with pytest.raises(ConfigError, match=r"write `network\(config\)`.*--format stablehlo"):
        tasks.network(small_pose())
