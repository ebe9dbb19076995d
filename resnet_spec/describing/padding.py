"""Writes ``same`` padding as numbers where it is the same at every size, so that networks that state either compare."""

from __future__ import annotations

from resnet_spec.graph import Graph, Node


def with_explicit_padding(graph: Graph) -> Graph:
    """The same network; windows that keep the size by ``same`` state the padding of each side.

    At a stride of 1 and with an odd extent ``same`` is symmetric whatever the size; elsewhere it stays as it is.
    """
    return graph.with_nodes(map(_explicit, graph.nodes))


def _explicit(node: Node) -> Node:
    own = node.operation
    if getattr(own, "padding", None) != "same" or set(getattr(own, "stride", (2,))) != {1}:
        return node
    kernel: tuple[int, ...] = getattr(own, "kernel", ())
    dilation: tuple[int, ...] = getattr(own, "dilation", (1,) * len(kernel))
    extents = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(extent % 2 for extent in extents):
        return node
    padding = tuple((extent // 2, extent // 2) for extent in extents)
    return node.model_copy(update={"operation": own.model_copy(update={"padding": padding})})
