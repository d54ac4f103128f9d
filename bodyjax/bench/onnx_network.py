"""MoveNet's network as an ONNX graph, to time ONNX Runtime on the network that XLA runs.

The backbone (models.backbone.MobileNetV2FPN) and the heads of models.pose.CenterPose with their
weights; our own stages for affinity fields are left out. Pixels (1, 3, H, W) float32 in 0..255 ->
heatmap and center after the sigmoid, regress and offset, each (1, C, H / 4, W / 4). Needs the
packages of the extra `onnx`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from bodyjax.models.backbones.mobilenet_v2_fpn import HEADS, STRIDES, TAPS
from bodyjax.models.pose import CenterPose

OPSET = 17

Tree = Mapping[str, Any]


def ours(model: CenterPose) -> Callable[[Tree, Any], tuple[jax.Array, ...]]:
    """run(variables, pixels (1, H, W, 3)) -> the graph's outputs as XLA computes them, (1, H / 4,
    W / 4, C) each."""

    def heads(model: CenterPose, pixels: Any) -> tuple[jax.Array, ...]:
        x = model.backbone(pixels)[4]
        maps = (model.heatmap(x), model.center(x), model.regress(x), model.offset(x))
        return nn.sigmoid(maps[0]), nn.sigmoid(maps[1]), maps[2], maps[3]

    def run(variables: Tree, pixels: Any) -> tuple[jax.Array, ...]:
        maps: Any = model.apply(variables, pixels, method=heads)
        return maps

    return run


class _Graph:
    """Nodes and weights in the order of computation; each method gives the name of its output."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self.helper, self.tensor = helper, numpy_helper.from_array
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(self.tensor(np.ascontiguousarray(value, np.float32), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"x{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv(self, x: str, layer: Tree, stride: int = 1, *, depthwise: bool = False) -> str:
        """A convolution of TensorFlow's "SAME" padding: on even sides, at stride 2, 3 x 3 pads
        nothing before and one after."""
        kernel = np.asarray(layer["kernel"])
        groups = kernel.shape[2] if depthwise else 1
        if depthwise:  # (3, 3, C) -> (C, 1, 3, 3)
            kernel = kernel[:, :, None]
        side = kernel.shape[0]
        pads = [0, 0, 0, 0] if side == 1 else [1, 1, 1, 1] if stride == 1 else [0, 0, 1, 1]
        inputs = [x, self.constant(kernel.transpose(3, 2, 0, 1))]
        if "bias" in layer:
            inputs.append(self.constant(layer["bias"]))
        return self.node(
            "Conv", *inputs, kernel_shape=[side, side], strides=[stride, stride], pads=pads,
            group=groups,
        )  # fmt: skip

    def relu6(self, x: str) -> str:
        return self.node("Clip", x, self.constant(0.0), self.constant(6.0))

    def separable(self, x: str, layer: Tree) -> str:
        x = self.conv(x, layer["depthwise"], depthwise=True)
        return self.node("Relu", self.conv(x, layer["pointwise"]))

    def residual(self, x: str, layer: Tree, stride: int) -> str:
        y = x
        if "expand" in layer:
            y = self.relu6(self.conv(y, layer["expand"]))
        y = self.relu6(self.conv(y, layer["depthwise"], stride, depthwise=True))
        y = self.conv(y, layer["project"])
        expand = np.shape(layer["expand"]["kernel"])[2] if "expand" in layer else 0
        same = stride == 1 and expand == np.shape(layer["project"]["kernel"])[3]
        return self.node("Add", x, y) if same else y

    def twice(self, x: str) -> str:
        scales = self.constant([1.0, 1.0, 2.0, 2.0])
        return self.node(
            "Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"
        )


def onnx_bytes(variables: Tree, size: int) -> bytes:
    """The serialized graph of a canvas of size x size pixels, a multiple of 32."""
    from onnx import TensorProto, checker, helper

    params = jax.device_get(variables["params"])
    backbone, graph = params["backbone"], _Graph()
    x = graph.node("Mul", "pixels", graph.constant(1 / 127.5))
    x = graph.node("Add", x, graph.constant(-1.0))
    x = graph.relu6(graph.conv(x, backbone["stem"], 2))
    taps = {}
    for i, stride in enumerate(STRIDES):
        x = graph.residual(x, backbone[f"block{i}"], stride)
        if i in TAPS:
            taps[TAPS[i]] = x
    x = graph.conv(graph.relu6(graph.conv(x, backbone["head"])), backbone["lateral32"])
    for stride in (16, 8, 4):
        lateral = graph.conv(taps[stride], backbone[f"lateral{stride}"])
        x = graph.separable(graph.node("Add", graph.twice(x), lateral), backbone[f"smooth{stride}"])
    outputs = []
    for name in HEADS:
        y = graph.conv(graph.separable(x, params[name]["hidden"]), params[name]["out"])
        sigmoid = name in ("heatmap", "center")
        graph.nodes.append(helper.make_node("Sigmoid" if sigmoid else "Identity", [y], [name]))
        shape = [1, np.shape(params[name]["out"]["bias"])[0], size // 4, size // 4]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, size, size])
    made = helper.make_graph(graph.nodes, "movenet", [pixels], outputs, graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8  # of that operator set; newer ones need a newer runtime
    checker.check_model(model)
    return model.SerializeToString()


def session(graph: bytes, threads: int) -> Callable[[np.ndarray], list[np.ndarray]]:
    """run(pixels (1, H, W, 3)) -> the four outputs, (1, C, H / 4, W / 4), by ONNX Runtime on the
    CPU with this many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    made = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        turned = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)
        return made.run(list(HEADS), {"pixels": turned})

    return run
