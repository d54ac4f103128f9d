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
from jax.extend import core

from bodyjax.contract import Network, Variables
from bodyjax.export import fetched, rewritten, tflite_converter
from bodyjax.export.program import Arrays, Program, Shape


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
    traced = jax.make_jaxpr(lambda *inputs: tuple(run(*inputs)))(*shapes)
    try:
        data = tflite_converter.converted(_text(traced), names, list(results))
        call = runner(data)
    except Exception as error:  # of the converter's own types, which it does not name
        raise fetched.unsupported(error, "tflite", lambda: lacking(traced)) from error
    first, second = (
        {name: Shape(tuple(leaf.shape), str(leaf.dtype)) for name, leaf in some.items()}
        for some in (network.inputs, results)
    )
    return Program(data, call, first, second, "the format has no free sizes")


def lacking(traced: core.ClosedJaxpr) -> str:
    """The first step that the converter fails at, for an error of its that names none: by halving
    the part of the steps that is tried. "" if it fails at the end alone."""
    low, high = 0, len(traced.jaxpr.eqns)  # the first `low` steps are converted
    if not high or _converts(_first(traced, high)):
        return ""
    while high - low > 1:
        middle = (low + high) // 2
        if _converts(_first(traced, middle)):
            low = middle
        else:
            high = middle
    name: str = traced.jaxpr.eqns[low].primitive.name
    return name


def _first(traced: core.ClosedJaxpr, count: int) -> core.ClosedJaxpr:
    """The first steps of a traced function, which give what the others and the result need."""
    jaxpr = traced.jaxpr
    steps, others = jaxpr.eqns[:count], jaxpr.eqns[count:]
    wanted = {id(atom) for step in others for atom in step.invars} | {
        id(atom) for atom in jaxpr.outvars
    }
    results = [result for step in steps for result in step.outvars if id(result) in wanted]
    debug = jaxpr.debug_info._replace(result_paths=None)
    first = jaxpr.replace(eqns=steps, outvars=results, debug_info=debug)
    return core.ClosedJaxpr(first, traced.consts)


def _converts(traced: core.ClosedJaxpr) -> bool:
    """Whether the converter takes a traced function."""
    inputs, outputs = (
        [str(number) for number in range(len(ends))] for ends in (traced.in_avals, traced.out_avals)
    )
    try:
        tflite_converter.converted(_text(traced), inputs, outputs)
    except tflite_converter.Refused:
        return False
    return True


def _text(traced: core.ClosedJaxpr) -> str:
    """A traced function as StableHLO."""
    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in traced.in_avals]
    return jax.jit(core.jaxpr_as_fun(traced)).lower(*shapes).as_text("stablehlo")


def runner(data: bytes) -> Callable[[Arrays], Arrays]:
    """run({input: array}) -> {output: array} by LiteRT on the CPU."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=data)
    made.allocate_tensors()
    call = made.get_signature_runner(tflite_converter.SIGNATURE)

    def run(arrays: Arrays) -> Arrays:
        found: Arrays = call(**{name: np.asarray(value) for name, value in arrays.items()})
        return found

    return run
