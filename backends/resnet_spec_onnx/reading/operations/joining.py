"""The normal form of sums and products: of two values, or of a value and a constant per channel."""

from __future__ import annotations

from functools import reduce
from math import prod

from resnet_spec import operations as ops
from resnet_spec_onnx.reading.affine_folding import CONVOLUTIONS
from resnet_spec_onnx.reading.constant_folding import Constant
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.learned import is_learned, learned
from resnet_spec_onnx.reading.operations.parameters import per_channel
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS, OPERATION_FORMS, OperationView


@OPERATION_FORMS.register("add", "multiply")
def _join(op: ops.Add | ops.Multiply, view: OperationView, *values: int) -> int:
    return reduce(lambda total, value: view.network.join(op.op, (total, value), view.source), values)


@NODE_FORMS.register("Add", "Sum")
def _add_node(node: NodeView) -> Value:
    return _binary(node, "add", "shift", negated=False)


@NODE_FORMS.register("Mul")
def _multiply_node(node: NodeView) -> Value:
    return _binary(node, "multiply", "scale", divided=False)


@NODE_FORMS.register("Sub")
def _subtract_node(node: NodeView) -> Value:
    return _affine(node, node.computed(0), node.constant(1), "shift", negated=True)


@NODE_FORMS.register("Div")
def _divide_node(node: NodeView) -> Value:
    return _affine(node, node.computed(0), node.constant(1), "scale", divided=True)


def _binary(node: NodeView, kind: str, affine: str, **fields: bool) -> Value:
    if len(node.inputs) != 2:
        raise node.error(f"has {len(node.inputs)} inputs; only two are supported")
    for index in (0, 1):
        if not isinstance(node.inputs[index], Computed):
            value, constant = node.computed(1 - index), node.constant(index)
            if is_learned(node, constant) and not (kind == "add" and _may_be_bias(node, value, constant)):
                return learned(node, value, constant, {"add": "learned_offset", "multiply": "learned_scale"}[kind])
            return _affine(node, value, constant, affine, **fields)
    return _joined(node, kind)


def _may_be_bias(node: NodeView, value: Computed, constant: Constant) -> bool:
    """Whether a term follows a convolution or linear layer that has no bias, as some exporters write one."""
    step = node.network.steps[value.step]
    return step.kind in CONVOLUTIONS and "bias" not in step.tensors and constant.array.size == step.shape[0]


def _joined(node: NodeView, kind: str) -> Value:
    """Two values whose axes have the same meaning; one may broadcast to the other, except in a sum."""
    values = [node.computed(0), node.computed(1)]
    first, second = (node.sizes(value) for value in values)
    larger = max(first, second, key=prod)
    fits = len(first) == len(second) and all(
        size in (1, wanted) for sizes in (first, second) for size, wanted in zip(sizes, larger, strict=True)
    )
    if not fits or (kind == "add" and first != second):
        raise node.error(f"joins {list(first)} and {list(second)}")
    axes = list(zip(first, second, values[0].axes, values[1].axes, strict=True))
    if any(a != 1 and b != 1 and axis != other for a, b, axis, other in axes):
        # A reshape has changed the meaning of the axes of one of them.
        values = [node.result(node.channels_first(value, len(first)), len(first)) for value in values]
        axes = list(zip(first, second, values[0].axes, values[1].axes, strict=True))
    joined = [axis if a != 1 or (b == 1 and axis is not None) else other for a, b, axis, other in axes]
    return Computed(node.network.join(kind, [value.step for value in values], node.source), tuple(joined))


def _affine(node: NodeView, value: Computed, constant: Constant, kind: str, **fields: bool) -> Value:
    """A scale or shift by one number per channel; a scalar 1 or 0 that changes nothing adds no step."""
    array = per_channel(node, value, constant)
    if constant.array.size == 1 and float(array.flat[0]) == (1.0 if kind == "scale" else 0.0):
        return value
    slot = "weight" if kind == "scale" else "bias"
    tensors = {slot: node.tensor(constant, array)}
    return Computed(node.network.add(kind, (value.step,), node.source, None, tensors, **fields), value.axes)
