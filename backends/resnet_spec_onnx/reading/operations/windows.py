"""A node's kernel, stride, padding and dilation as the ``Window`` of a convolution or a pool."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_spec.operations.fields import Edges
from resnet_spec.operations.windows import explicit_padding
from resnet_spec.structure.steps import Padding, Window
from resnet_spec_onnx.reading.node_view import NodeView

LIMIT = 2**16
"""Larger kernels, strides and pads are refused."""


def window_of(node: NodeView, step: int, kernel: tuple[int, ...]) -> Window:
    """Return the window of a node that reads ``step``; a kernel of one axis gets a second one of 1."""
    ones = [1] * len(kernel)
    bare = Window(
        _numbers(node, kernel, len(kernel)),
        _numbers(node, node.integers("strides", ones), len(kernel)),
        ((0, 0),) * len(kernel),
        _numbers(node, node.integers("dilations", ones), len(kernel)),
        bool(node.integer("ceil_mode")),
    )
    return bare._replace(padding=_padding(node, step, bare)).for_axes(max(2, len(kernel)))


def _numbers(node: NodeView, numbers: Sequence[int], rank: int) -> tuple[int, ...]:
    if len(numbers) != rank or any(not 0 < number < LIMIT for number in numbers):
        raise node.error(f"has {list(numbers)} for {rank} axes")
    return tuple(numbers)


def _padding(node: NodeView, step: int, window: Window) -> Padding:
    rule, rank = node.string("auto_pad", "NOTSET"), len(window.kernel)
    if rule == "SAME_UPPER":
        return "same"
    if rule == "SAME_LOWER":
        sizes = (*node.network.steps[step].shape[1:], 1)[:rank]
        edges = explicit_padding(sizes, window.kernel, window.stride, "same", window.dilation)
        return tuple((after, before) for before, after in edges)
    if rule == "VALID":
        return window.padding
    if rule != "NOTSET":
        raise node.error(f"has auto_pad {rule!r}")
    return _edges(node, node.integers("pads", [0] * 2 * rank), rank)


def _edges(node: NodeView, pads: tuple[int, ...], rank: int) -> Edges:
    """Return ONNX's pads, all beginnings before all ends, as pairs."""
    if len(pads) != 2 * rank or any(not 0 <= number < LIMIT for number in pads):
        raise node.error(f"has pads {list(pads)}")
    return tuple(zip(pads[:rank], pads[rank:], strict=True))
