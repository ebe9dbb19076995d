"""From a graph to an ONNX model without weights: nodes in the graph's order, under the graph's names.

An initializer here has a name, a shape and a type, and no data, so that gigabytes of weights are written to a file or
passed to a runtime without being copied into the model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

import resnet_spec
from resnet_spec.errors import GraphError, Problem
from resnet_spec.graph import INPUT, Graph
from resnet_spec.operations import Category
from resnet_spec_onnx.emitting import NodeBuilder, emit
from resnet_spec_onnx.model import OnnxModel

OPSET, IR_VERSION = 17, 8
"""Those of ONNX 1.12: no operation needs a later version, and current runtimes support these."""

PRODUCER = "resnet-spec"
GRAPH, FINGERPRINT = "resnet_spec.graph", "resnet_spec.fingerprint"
"""Metadata of a model: the graph as JSON, and its fingerprint."""


def compile_graph(graph: Graph, dtype: str) -> OnnxModel:
    """Return a model that takes (batch, *input), its weights not set yet."""
    return OnnxModel(graph, partial(build_skeleton, graph, np.dtype(dtype)), np.dtype(dtype))


def build_skeleton(graph: Graph, dtype: np.dtype[Any], *, half: bool = False, batch: int | None = None) -> ModelProto:
    """Return a model that takes (batch, *input) as ``input``; its initializers are the graph's parameters, in order.

    Batch and sizes of positions are dynamic, the latter unless the graph's parameters depend on them; with ``batch``
    all are fixed. With ``half``
    trainable parameters are stored in half precision and cast to ``dtype`` before use. Running statistics are not: the
    variance of a nearly constant channel would be 0 in half precision.
    """
    stored = {p.name: np.dtype(np.float16) if half and p.trainable else dtype for p in graph.parameters()}
    outputs = graph.result_names
    if clashes := [name for name in outputs if name in stored]:
        message = "the output has the name of a parameter, which ONNX cannot tell apart; choose another in output_names"
        raise GraphError([Problem(message, name) for name in clashes])
    free_name = namer({INPUT, *outputs, *stored, *graph.by_name})
    nodes, parameters = _casts(stored, dtype, free_name)
    nodes += _nodes(graph, dtype, parameters, free_name)
    initializers = [
        TensorProto(name=p.name, dims=p.shape, data_type=helper.np_dtype_to_tensor_dtype(stored[p.name]))
        for p in graph.parameters()
    ]
    inputs, results = _interface(graph, dtype, batch)
    content = helper.make_graph(nodes, graph.name, inputs, results, initializers, doc_string=graph.description)
    model = helper.make_model(
        content,
        producer_name=PRODUCER,
        producer_version=resnet_spec.__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, {GRAPH: graph.to_json(), FINGERPRINT: graph.fingerprint})
    return model


def namer(taken: set[str]) -> Callable[[str], str]:
    """Return a function that returns the name it is given, with a number if that is taken."""

    def free_name(wanted: str) -> str:
        name, number = wanted, 1
        while name in taken:
            name, number = f"{wanted}_{number}", number + 1
        taken.add(name)
        return name

    return free_name


def nodes_by_graph_node(skeleton: ModelProto, graph: Graph) -> dict[str, list[NodeProto]]:
    """Return the ONNX nodes of each node of the graph, of ``input``, and under no name those that rename outputs.

    The last of a graph node's ONNX nodes has its name, and no other has.
    """
    nodes: dict[str, list[NodeProto]] = {name: [] for name in (INPUT, *graph.by_name)}
    group: list[NodeProto] = []
    for proto in skeleton.graph.node:
        group.append(proto)
        if proto.name in nodes:
            nodes[proto.name], group = group, []
    return {**nodes, "": group}


def _casts(
    stored: Mapping[str, np.dtype[Any]], dtype: np.dtype[Any], free_name: Callable[[str], str]
) -> tuple[list[NodeProto], dict[str, str]]:
    """Return casts of the parameters stored in another type, and each parameter's value by its name."""
    values = {name: name if kept == dtype else free_name(f"{name}.{dtype}") for name, kept in stored.items()}
    to = helper.np_dtype_to_tensor_dtype(dtype)
    casts = [helper.make_node("Cast", [name], [value], value, to=to) for name, value in values.items() if name != value]
    return casts, values


def _nodes(
    graph: Graph, dtype: np.dtype[Any], parameters: Mapping[str, str], free_name: Callable[[str], str]
) -> list[NodeProto]:
    names = graph.result_names
    reserved = {*names, *parameters}
    sources = [_source(graph, name) for name in graph.outputs]
    # A value has one name. An Identity node renames a second output of the same value, or an output that is the input.
    returned = dict(reversed([*zip(sources, names, strict=True)]))
    consumers: dict[str, set[str]] = defaultdict(set)
    for node in graph.nodes:
        for name in node.inputs:
            consumers[_source(graph, name)].add(node.operation.op)
    nodes: list[NodeProto] = []
    values = {INPUT: INPUT}
    for node in graph.nodes:
        shapes = graph.input_shapes(node)
        builder = NodeBuilder(node, shapes, frozenset(consumers[node.name]), dtype, parameters, free_name)
        value = emit(builder, *(values[name] for name in node.inputs))
        if builder.nodes:
            own = free_name(node.name) if node.name in reserved else node.name
            value = builder.finish(returned.get(node.name, own))
        values[node.name] = value
        nodes += builder.nodes
    for source, name in zip(sources, names, strict=True):
        if values[source] != name:
            nodes.append(helper.make_node("Identity", [values[source]], [name], free_name(f"{name}.identity")))
    return nodes


def _source(graph: Graph, name: str) -> str:
    """Return the node that computes a node's value in inference, or the input: regularization passes values on."""
    while name != INPUT and graph.by_name[name].operation.category is Category.REGULARIZATION:
        (name,) = graph.by_name[name].inputs
    return name


def _interface(
    graph: Graph, dtype: np.dtype[Any], batch: int | None
) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """Return the model's input and outputs, with their names, types and shapes."""
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    other = graph if batch is not None else _at_another_size(graph)
    first = "batch" if batch is None else batch
    fixed = other is graph
    sizes = graph.input.shape if fixed else (graph.input.channels, *graph.input.positions)
    outputs: list[ValueInfoProto] = []
    for node, name in zip(graph.outputs, graph.result_names, strict=True):
        dimensions = _dimensions(graph.by_name[node].shape, other.by_name[node].shape)
        outputs.append(helper.make_tensor_value_info(name, kind, [first, *dimensions]))
    return [helper.make_tensor_value_info(INPUT, kind, [first, *sizes])], outputs


def _at_another_size(graph: Graph) -> Graph:
    """Return the graph at a size that changes every size that depends on the input's; itself if its size is fixed."""
    if not graph.input.positions or graph.depends_on_size:
        return graph
    try:
        return graph.at_size(*(64 * size + 1 for size in graph.input.shape[1:]))
    except GraphError:
        return graph


def _dimensions(shape: tuple[int, ...], other: tuple[int, ...]) -> list[int | None]:
    return [size if size == there else None for size, there in zip(shape, other, strict=True)]
