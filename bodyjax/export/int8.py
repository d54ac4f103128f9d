"""A detector's ONNX graph in 8 bits, and what that costs in PCK.

Weights are signed and scaled by channel, maps unsigned, as QDQ: with one scale a tensor depthwise
networks lose half of their features (measured: 42 against 11 % error), and signed maps are slow on
x86. ONNX Runtime's own quantisation does the work.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bodyjax import detect
from bodyjax.contract import Variables
from bodyjax.data import affine, sets
from bodyjax.data.pictures.labelled import Pictures
from bodyjax.detect.canvas import Detections, detections
from bodyjax.detect.detector import Detector
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import ConfigError, DataError, UserError
from bodyjax.evaluate.pictures import evaluate
from bodyjax.export import onnx_file, onnx_graph
from bodyjax.export.program import Arrays, Program
from bodyjax.models.pose import Maps

CALIBRATION = 32
"""Pictures; twice as many change nothing that is seen."""
MEASURES = ("pck_limbs", "pck_people", "pck")
"""Figures of an evaluation that are its PCK, the first that it has."""


def program(checkpoint: Checkpoint, whole: Program, data: str | Path) -> Program:
    """The graph `whole` in 8 bits, calibrated on pictures of the training side of `data`.
    ConfigError if the checkpoint is no detector; DataError if there is no such side."""
    check_detector(checkpoint, whole, "--int8", "take --float16")
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    _, height, width, _ = whole.inputs["pixels"].fixed().shape
    canvases = calibration(data, (height, width))

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Arrays | None:
            return next(canvases, None)

    with tempfile.TemporaryDirectory() as folder:
        source, ready, made = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        source.write_bytes(whole.data)
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(ready), str(made), Reader(), quant_format=quantization.QuantFormat.QDQ,
            per_channel=True, activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
        return onnx_file.of_graph(made.read_bytes(), whole.fixed)


def check_detector(checkpoint: Checkpoint, whole: Program, flag: str, hint: str) -> None:
    """ConfigError if the checkpoint is no detector: only those have a PCK."""
    if set(whole.inputs) != {"pixels"}:
        what = (
            f"is of system {checkpoint.system}; {flag} is measured by PCK, so it is for detectors"
        )
        raise ConfigError(what, file=checkpoint.path, hint=hint)


def weights(checkpoint: Checkpoint, whole: Program) -> Program:
    """The graph `whole` with its kernels in 8 bits by channel; all computing stays in float32.
    Depthwise networks run faster so in browsers than with maps in 8 bits, and lose less.
    ConfigError if the checkpoint is no detector."""
    check_detector(checkpoint, whole, "--int8-weights", "take --float16")
    import onnx

    model = onnx.load_from_string(whole.data)
    onnx_graph.in_bytes(model)
    return onnx_file.of_graph(model.SerializeToString(), whole.fixed)


def calibration(data: str | Path, size: tuple[int, int]) -> Iterator[Arrays]:
    """Canvases (1, *size, 3) of pictures of the training side, evenly over the set."""
    source = pictures(data)
    rows = np.flatnonzero(~source.heldout)
    if not len(rows):
        hint = "calibrating on what is measured would flatter: take a set with a training side"
        raise DataError("has no training side", file=data, hint=hint)
    for row in rows[np.linspace(0, len(rows) - 1, min(CALIBRATION, len(rows))).astype(int)]:
        picture = source.files.image(source.names[row])
        canvas = affine.warp(picture, affine.fit(picture.shape[:2], size), size, fill=affine.FILL)
        yield {"pixels": canvas[None].astype(np.float32)}


def pictures(data: str | Path, split: str | None = None) -> Pictures:
    """The labelled pictures at a path. ConfigError if it holds another kind of set, DataError if it
    holds none, or lacks the split."""
    kind = sets.recognise(data, sets.LABELLED)
    if kind not in sets.PICTURES:
        raise ConfigError(f"a set of {kind}", place="--data", hint="labelled pictures")
    found: Pictures = sets.PICTURES[kind](data, split or "all", on_bad="raise")
    return found


def cost(
    checkpoint: Checkpoint, whole: Program, small: Program, data: str | Path, split: str | None,
    kind: str = "int8",
) -> dict[str, Any]:  # fmt: skip
    """PCK of both graphs, "float32" and `kind`, by the whole path of evaluation, on the pictures of
    `split`."""
    found: dict[str, Any] = {"data": str(data), "split": split}
    detector = detect.load(checkpoint)
    for name, program in (("float32", whole), (kind, small)):
        report = evaluate(with_maps_of(detector, program), data, split, samples=0)
        measure = next((m for m in MEASURES if report.get(m) is not None), None)
        if measure is None:
            raise DataError("gives no PCK", file=data, hint="take pictures with labelled joints")
        found |= {name: float(report[measure]), "measure": measure, "pictures": report["n"]}
    return found


def with_maps_of(detector: Detector, program: Program) -> Detector:
    """The detector with its maps from an exported network; grouping stays ours."""
    system: Any = detector.system
    group = jax.jit(
        lambda maps: detections(maps, system.bones, system.model.stride, detector.settings)
    )

    def predict(variables: Variables, canvas: Any) -> Detections:
        del variables  # they are in the program
        given = program.run({"pixels": np.asarray(canvas, np.float32)[None]})
        maps = {name: part[0] for name, part in given.items()}
        # Networks of heads alone have no fields, and no output without values can be exported.
        maps.setdefault("pafs", np.zeros((*maps["heatmaps"].shape[:2], 0), np.float32))
        found: Detections = group(Maps(**maps))
        return found

    return dataclasses.replace(detector, predict=predict)


def check(left: float, least: float, file: str | Path, kind: str = "int8") -> None:
    """UserError if a smaller share of the PCK than `least` is left."""
    if left < least:
        what = f"{kind} keeps {left:.3f} of the PCK, less than {least:g}"
        hint = f"nothing is written; take {'--float16, or ' * (kind == 'int8')}--least-share"
        raise UserError(what, file=file, hint=hint)
