"""Writes parts of a value as parts, where the source states where each begins and ends."""

from __future__ import annotations

from resnet_spec.graph import Graph, Node
from resnet_spec.operations import Slice


def in_equal_parts(graph: Graph) -> Graph:
    """The same network: slices that share out an axis equally are the parts of it, as ``torch.chunk`` returns them.

    Unlike where a slice begins and ends, which part it is does not depend on the width.
    """
    along: dict[tuple[str, int], list[tuple[tuple[int, int], Node]]] = {}
    for node in graph.nodes:
        if isinstance(node.operation, Slice):
            axis = node.operation.axis
            bounds = node.operation.bounds(graph.input_shapes(node)[0][axis])
            along.setdefault((node.inputs[0], axis), []).append((bounds, node))
    changed: dict[str, Node] = {}
    for (_, axis), slices in along.items():
        own = sorted({bounds for bounds, _ in slices})
        count, size = len(own), graph.input_shapes(slices[0][1])[0][axis]
        if count < 2 or size % count or own != [(size // count * i, size // count * (i + 1)) for i in range(count)]:
            continue
        for bounds, node in slices:
            if isinstance(node.operation, Slice) and node.operation.part is not None:
                continue
            operation = Slice(op="slice", axis=axis, part=own.index(bounds), parts=count)
            changed[node.name] = node.model_copy(update={"operation": operation})
    if not changed:
        return graph
    return graph.model_copy(update={"nodes": tuple(changed.get(node.name, node) for node in graph.nodes)})
