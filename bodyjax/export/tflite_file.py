"""A network as a .tflite file, by litert-converter: for phones, and the fastest in browsers.

The converter reads StableHLO without tensorflow. It is young, and the function that we call is not
public, so its version is pinned (the extra `tflite`). It has no loops: an LSTM's steps are written
out one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from bodyjax.contract import Network, Variables
from bodyjax.export import fetched, rewritten
from bodyjax.export.program import Arrays, Program, Shape

SIGNATURE = "serving_default"


def program(network: Network, variables: Variables) -> Program:
    """The network with these variables inside, for a batch of 1. UserError names a step that the
    format can't hold, or the package that is missing."""
    fetched.need(("litert_converter", "ai_edge_litert"), "tflite")
    names, shapes = list(network.inputs), list(network.inputs.values())
    results = jax.eval_shape(network.run, variables, *shapes)

    def of_inputs(*inputs: Any) -> list[Any]:
        out = network.run(variables, *inputs)
        return [out[name] for name in results]

    run = rewritten.simplified(of_inputs, *shapes, unroll=True)
    text = jax.jit(lambda *inputs: tuple(run(*inputs))).lower(*shapes).as_text("stablehlo")
    try:
        data = _converted(text, names, list(results))
        call = runner(data)
    except Exception as error:  # of the converter's own types, which it does not name
        raise fetched.unsupported(error, "tflite") from error
    first, second = (
        {name: Shape(tuple(leaf.shape), str(leaf.dtype)) for name, leaf in some.items()}
        for some in (network.inputs, results)
    )
    return Program(data, call, first, second, "the format has no free sizes")


def _converted(text: str, inputs: list[str], outputs: list[str]) -> bytes:
    """StableHLO as text (as bytecode some steps are not read) to the bytes of a .tflite file."""
    from litert_converter.mlir import ir, passmanager
    from litert_converter.mlir._mlir_libs import converter_api_ext as api

    context = ir.Context()
    api.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(text)
        api.set_signature(
            module.operation, signature_name=SIGNATURE, input_names=inputs, output_names=outputs
        )
        module = api.merge_modules([module])
        config = api.ConvertToTFLConfig()
        config.unsafe_fuse_dynamic_shaped_broadcast = True
        api.run_convert_to_tfl_passes(module, passmanager.PassManager(), config)
        data: bytes = api.export_flatbuffer_to_bytes(module.operation)
    return bytes(data)


def runner(data: bytes) -> Callable[[Arrays], Arrays]:
    """run({input: array}) -> {output: array} by LiteRT on the CPU."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=data)
    made.allocate_tensors()
    call = made.get_signature_runner(SIGNATURE)

    def run(arrays: Arrays) -> Arrays:
        found: Arrays = call(**{name: np.asarray(value) for name, value in arrays.items()})
        return found

    return run
