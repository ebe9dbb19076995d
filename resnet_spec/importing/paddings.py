"""Writes padding in one way, where the source states it in words for some windows and in numbers for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnet_spec.operations import AvgPool, Conv, MaxPool, StdConv
from resnet_spec.operations.windows import is_unpadded

if TYPE_CHECKING:
    from resnet_spec.graph import Graph

WINDOWS = (AvgPool, Conv, MaxPool, StdConv)


def in_numbers(graph: Graph) -> Graph:
    """The same network: ``same`` of windows without a stride is numbers, if strided windows are padded by numbers.

    Keras has no other word for the padding of a convolution, so that a block with a stride would be another one.
    """
    windows = {node.name: node.operation for node in graph.nodes if isinstance(node.operation, WINDOWS)}
    strided = [operation for operation in windows.values() if max(operation.stride) > 1]
    if all(operation.padding == "same" or is_unpadded(operation.padding) for operation in strided):
        return graph
    changed = {
        name: operation.model_copy(update={"padding": fixed})
        for name, operation in windows.items()
        if operation.padding == "same" and max(operation.stride) == 1 and (fixed := operation.fixed_padding) is not None
    }
    nodes = [node.model_copy(update={"operation": changed.get(node.name, node.operation)}) for node in graph.nodes]
    return graph.model_copy(update={"nodes": tuple(nodes)}) if changed else graph
