"""Runs one node of a graph: a runtime runs models, so the node's ONNX nodes become a model of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnx import ModelProto, NodeProto, helper

from resnet_spec.graph import INPUT, Graph
from resnet_spec_onnx.execution import make_runner
from resnet_spec_onnx.model import OnnxModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


def apply(model: OnnxModel, name: str, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return a node's value for (batch, ...) inputs; raises BackendError if ONNX Runtime is missing or rejects it."""
    nodes, values = _nodes_and_values(model.skeleton, model.graph)
    if not nodes[name]:
        # Dropout and stochastic depth have no ONNX node.
        return inputs[0]
    node = model.graph.by_name[name]
    given = dict(zip((values[source] for source in node.inputs), inputs, strict=True))
    needed = {value for proto in nodes[name] for value in proto.input}
    weights = {key: array for key, array in model.loaded_weights().items() if key in needed}
    return make_runner(_model_of(model.skeleton, nodes[name], given), weights)(given)[0]


def _nodes_and_values(skeleton: ModelProto, graph: Graph) -> tuple[Mapping[str, list[NodeProto]], Mapping[str, str]]:
    """Return, for each node of the graph, its ONNX nodes and the name of its value.

    The last of the ONNX nodes has the graph node's name, and no other has.
    """
    nodes: dict[str, list[NodeProto]] = {node.name: [] for node in graph.nodes}
    group: list[NodeProto] = []
    for proto in skeleton.graph.node:
        group.append(proto)
        if proto.name in nodes:
            nodes[proto.name], group = group, []
    values = {INPUT: INPUT}
    for node in graph.nodes:
        own = nodes[node.name]
        values[node.name] = own[-1].output[0] if own else values[node.inputs[0]]
    return nodes, values


def _model_of(skeleton: ModelProto, nodes: list[NodeProto], given: Mapping[str, NDArray[Any]]) -> ModelProto:
    """Return a model of these nodes, for any batch and size, with the initializers they need, without data."""
    kind = skeleton.graph.input[0].type.tensor_type.elem_type
    needed = {value for proto in nodes for value in proto.input}
    content = helper.make_graph(
        nodes,
        nodes[-1].name,
        [helper.make_tensor_value_info(name, kind, [None] * value.ndim) for name, value in given.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], kind, None)],
        [tensor for tensor in skeleton.graph.initializer if tensor.name in needed],
    )
    return helper.make_model(content, opset_imports=skeleton.opset_import, ir_version=skeleton.ir_version)
