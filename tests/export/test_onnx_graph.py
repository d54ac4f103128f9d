"""Mends of small graphs; ONNX Runtime says that the results stay."""

import numpy as np
import pytest

from bodyjax.export import onnx_file, onnx_graph
from tests.export import needs

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _onnx():
    needs.onnx()


def graph(nodes, constants, shape, out):
    """A model of x (shape) -> y (out); nodes are (kind, inputs, outputs, attributes)."""
    from onnx import TensorProto, helper, numpy_helper

    made = helper.make_graph(
        [helper.make_node(kind, ins, outs, **more) for kind, ins, outs, more in nodes], "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", onnx_file.OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=10)


def run(model, x):
    return onnx_file.session(model.SerializeToString(), 1)({"x": x})["y"]


def kinds(model):
    return [node.op_type for node in model.graph.node]


def test_largest_and_smallest_become_what_runtimes_fuse():
    constants = {"zero": np.float32([0.0]), "six": np.float32(6.0), "one": np.float32(1.0)}
    nodes = [
        ("Max", ["x", "zero"], ["a"], {}),
        ("Min", ["six", "a"], ["b"], {}),
        ("Max", ["b", "one"], ["c"], {}),
        ("Max", ["zero", "c"], ["y"], {}),
    ]
    model = graph(nodes, constants, [2, 3], [2, 3])
    x = RNG.normal(scale=5, size=(2, 3)).astype(np.float32)
    before = run(model, x)
    onnx_graph.tidy(model)
    assert kinds(model) == ["Clip", "Max", "Relu"]
    assert [one.domain for one in model.opset_import] == [""]
    np.testing.assert_array_equal(run(model, x), before)


def test_a_value_that_others_read_is_not_clipped_away():
    constants = {"zero": np.float32(0.0), "six": np.float32(6.0)}
    nodes = [
        ("Max", ["x", "zero"], ["a"], {}),
        ("Min", ["a", "six"], ["b"], {}),
        ("Add", ["a", "b"], ["y"], {}),
    ]
    model = graph(nodes, constants, [4], [4])
    x = np.float32([-1, 2, 7, 9])
    onnx_graph.tidy(model)
    np.testing.assert_array_equal(run(model, x), [0, 4, 13, 15])


def test_a_product_loses_an_offset_of_zero_only():
    weights = RNG.normal(size=(3, 2)).astype(np.float32)
    constants = {"w": weights, "v": weights.T, "none": np.float32(0.0), "some": np.float32([1, 2])}
    nodes = [
        ("Gemm", ["x", "w", "some"], ["a"], {}),
        ("Gemm", ["a", "v", "none"], ["y"], {}),
    ]
    model = graph(nodes, constants, [1, 3], [1, 3])
    x = RNG.normal(size=(1, 3)).astype(np.float32)
    before = run(model, x)
    onnx_graph.tidy(model)
    assert [len(node.input) for node in model.graph.node] == [3, 2]
    np.testing.assert_allclose(run(model, x), before, atol=1e-6)


def test_the_batch_becomes_free_where_sizes_held_it():
    from onnx import shape_inference

    constants = {
        "fixed": np.int64([1, 4, 6]), "starts": np.int64([0, 1]), "ends": np.int64([1, 3]),
        "axes": np.int64([0, 1]), "row": np.ones((1, 1, 6), np.float32),
        "sizes": np.int64([1, 3, 12]), "stage": np.int64([1, 1, 3, 12]), "first": np.int64([0]),
    }  # fmt: skip
    nodes = [
        ("Reshape", ["x", "fixed"], ["a"], {}),
        ("Slice", ["a", "starts", "ends", "axes"], ["b"], {}),
        ("Concat", ["b", "row"], ["c"], {"axis": 1}),
        ("Resize", ["c", "", "", "sizes"], ["d"], {"mode": "linear"}),
        ("Reshape", ["d", "stage"], ["e"], {}),
        ("Squeeze", ["e", "first"], ["y"], {}),
    ]
    model = graph(nodes, constants, [1, 24], [1, 3, 12])
    x = RNG.normal(size=(3, 24)).astype(np.float32)
    each = np.concatenate([run(model, row[None]) for row in x])
    model = shape_inference.infer_shapes(model)
    onnx_graph.free_batch(model)
    del model.graph.value_info[:]
    np.testing.assert_allclose(run(model, x), each, atol=1e-6)


def test_new_constants_never_take_the_name_of_others():
    model = graph([("Add", ["x", "constant_2"], ["y"], {})], {"constant_2": np.ones(3, np.float32)},
                  [3], [3])  # fmt: skip
    names = [onnx_graph._constant(model, np.float32([n])) for n in range(3)]
    del model.graph.initializer[1]  # as where a constant is no longer read
    names = [*names[1:], onnx_graph._constant(model, np.float32([3.0]))]
    assert len({"constant_2", *names}) == 4


def test_halves_are_stored_and_computing_stays_whole():
    weights = RNG.normal(size=(20, 30)).astype(np.float32)
    model = graph([("MatMul", ["x", "w"], ["y"], {})], {"w": weights}, [1, 20], [1, 30])
    x = RNG.normal(size=(1, 20)).astype(np.float32)
    size = len(model.SerializeToString())
    onnx_graph.halve(model)
    assert len(model.SerializeToString()) < 0.6 * size
    found = run(model, x)
    assert found.dtype == np.float32
    half = weights.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(found, x @ half, atol=1e-5)


def test_kernels_in_bytes_have_a_scale_a_channel_and_run_in_float():
    from onnx import numpy_helper

    # Channels of very different size: one scale for all would leave nothing of the first.
    size = np.float32([0.01, 1, 0, 100]).reshape(4, 1, 1, 1)
    kernel = (RNG.normal(size=(4, 64, 3, 3)) * size).astype(np.float32)
    rest = RNG.normal(size=(1, 4, 1, 1)).astype(np.float32)
    nodes = [("Conv", ["x", "kernel"], ["c"], {"pads": [1, 1, 1, 1]}),
             ("Add", ["c", "rest"], ["y"], {})]  # fmt: skip
    model = graph(nodes, {"kernel": kernel, "rest": rest}, [1, 64, 5, 5], [1, 4, 5, 5])
    x = RNG.normal(size=(1, 64, 5, 5)).astype(np.float32)
    before, bytes_before = run(model, x), model.ByteSize()
    onnx_graph.in_bytes(model)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert stored["kernel_int8"].dtype == np.int8
    assert model.ByteSize() < 0.3 * bytes_before
    held = stored["kernel_int8"] * stored["kernel_scale"]
    step = np.abs(kernel).max((1, 2, 3), keepdims=True) / 127
    assert (np.abs(held - kernel) <= 0.5001 * step).all()
    np.testing.assert_array_equal(stored["rest"], rest)
    after = run(model, x)
    spread = before.std((0, 2, 3))
    error = np.abs(after - before).max((0, 2, 3))
    assert (error[[0, 1, 3]] < 0.05 * spread[[0, 1, 3]]).all()
    assert error[2] == 0
