"""Describes the first difference of two graphs, such as those of a file and a spec, or of similar networks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from resnet_spec.graph import INPUT, Graph, Node, canonical
from resnet_spec.operations import Category


def first_difference(first: Graph, second: Graph, holders: tuple[str, str]) -> str:
    """The first node and the first field that differ; ``holders`` describe the two graphs in the message."""
    for one, other in zip(first.nodes, second.nodes, strict=False):
        if canonical(one) != canonical(other):
            return _of_nodes(one, other, holders)
    if len(first.nodes) != len(second.nodes):
        longer = max(first, second, key=lambda graph: len(graph.nodes))
        extra = longer.nodes[min(len(first.nodes), len(second.nodes))].name
        return f"{extra!r} is only in {holders[0] if longer is first else holders[1]}"
    return _of_graphs(first, second, holders)


def inference_difference(file: Graph, graph: Graph, heads: Collection[str], holders: tuple[str, str]) -> str:
    """The first node of ``graph`` that computes something else in ``file``, in inference; empty if there is none.

    What only training depends on does not count: regularization, ``training_fields``. Neither do outputs, nodes that
    only ``file`` has, and the widths of the layers ``heads``.
    """
    theirs = {node.name: node for node in _inference_nodes(file, heads)}
    for node in _inference_nodes(graph, heads):
        other = theirs.get(node.name)
        if other is None:
            return f"{node.name!r} is only in {holders[1]}"
        if canonical(other) != canonical(node):
            return _of_nodes(other, node, holders)
    return ""


def inference_only(graph: Graph) -> Graph:
    """The same network in inference: without regularization, and with ``training_fields`` at one value for all.

    Nodes that only called a regularization again are removed with it; stages and blocks are not listed.
    """
    nodes = tuple(_inference_nodes(graph, ()))
    kept = {node.name for node in nodes}
    outputs: list[str] = []
    for name in graph.outputs:
        while name not in kept and name != INPUT:
            name = graph.by_name[name].inputs[0]
        outputs.append(name)
    return Graph.model_construct(
        name=graph.name, description=graph.description, input=graph.input, nodes=nodes, outputs=tuple(outputs)
    )


def _inference_nodes(graph: Graph, heads: Collection[str]) -> Iterator[Node]:
    skipped: dict[str, str] = {}
    for node in graph.nodes:
        inputs = tuple(skipped.get(name, name) for name in node.inputs)
        if node.operation.category is Category.REGULARIZATION:
            skipped[node.name] = inputs[0]
            continue
        fixed: Mapping[str, Any] = dict(node.operation.training_fields)
        if node.layer in heads:
            fixed |= {name: 1 for name in ("features", "channels") if hasattr(node.operation, name)}
        yield node.model_copy(update={"operation": node.operation.model_copy(update=fixed), "inputs": inputs})


def same_but_for_names(first: Graph, second: Graph) -> bool:
    """Whether two graphs compute the same from the same parameters, even if their layers have other names.

    Neither does it matter in which order nodes are executed that do not depend on one another.
    """
    return first.input.shape == second.input.shape and _anonymous(first) == _anonymous(second)


def _anonymous(graph: Graph) -> list[Any]:
    """Operations, their inputs and their layers by index instead of name, in an order that the outputs give."""
    nodes = [graph.by_name[name] for name in _needed(graph)]
    index_of = {INPUT: -1} | {node.name: index for index, node in enumerate(nodes)}
    layers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        layers.setdefault(node.layer, index)
    listed = [(node.operation, [index_of[name] for name in node.inputs], layers[node.layer]) for node in nodes]
    return [*listed, [index_of[name] for name in graph.outputs]]


def _needed(graph: Graph) -> list[str]:
    """The nodes that the outputs need, each after its inputs, the first inputs' first."""
    order: dict[str, None] = {}
    waiting = [(name, False) for name in reversed(graph.outputs)]
    while waiting:
        name, inputs_done = waiting.pop()
        if name in order or name == INPUT:
            continue
        if inputs_done:
            order[name] = None
            continue
        waiting.append((name, True))
        waiting += [(source, False) for source in reversed(graph.by_name[name].inputs)]
    return [*order]


def _of_graphs(first: Graph, second: Graph, holders: tuple[str, str]) -> str:
    """The first difference that is not in a node."""
    if first.outputs != second.outputs:
        a, b = (" and ".join(graph.outputs) for graph in (first, second))
        return f"the outputs differ: {a} in {holders[0]}, {b} in {holders[1]}"
    if first.output_names != second.output_names:
        return "the outputs' names differ"
    if first.input.shape != second.input.shape:
        a, b = (list(graph.input.shape) for graph in (first, second))
        return f"the input differs: {a} in {holders[0]}, {b} in {holders[1]}"
    return "the order of declaration differs"


def _of_nodes(one: Node, other: Node, holders: tuple[str, str]) -> str:
    if one.name != other.name:
        return f"{holders[0]} has {one.name!r} where {holders[1]} has {other.name!r}"
    return first_node_difference(one, other, holders)


def first_node_difference(one: Node, other: Node, holders: tuple[str, str]) -> str:
    """The first field in which two nodes of one name differ."""
    a, b = _fields(one), _fields(other)
    key = next(key for key in {**a, **b} if a.get(key) != b.get(key))
    return f"{one.name!r} differs in {key!r}: {_value(one, key)} in {holders[0]}, {_value(other, key)} in {holders[1]}"


def _fields(node: Node) -> dict[str, Any]:
    data = canonical(node)
    return {**data.pop("operation"), **data}


def _value(node: Node, key: str) -> Any:
    return getattr(node.operation, key, None) if hasattr(node.operation, key) else getattr(node, key, None)
