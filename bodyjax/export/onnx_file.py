"""A network as ONNX, by jax2onnx and our mends: runs in ONNX Runtime, in browsers and on phones.

What jax2onnx makes of our networks as they are is right but slow: matrix products where a runtime
wants convolutions, norms as steps of their own. So it gets a function that `rewritten.simplified`
has prepared; ONNX Runtime's basic optimiser, whose result every runtime reads, joins what belongs
together; `onnx_graph` mends the rest. `small` at 192 pixels takes 0.57 of its time then.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bodyjax.contract import Network, Variables
from bodyjax.export import fetched, onnx_graph, parity, rewritten
from bodyjax.export.program import Arrays, Program, Shape

OPSET = 21
"""Of ONNX 1.16 (2024): what runtimes of that year read."""


def program(network: Network, variables: Variables, *, float16: bool = False) -> Program:
    """The network with these variables inside, for batches of any size if that gives the same
    results, otherwise of 1. UserError names a step that ONNX can't hold.

    float16: the file holds large weights in half precision; computing stays float32."""
    graph, fixed = converted(network, variables), ""
    pair = list(parity.examples(network.inputs, count=2))
    freed = with_free_batch(graph, network, pair)
    if freed is None:
        fixed = "two examples at once give other results than one by one"
    graph = freed or graph
    return of_graph(halved(graph) if float16 else graph, fixed)


def of_graph(graph: bytes, fixed: str = "") -> Program:
    """A graph's bytes as a program."""
    return Program(graph, session(graph), *described(graph), fixed)


def converted(network: Network, variables: Variables) -> bytes:
    """The graph of a batch of one. UserError names a step that ONNX can't hold, or the
    packages that are missing."""
    fetched.need(fetched.ONNX, "onnx")
    import onnx

    names, shapes = list(network.inputs), list(network.inputs.values())
    results = jax.eval_shape(network.run, variables, *shapes)

    def of_inputs(*inputs: Any) -> list[Any]:
        out = network.run(variables, *inputs)
        return [out[name] for name in results]

    run = rewritten.simplified(of_inputs, *shapes)
    with fetched.jax2onnx() as jax2onnx:
        try:
            model = jax2onnx.to_onnx(
                lambda *inputs: tuple(run(*inputs)), shapes, opset=OPSET, model_name="bodyjax",
                input_names=names, output_names=list(results),
            )  # fmt: skip
        except Exception as error:  # converters raise whatever comes up
            raise fetched.unsupported(error, "ONNX") from error
    del model.graph.value_info[:]
    model = onnx.load_from_string(optimised(model.SerializeToString()))
    onnx_graph.tidy(model)
    return model.SerializeToString()


def optimised(graph: bytes) -> bytes:
    """The graph after ONNX Runtime's basic optimiser: constants computed, transposes of inverse
    order removed, offsets joined to convolutions; steps of ONNX alone."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        options = quiet_options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(file)
        try:
            onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of onnxruntime's own types, which it does not name
            raise fetched.unsupported(error, "ONNX Runtime") from error
        return file.read_bytes()


def with_free_batch(graph: bytes, network: Network, examples: Sequence[Arrays]) -> bytes | None:
    """The graph for any batch; None if it does not give for two examples at once what it gives for
    each."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph))
    onnx_graph.free_batch(model)
    del model.graph.value_info[:]
    freed: bytes = model.SerializeToString()
    one, together = session(graph), None
    try:
        pair = {name: np.concatenate([e[name] for e in examples[:2]]) for name in network.inputs}
        together = session(freed)(pair)
    except Exception:  # a size that is still fixed: any step may refuse it
        return None
    for number, example in enumerate(examples[:2]):
        for name, value in one(example).items():
            other = together[name][number : number + 1]
            if other.shape != value.shape or not np.allclose(other, value, atol=1e-4, rtol=1e-4):
                return None
    return freed


def halved(graph: bytes) -> bytes:
    """The graph with weights in half precision."""
    import onnx

    model = onnx.load_from_string(graph)
    onnx_graph.halve(model)
    found: bytes = model.SerializeToString()
    return found


def described(graph: bytes) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Shapes of the inputs and of the outputs."""
    import onnx

    model = onnx.load_from_string(graph)

    def shape(end: Any) -> Shape:
        tensor = end.type.tensor_type
        sizes = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
        return Shape(sizes, str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))

    ends = (model.graph.input, model.graph.output)
    first, second = ({end.name: shape(end) for end in some} for some in ends)
    return first, second


def quiet_options() -> Any:
    """Options of ONNX Runtime that keep its warnings from the terminal."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised as well
    return options


def session(graph: bytes, threads: int = 0) -> Callable[[Arrays], Arrays]:
    """run({input: array}) -> {output: array} by ONNX Runtime on the CPU; threads 0: as many as it
    likes."""
    import onnxruntime

    options = quiet_options()
    options.intra_op_num_threads = threads
    made = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    inputs = [end.name for end in made.get_inputs()]
    outputs = [end.name for end in made.get_outputs()]

    def run(arrays: Arrays) -> Arrays:
        results = made.run(outputs, {name: np.asarray(arrays[name]) for name in inputs})
        return dict(zip(outputs, results, strict=True))

    return run
