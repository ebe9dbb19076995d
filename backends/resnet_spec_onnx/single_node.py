"""One node of a model as a model of its own, made of what stands in the whole: a runtime runs models, not nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnx import ModelProto, NodeProto, helper

from resnet_spec.graph import INPUT, Graph
from resnet_spec_onnx.execution import runner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec_onnx.model import OnnxModel


def apply(model: OnnxModel, name: str, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One node's value from (batch, ...) values; raises BackendError where ONNX Runtime is missing or refuses it."""
    parts, values = _parts(model.skeleton, model.graph)
    if not parts[name]:
        # What acts in training only is not in the model.
        return inputs[0]
    node = model.graph.by_name[name]
    given = dict(zip((values[source] for source in node.inputs), inputs, strict=True))
    needed = {value for part in parts[name] for value in part.input}
    weights = {key: array for key, array in model.filled().items() if key in needed}
    return runner(_model_of(model.skeleton, parts[name], given), weights)(given)[0]


def _parts(skeleton: ModelProto, graph: Graph) -> tuple[Mapping[str, list[NodeProto]], Mapping[str, str]]:
    """What each node of a graph became in a model, and the name of its value there.

    A node's name in the graph is that of the last, and of no other.
    """
    parts: dict[str, list[NodeProto]] = {node.name: [] for node in graph.nodes}
    before: list[NodeProto] = []
    for proto in skeleton.graph.node:
        before.append(proto)
        if proto.name in parts:
            parts[proto.name], before = before, []
    values = {INPUT: INPUT}
    for node in graph.nodes:
        part = parts[node.name]
        values[node.name] = part[-1].output[0] if part else values[node.inputs[0]]
    return parts, values


def _model_of(skeleton: ModelProto, part: list[NodeProto], given: Mapping[str, NDArray[Any]]) -> ModelProto:
    """A model of these nodes, of any batch and size, and of the parameters they need, without data."""
    kind = skeleton.graph.input[0].type.tensor_type.elem_type
    needed = {value for proto in part for value in proto.input}
    content = helper.make_graph(
        part,
        part[-1].name,
        [helper.make_tensor_value_info(name, kind, [None] * value.ndim) for name, value in given.items()],
        [helper.make_tensor_value_info(part[-1].output[0], kind, None)],
        [tensor for tensor in skeleton.graph.initializer if tensor.name in needed],
    )
    return helper.make_model(content, opset_imports=skeleton.opset_import, ir_version=skeleton.ir_version)
