"""A detector's graph in 8 bits: smaller, near, and measured through the whole path."""

import dataclasses

import jax
import numpy as np
import pytest

from bodyjax import detect, tasks
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import DataError, UserError
from bodyjax.export import int8, onnx_file, parity
from bodyjax.export.program import Program
from configs.pose import get_config
from tests.export import needs
from tests.picture_sets import people_set
from tests.random_variables import drawn
from tests.tiny_detector import untrained


def test_maps_of_a_program_take_the_place_of_the_network(monkeypatch):
    """The detector with maps computed elsewhere finds what the detector itself finds."""
    checkpoint = untrained()
    detector = detect.make(
        tasks.systems.build(checkpoint.config),
        checkpoint.variables,
        detect.merged(dict(checkpoint.config.detect)),
    )
    network = tasks.network(checkpoint.config)
    program = Program(
        b"", lambda arrays: network.run(checkpoint.variables, arrays["pixels"]), {}, {}
    )
    (example,) = parity.examples(network.inputs, count=1)
    canvas = example["pixels"][0].astype(np.uint8)
    ours = detector.predict(detector.variables, canvas)
    theirs = int8.with_maps_of(detector, program).predict({}, canvas)
    for name, one, other in zip(ours._fields, ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3, err_msg=name)


@pytest.mark.slow
def test_heads_alone_have_no_fields():
    """The form of `phone`, whose network gives no fields."""
    config = get_config("phone")
    config.model.backbone, config.detect.size = "mobilenet_v2_short_1_0", 64
    with config.unlocked():
        del config.distill
    system = tasks.systems.build(config)
    checkpoint = Checkpoint(drawn(system), config, "pose", "coco17")
    network, run = tasks.network(config), jax.jit(tasks.network(config).run)
    assert "pafs" not in jax.eval_shape(network.run, checkpoint.variables, *network.inputs.values())
    program = Program(b"", lambda arrays: run(checkpoint.variables, arrays["pixels"]), {}, {})
    detector = detect.load(checkpoint)
    canvas = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    ours = jax.device_get(detector.predict(detector.variables, canvas))
    theirs = jax.device_get(int8.with_maps_of(detector, program).predict({}, canvas))
    assert ours.count > 0
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_eight_bits_are_a_third_of_the_file_and_near(tmp_path):
    needs.jax2onnx()
    checkpoint = untrained()
    whole = onnx_file.program(tasks.network(checkpoint.config), checkpoint.variables)
    data = people_set(tmp_path / "people")
    small = int8.program(checkpoint, whole, data)
    assert len(small.data) < 0.4 * len(whole.data)
    found = parity.differences(whole.run, small.run, parity.examples(whole.inputs, count=2))
    assert 1e-4 < max(found.values()) < 0.3
    cost = int8.cost(checkpoint, whole, small, data, None)
    assert cost["pictures"] == 4
    light = int8.weights(checkpoint, whole)
    assert len(light.data) < 0.4 * len(whole.data)
    nearer = parity.differences(whole.run, light.run, parity.examples(whole.inputs, count=2))
    assert 1e-5 < max(nearer.values()) < 0.5 * max(found.values())
    half = onnx_file.of_graph(onnx_file.halved(whole.data))
    assert len(small.data) < len(half.data) < 0.7 * len(whole.data)
    halved = int8.cost(checkpoint, whole, half, data, None, "float16")
    assert halved["float32"] == cost["float32"]
    assert abs(halved["float16"] - cost["float32"]) <= abs(cost["int8"] - cost["float32"])


def test_calibration_takes_no_picture_that_is_measured(tmp_path, monkeypatch):
    data = people_set(tmp_path / "people")
    rows = list(int8.calibration(data, (64, 64)))
    assert len(rows) == 3  # the fourth is of the test side
    assert rows[0]["pixels"].shape == (1, 64, 64, 3)
    source = int8.pictures(data)
    heldout = dataclasses.replace(source, heldout=np.ones(4, bool))
    monkeypatch.setattr(int8, "pictures", lambda data: heldout)
    with pytest.raises(DataError, match="has no training side"):
        next(int8.calibration(data, (64, 64)))


def test_too_great_a_cost_is_refused():
    int8.check(0.95, 0.9, "f")
    with pytest.raises(UserError, match=r"int8 keeps 0\.850 of the PCK, less than 0\.9"):
        int8.check(0.85, 0.9, "f")
    with pytest.raises(UserError, match=r"float16 keeps 0\.850.*nothing is written; take --least"):
        int8.check(0.85, 0.9, "f", "float16")
