"""Writes what is concatenated again and again, as in a DenseNet, one more value at a time."""

from __future__ import annotations

from resnet_spec.graph import Graph, Node


def nested(graph: Graph) -> Graph:
    """The same network: a concatenation that begins with what an earlier one concatenates takes that one's value.

    Every node has the value that it had. A layer of a DenseNet then reads one value, as a block does, instead of all
    those before it.
    """
    known: dict[tuple[int, tuple[str, ...]], str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = node.inputs
        if node.operation.op == "concat":
            axis = node.operation.axis
            prefixes = (inputs[:count] for count in range(len(inputs) - 1, 1, -1))
            found = next((prefix for prefix in prefixes if (axis, prefix) in known), None)
            known.setdefault((axis, inputs), node.name)
            if found:
                node = node.model_copy(update={"inputs": (known[axis, found], *inputs[len(found) :])})
        nodes.append(node)
    if tuple(nodes) == graph.nodes:
        return graph
    return graph.model_copy(update={"nodes": tuple(nodes)})
