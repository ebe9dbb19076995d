"""The normal form of means, maxima and sums along axes; over all positions they are global pools."""

from __future__ import annotations

from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS


@NODE_FORMS.register("ReduceMean")
def _reduce_mean_node(node: NodeView) -> Value:
    return _reduced(node, "mean")


@NODE_FORMS.register("ReduceMax")
def _reduce_max_node(node: NodeView) -> Value:
    return _reduced(node, "max")


@NODE_FORMS.register("ReduceSum")
def _reduce_sum_node(node: NodeView) -> Value:
    return _reduced(node, "sum")


@NODE_FORMS.register("ReduceL2")
def _reduce_norm_node(node: NodeView) -> Value:
    return _reduced(node, "norm")


def _reduced(node: NodeView, kind: str) -> Value:
    """A reduction along the axes of the step, whichever axes of the value those are."""
    value, sizes = node.computed(), node.sizes(node.computed())
    given = node.integer_input(1, "axes") or (() if node.integer("noop_with_empty_axes") else range(len(sizes)))
    reduced = {node.positive_axis(axis, len(sizes)) for axis in given}
    axes = {value.axes[index] for index in reduced} - {None}
    if 0 in axes and node.layout.batch != 1:
        raise node.error("reduces the batch")
    step = node.network.reduction(kind, value.step, node.source, [axis - 1 for axis in axes if axis])
    if node.integer("keepdims", 1):
        return Computed(step, value.axes)
    return Computed(step, tuple(axis for index, axis in enumerate(value.axes) if index not in reduced))
