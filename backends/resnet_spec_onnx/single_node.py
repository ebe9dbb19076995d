"""Runs one node of a graph: a runtime runs models, so the node's ONNX nodes become a model of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnx import ModelProto, NodeProto, helper

from resnet_spec.graph import INPUT, Graph
from resnet_spec_onnx.compilation import nodes_by_graph_node
from resnet_spec_onnx.execution import make_runner
from resnet_spec_onnx.model import OnnxModel
from resnet_spec_onnx.quantization import rounding

if TYPE_CHECKING:
    from numpy.typing import NDArray


def apply(model: OnnxModel, name: str, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return a node's value for (batch, ...) inputs; raises BackendError if ONNX Runtime is missing or rejects it.

    In an 8-bit model inputs with a grid are rounded to it, which changes no number of the grid, so that the node runs
    between the same QuantizeLinear and DequantizeLinear as in the model.
    """
    groups = nodes_by_graph_node(model.skeleton, model.graph)
    values = _values(groups, model.graph)
    if not groups[name]:
        # Dropout and stochastic depth have no ONNX node.
        return inputs[0]
    nodes: dict[str, NodeProto] = {}
    given: dict[str, NDArray[Any]] = {}
    for source, array in zip(model.graph.by_name[name].inputs, inputs, strict=True):
        before = rounding(groups[source])
        nodes |= {node.name: node for node in before}
        given[before[-2].input[0] if before else values[source]] = array
    nodes |= {node.name: node for node in groups[name]}
    needed = {value for node in nodes.values() for value in node.input}
    arrays = {key: array for key, array in model.loaded_initializers().items() if key in needed}
    return make_runner(_model_of(model.skeleton, [*nodes.values()], given), arrays)(given)[0]


def _values(groups: Mapping[str, list[NodeProto]], graph: Graph) -> dict[str, str]:
    """Return the name of each graph node's value."""
    values = {INPUT: groups[INPUT][-1].output[0] if groups[INPUT] else INPUT}
    for node in graph.nodes:
        own = groups[node.name]
        values[node.name] = own[-1].output[0] if own else values[node.inputs[0]]
    return values


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
