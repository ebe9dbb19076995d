"""Makes ONNX files to read, from graphs and from single nodes."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import WeightsError
from resnet_spec.graph import Graph
from resnet_spec_onnx.reading import read_onnx
from tests.resnet_spec_onnx.support import model_of
from tests.resnet_spec_torch.graphs import Builder, random_arrays

Arrays = dict[str, NDArray[Any]]


def proto(graph: Graph, arrays: Arrays | None = None, dtype: str = "float32") -> ModelProto:
    """A graph's model without its metadata."""
    model = model_of(graph, arrays or random_arrays(graph, dtype=dtype), dtype).to_proto()
    del model.metadata_props[:]
    return model


def renamed(model: ModelProto, names: Iterable[tuple[str, str]]) -> ModelProto:
    """The model with other names for its initializers."""
    known = dict(names)
    for tensor in model.graph.initializer:
        tensor.name = known.get(tensor.name, tensor.name)
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = known.get(name, name)
    return model


def anonymous(model: ModelProto) -> ModelProto:
    """The model with numbers in random order for names."""
    names = [tensor.name for tensor in model.graph.initializer]
    numbers = [str(number) for number in range(len(names))]
    random.Random(0).shuffle(numbers)
    return renamed(model, zip(names, numbers, strict=True))


def read(model: ModelProto, graph: Graph | None, folder: Path) -> Checkpoint:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return read_onnx(path, graph)


def refused(model: ModelProto, graph: Graph | None, folder: Path) -> str:
    """Read a file that must be refused, and return the message, which is one line, without the path."""
    with pytest.raises(WeightsError) as caught:
        read(model, graph, folder)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder / 'model.onnx'}: ")


def assert_equal(checkpoint: Checkpoint, arrays: Arrays) -> None:
    assert checkpoint.tensors.keys() == arrays.keys()
    for name, array in arrays.items():
        assert checkpoint.tensors[name].dtype == array.dtype, name
        assert np.array_equal(checkpoint.tensors[name], array), name


def node_of(model: ModelProto, name: str) -> NodeProto:
    (node,) = [node for node in model.graph.node if node.name == name]
    return node


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def made(
    nodes: Iterable[NodeProto],
    arrays: Arrays,
    shape: Iterable[Any] = (1, 3, 16, 16),
    opset: int = 17,
    output: str = "y",
) -> ModelProto:
    """A model of nodes from ``x`` to ``y``, not checked by ONNX's checker."""
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    graph = helper.make_graph(list(nodes), "net", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(op_type: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    """A node named after its output."""
    return helper.make_node(op_type, inputs.split(), [output], output, **attributes)


def convolution(bias: bool = False, size: int = 16, **fields: Any) -> Graph:
    """A graph of one convolution."""
    fields = {"channels": 4, "kernel": 3, **fields}
    return Builder(3, size, size).add("conv", "conv2d", bias=bias, **fields).graph()


def convolved(*before: NodeProto, behind: str = "x", **attributes: Any) -> list[NodeProto]:
    """Nodes, and a convolution of their output."""
    return [*before, node("Conv", f"{behind} kernel", "y", **attributes)]


def pads(*numbers: int) -> Arrays:
    return {"pads": np.array(numbers, np.int64)}


KERNEL = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)


VECTORS = np.random.default_rng(2).uniform(0.5, 1.5, (4, 4)).astype(np.float32)


FREE = (1, 3, "h", "w")
