"""From a graph to an ONNX model without its weights: nodes in the graph's order, under the graph's names.

An initializer here has a name, a shape and a type, and no data: weights of gigabytes are then written, or handed to a
runtime, without ever being copied into it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

import resnet_spec
from resnet_spec.errors import GraphError
from resnet_spec.graph import INPUT, Graph
from resnet_spec.operations import Category
from resnet_spec_onnx.emitting.emitters import emit
from resnet_spec_onnx.emitting.node_builder import Place

OPSET, IR_VERSION = 17, 8
"""Those of ONNX 1.12: nothing younger is needed, and whatever runs ONNX today has them."""

PRODUCER = "resnet-spec"
GRAPH, FINGERPRINT = "resnet_spec.graph", "resnet_spec.fingerprint"
"""Metadata of a model: the graph as JSON, and its fingerprint."""


def assemble(graph: Graph, dtype: np.dtype[Any], *, half: bool = False) -> ModelProto:
    """A model that takes (batch, *input) as ``input``, its initializers the graph's parameters, in order, without data.

    Batch, height and width are dynamic, the latter two unless the graph's parameters depend on them. With ``half``
    the trainable parameters are kept in half precision and cast to ``dtype`` before use; running statistics are not,
    since the variance of a channel that hardly varies is none there.
    """
    stored = {p.name: np.dtype(np.float16) if half and p.trainable else dtype for p in graph.parameters()}
    outputs = graph.result_names
    free_name = _namer({INPUT, *outputs, *stored, *graph.by_name})
    nodes, parameters = _casts(stored, dtype, free_name)
    nodes += _nodes(graph, dtype, parameters, free_name)
    initializers = [
        TensorProto(name=p.name, dims=p.shape, data_type=helper.np_dtype_to_tensor_dtype(stored[p.name]))
        for p in graph.parameters()
    ]
    inputs, results = _interface(graph, dtype)
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


def _namer(taken: set[str]) -> Callable[[str], str]:
    """A function that makes names: the wished one, or with a number where that is taken."""

    def free_name(wished: str) -> str:
        name, number = wished, 1
        while name in taken:
            name, number = f"{wished}_{number}", number + 1
        taken.add(name)
        return name

    return free_name


def _casts(
    stored: Mapping[str, np.dtype[Any]], dtype: np.dtype[Any], free_name: Callable[[str], str]
) -> tuple[list[NodeProto], dict[str, str]]:
    """The casts of parameters that are stored otherwise, and the value of each parameter."""
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
    # A value can bear one output's name; what is returned twice, or is the input itself, is passed on by a node.
    returned = dict(reversed([*zip(sources, names, strict=True)]))
    readers: dict[str, set[str]] = defaultdict(set)
    for node in graph.nodes:
        for name in node.inputs:
            readers[_source(graph, name)].add(node.operation.op)
    nodes: list[NodeProto] = []
    values = {INPUT: INPUT}
    for node in graph.nodes:
        place = Place(node, frozenset(readers[node.name]), dtype, parameters, free_name)
        value = emit(place, *(values[name] for name in node.inputs))
        if place.nodes:
            own = free_name(node.name) if node.name in reserved else node.name
            value = place.finish(returned.get(node.name, own))
        values[node.name] = value
        nodes += place.nodes
    for source, name in zip(sources, names, strict=True):
        if values[source] != name:
            nodes.append(helper.make_node("Identity", [values[source]], [name], free_name(f"{name}.identity")))
    return nodes


def _source(graph: Graph, name: str) -> str:
    """The node whose value a node's is in inference, or the input."""
    while name != INPUT and graph.by_name[name].operation.category is Category.REGULARIZATION:
        (name,) = graph.by_name[name].inputs
    return name


def _interface(graph: Graph, dtype: np.dtype[Any]) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """The model's input and outputs, with their names, types and shapes."""
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    other = _at_another_size(graph)
    fixed = other is graph
    sizes = graph.input.shape if fixed else (graph.input.channels, "height", "width")
    outputs: list[ValueInfoProto] = []
    for node, name in zip(graph.outputs, graph.result_names, strict=True):
        dimensions = _dimensions(graph.by_name[node].shape, other.by_name[node].shape)
        outputs.append(helper.make_tensor_value_info(name, kind, ["batch", *dimensions]))
    return [helper.make_tensor_value_info(INPUT, kind, ["batch", *sizes])], outputs


def _at_another_size(graph: Graph) -> Graph:
    """The graph at a size at which each map that follows the size has another; itself where its own is the only one."""
    if graph.input.features is not None or graph.depends_on_size:
        return graph
    try:
        return graph.at_size(64 * graph.input.height + 1, 64 * graph.input.width + 1)
    except GraphError:
        return graph


def _dimensions(shape: tuple[int, ...], other: tuple[int, ...]) -> list[int | None]:
    return [size if size == there else None for size, there in zip(shape, other, strict=True)]
