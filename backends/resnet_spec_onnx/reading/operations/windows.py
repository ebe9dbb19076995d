"""A node's kernel, stride, padding and dilation as the ``Window`` of a convolution or a pool."""

from __future__ import annotations

from resnet_spec.operations.fields import UNPADDED, Edges
from resnet_spec.operations.windows import explicit_padding
from resnet_spec_onnx.reading.node_view import NodeView
from resnet_spec_onnx.reading.steps import Padding, Window

LIMIT = 2**16
"""Larger kernels, strides and pads are refused."""


def window_of(node: NodeView, step: int, kernel: tuple[int, ...]) -> Window:
    """Return the window of a node that reads ``step``; a kernel of one axis gets a second one of 1."""
    rank = len(kernel)
    bare = Window(
        _pair(node, kernel, rank),
        _pair(node, node.integers("strides", [1] * rank), rank),
        UNPADDED,
        _pair(node, node.integers("dilations", [1] * rank), rank),
        bool(node.integer("ceil_mode")),
    )
    return bare._replace(padding=_padding(node, step, bare, rank))


def _pair(node: NodeView, numbers: tuple[int, ...], rank: int) -> tuple[int, int]:
    if len(numbers) != rank or any(not 0 < number < LIMIT for number in numbers):
        raise node.error(f"has {list(numbers)} for {rank} axes")
    return (numbers[0], numbers[1]) if rank == 2 else (numbers[0], 1)


def _padding(node: NodeView, step: int, window: Window, rank: int) -> Padding:
    rule = node.string("auto_pad", "NOTSET")
    if rule == "SAME_UPPER":
        return "same"
    if rule == "SAME_LOWER":
        sizes = node.network.steps[step].shape[1:]
        (top, bottom), (left, right) = explicit_padding(sizes, window.kernel, window.stride, "same", window.dilation)
        return (bottom, top), (right, left)
    if rule == "VALID":
        return UNPADDED
    if rule != "NOTSET":
        raise node.error(f"has auto_pad {rule!r}")
    return _edges(node, node.integers("pads", [0] * 2 * rank), rank)


def _edges(node: NodeView, pads: tuple[int, ...], rank: int) -> Edges:
    """Return ONNX's pads, all beginnings before all ends, as ((top, bottom), (left, right))."""
    if len(pads) != 2 * rank or any(not 0 <= number < LIMIT for number in pads):
        raise node.error(f"has pads {list(pads)}")
    if rank == 1:
        return (pads[0], pads[1]), (0, 0)
    return (pads[0], pads[2]), (pads[1], pads[3])
