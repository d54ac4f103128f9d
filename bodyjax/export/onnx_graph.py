"""Mends of an ONNX graph that a converter wrote: steps that runtimes fuse, a free batch, halves.

Each function changes a model in place. The results stay the same, apart from rounding.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

import numpy as np

BATCH = "batch"
"""What the free axis is called."""

LEAST_HALVED = 64
"""Constants with fewer values stay whole: scales and shapes cost nothing."""

Model = Any


def tidy(model: Model) -> None:
    """Only steps of ONNX itself, "Relu" and "Clip" for what was written as largest and smallest,
    products without offsets of 0, and no shapes inside: a converter's are out of date, and strict
    runtimes refuse them."""
    graph = model.graph
    constants = _constants(model)
    uses = Counter(_read(graph))
    uses.update(output.name for output in graph.output)
    makers = {name: node for node in graph.node for name in node.output}

    def bound(node: Any) -> tuple[str, np.ndarray] | None:
        """(value, bound) of a Max or Min with one number."""
        if len(node.input) != 2:
            return None
        for value, limit in (tuple(node.input), tuple(node.input)[::-1]):
            number = constants.get(limit)
            plain = number is not None and number.size == 1 and number.dtype == np.float32
            if number is not None and plain and value not in constants:
                return value, number.reshape(())
        return None

    for node in list(graph.node):
        if node.op_type == "Min" and (upper := bound(node)):
            below = makers.get(upper[0])
            lower = bound(below) if below is not None and below.op_type == "Max" else None
            if below is not None and lower and uses[below.output[0]] == 1:
                ends = [_constant(model, end) for _, end in (lower, upper)]
                _become(node, "Clip", [lower[0], *ends])
                graph.node.remove(below)
    for node in graph.node:
        if node.op_type == "Max" and (lower := bound(node)) and lower[1] == 0:
            _become(node, "Relu", [lower[0]])
        # Quantisation by channel wants an offset for each channel, not a zero for all.
        offset = constants.get(node.input[2]) if len(node.input) > 2 else None
        if node.op_type == "Gemm" and offset is not None and not offset.any():
            _become(node, "Gemm", list(node.input[:2]))
    _unused_constants(model)
    del graph.value_info[:]
    domains = {node.domain for node in graph.node} | {""}
    for known in [one for one in model.opset_import if one.domain not in domains]:
        model.opset_import.remove(known)


def free_batch(model: Model) -> None:
    """The first axis of every input and output becomes free. What a graph for a batch of 1 says of
    that axis is replaced: sizes of reshaping and resizing, constants joined to computed values.
    Whether that was all, running the graph with other batches shows."""
    from onnx import helper

    graph = model.graph
    constants, shapes = _constants(model), _shapes(graph)
    nodes: list[Any] = []
    for number, node in enumerate(graph.node):
        if node.op_type == "Slice":
            _without_whole_axes(model, node, constants, shapes)
        elif node.op_type == "Reshape" and (sizes := constants.get(node.input[1])) is not None:
            if sizes.size and sizes[0] == 1 and -1 not in sizes:
                # A new first axis goes before that of the batch.
                freed, added = sizes.copy(), tuple(sizes[1:]) == shapes.get(node.input[0])
                freed[int(added)] = -1
                node.input[1] = _constant(model, freed)
        elif node.op_type == "Resize" and len(node.input) > 3 and node.input[3]:
            sizes, before = constants.get(node.input[3]), shapes.get(node.input[0])
            if sizes is not None and before is not None:
                scales = _constant(model, np.asarray(sizes / np.array(before), np.float32))
                _become(node, "Resize", [node.input[0], "", scales])
        elif node.op_type == "Concat" and helper.get_node_attr_value(node, "axis") != 0:
            computed = next((name for name in node.input if name not in constants), None)
            for place, name in enumerate(node.input):
                value = constants.get(name)
                if computed and value is not None and value.ndim > 1 and value.shape[0] == 1:
                    made = f"{BATCH}_{number}_{place}"
                    rest = _constant(model, np.array(value.shape[1:], np.int64))
                    nodes += [
                        helper.make_node("Shape", [computed], [f"{made}_size"], start=0, end=1),
                        helper.make_node(
                            "Concat", [f"{made}_size", rest], [f"{made}_shape"], axis=0
                        ),
                        helper.make_node("Expand", [name, f"{made}_shape"], [made]),
                    ]
                    node.input[place] = made
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    for end in (*graph.input, *graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = BATCH
    _unused_constants(model)


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """The fixed shapes that shape inference has noted."""
    found = {}
    for item in (*graph.input, *graph.value_info):
        sizes = tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim)
        if all(sizes):
            found[item.name] = sizes
    return found


def _without_whole_axes(
    model: Model, node: Any, constants: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]
) -> None:
    """A Slice says nothing of axes that it takes whole."""
    shape, given = shapes.get(node.input[0]), [constants.get(name) for name in node.input[1:]]
    if shape is None or len(given) < 3 or any(value is None for value in given):
        return
    starts, ends, axes, *steps = (np.asarray(value) for value in given)
    step = steps[0] if steps else np.ones_like(starts)
    part = (starts != 0) | (step != 1) | (ends < np.array(shape)[axes])
    if part.any():
        kept = [_constant(model, value[part]) for value in (starts, ends, axes, step)]
        _become(node, "Slice", [node.input[0], *kept])
    else:
        _become(node, "Identity", [node.input[0]])


def halve(model: Model) -> None:
    """Large float32 constants as float16, with a Cast before their use: half the file, the same
    speed."""
    from onnx import TensorProto, helper, numpy_helper

    graph, casts = model.graph, []
    for tensor in list(graph.initializer):
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < LEAST_HALVED:
            continue
        half = f"{tensor.name}_half"
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float16), half))
        casts.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])


def in_bytes(model: Model) -> None:
    """Kernels of float32 as int8 with one scale an output channel (the first axis: of convolutions
    and their depthwise form), with Cast and Mul before their use, which a runtime computes once
    when it loads the file: a quarter of the file, the same speed. All else as `halve`."""
    from onnx import TensorProto, helper, numpy_helper

    graph, steps = model.graph, []
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    for tensor in list(graph.initializer):
        value = numpy_helper.to_array(tensor)
        if tensor.name not in kernels or value.dtype != np.float32 or value.size < LEAST_HALVED:
            continue
        each = (-1, *(1,) * (value.ndim - 1))
        scale = np.abs(value.reshape(len(value), -1)).max(1).reshape(each) / 127
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        names = [f"{tensor.name}_{part}" for part in ("int8", "scale", "plain")]
        graph.initializer.remove(tensor)
        whole = np.rint(value / scale).astype(np.int8)
        graph.initializer.append(numpy_helper.from_array(whole, names[0]))
        graph.initializer.append(numpy_helper.from_array(scale, names[1]))
        steps.append(helper.make_node("Cast", names[:1], names[2:], to=TensorProto.FLOAT))
        steps.append(helper.make_node("Mul", [names[2], names[1]], [tensor.name]))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*steps, *nodes])
    halve(model)


def _become(node: Any, kind: str, inputs: list[str]) -> None:
    node.op_type = kind
    del node.input[:]
    node.input.extend(inputs)


def _constants(model: Model) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _constant(model: Model, value: np.ndarray) -> str:
    from onnx import numpy_helper

    taken = {tensor.name for tensor in model.graph.initializer}
    name = next(name for n in count(len(taken)) if (name := f"constant_{n}") not in taken)
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _unused_constants(model: Model) -> None:
    """Removes constants that no step reads."""
    read = set(_read(model.graph)) | {out.name for out in model.graph.output}
    for tensor in [one for one in model.graph.initializer if one.name not in read]:
        model.graph.initializer.remove(tensor)


def _read(graph: Any) -> list[str]:
    """What steps read, those of inner graphs included."""
    names: list[str] = []
    for node in graph.node:
        names += node.input
        for attribute in node.attribute:
            names += _read(attribute.g) if attribute.HasField("g") else []
    return names
