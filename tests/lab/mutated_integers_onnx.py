"""ONNX Runtime whose 8-bit files have mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, helper, numpy_helper

from resnet_spec_onnx import OnnxBackend
from tests.lab.mutated_integers import MutatedIntegers
from tests.lab.quantized_mutations import CONV, PADDED, RELU

WEIGHT, BIAS = f"{CONV}.weight", f"{CONV}.bias"


class File:
    """An ONNX file to be changed."""

    def __init__(self, proto: ModelProto) -> None:
        self.proto = proto

    def producer(self, value: str) -> Any:
        """The node that makes a value."""
        return next(node for node in self.proto.graph.node if value in node.output)

    def constant(self, name: str, change: Any) -> str:
        """Add a constant that is made of another; its name."""
        array = np.asarray(change(numpy_helper.to_array(self.producer(name).attribute[0].t).copy()))
        new = f"{name}.changed"
        node = helper.make_node("Constant", [], [new], new, value=numpy_helper.from_array(array))
        self.proto.graph.node.insert(0, node)
        return new

    def initializer(self, name: str, change: Any) -> None:
        """Change an initializer."""
        held = next(tensor for tensor in self.proto.graph.initializer if tensor.name == name)
        array = np.ascontiguousarray(change(numpy_helper.to_array(held).copy()))
        held.raw_data = array.tobytes()

    def reader(self, name: str) -> Any:
        """The DequantizeLinear of an initializer."""
        return next(node for node in self.proto.graph.node if node.input and node.input[0] == name)

    def layer(self, node: str) -> Any:
        """The convolution of a node."""
        weights = self.reader(f"{node}.weight").output[0]
        return next(other for other in self.proto.graph.node if weights in other.input)


def _swapped(array: Any) -> Any:
    return array[[1, 0, *range(2, len(array))]]


def _scaled(array: Any) -> Any:
    array[2] *= np.float32(1.05)
    return array


def changed(proto: ModelProto, change: str, grids: Any) -> None:
    """Make one mistake."""
    file = File(proto)
    reader = file.reader(WEIGHT)
    match change:
        case "wrong_axis":
            reader.attribute[0].i = 1
        case "swapped_scales":
            reader.input[1] = file.constant(reader.input[1], _swapped)
        case "scaled_channel":
            reader.input[1] = file.constant(reader.input[1], _scaled)
        case "asymmetric":
            reader.input[2] = file.constant(reader.input[2], lambda zero: zero + np.int8(3))
        case "swapped_kernels":
            file.initializer(WEIGHT, _swapped)
        case "mirrored":
            file.initializer(WEIGHT, lambda kernel: kernel[..., ::-1])
        case "turned_bias":
            file.initializer(BIAS, lambda bias: np.roll(bias, 1))
        case "one_sided":
            last = file.producer(CONV)
            last.input[1] = file.constant(last.input[1], lambda scale: scale * np.float32(1.02))
        case "one_sided_zero":
            last = file.producer(CONV)
            last.input[2] = file.constant(last.input[2], lambda zero: zero + np.uint8(1))
        case "padded":
            _pad(file, grids["layer1.0.relu2"])
        case "wrong_input":
            _shift(file, 8 * grids[RELU].scale)
        case "no_relu" | "no_effect":
            _without_relu(file, "layer1.0" if change == "no_relu" else "layer1.1")
        case _:
            pass


def _pad(file: File, grid: Any) -> None:
    layer, graph = file.layer(PADDED), file.proto.graph
    edges = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "mistake.edges")
    value = numpy_helper.from_array(np.float32(-grid.zero_point * grid.scale), "mistake.value")
    graph.initializer.extend([edges, value])
    before = helper.make_node("Pad", [layer.input[0], "mistake.edges", "mistake.value"], ["mistake.padded"], "mistake")
    layer.input[0] = "mistake.padded"
    for attribute in layer.attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [0, 0, 0, 0]
    graph.node.insert([*graph.node].index(layer), before)


def _shift(file: File, amount: float) -> None:
    layer, graph = file.layer(CONV), file.proto.graph
    graph.initializer.append(numpy_helper.from_array(np.float32(amount), "mistake.amount"))
    before = helper.make_node("Add", [layer.input[0], "mistake.amount"], ["mistake.shifted"], "mistake")
    layer.input[0] = "mistake.shifted"
    graph.node.insert([*graph.node].index(layer), before)


def _without_relu(file: File, block: str) -> None:
    layer = file.layer(f"{block}.conv1")
    relu = next(node for node in file.proto.graph.node if node.op_type == "Relu" and layer.output[0] in node.input)
    relu.op_type = "Identity"


class Mutated(MutatedIntegers, OnnxBackend):
    name = "integer_onnx"

    def forward(self, model: Any, images: Any, *, training: bool = False) -> list[Any]:
        if model is not self.compiled or self.mutation is None:
            return super().forward(model, images, training=training)
        proto = model.to_proto()
        changed(proto, self.mutation.change, self.given.values)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"input": images})
