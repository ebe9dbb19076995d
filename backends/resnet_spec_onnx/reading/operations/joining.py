"""The normal form of operations of several values, and of a value and a constant per channel."""

from __future__ import annotations

from functools import reduce

from resnet_spec.structure.affine_folding import CONVOLUTIONS
from resnet_spec.structure.steps import IncomparableError, to_float32
from resnet_spec_onnx.reading.constant_folding import Constant
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.learned import is_learned, learned
from resnet_spec_onnx.reading.operations.parameters import per_channel
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS


@NODE_FORMS.register("Add", "Sum")
def _add_node(node: NodeView) -> Value:
    return _binary(node, "add", "shift", negated=False)


@NODE_FORMS.register("Mul")
def _multiply_node(node: NodeView) -> Value:
    return _binary(node, "multiply", "scale", divided=False)


@NODE_FORMS.register("Sub")
def _subtract_node(node: NodeView) -> Value:
    if len(node.inputs) == 2 and isinstance(node.inputs[1], Computed):
        return joined(node, "subtract", [node.computed(0), node.computed(1)])
    return with_constant(node, node.computed(0), node.constant(1), "shift", negated=True)


@NODE_FORMS.register("Div")
def _divide_node(node: NodeView) -> Value:
    if len(node.inputs) == 2 and all(isinstance(value, Computed) for value in node.inputs):
        return joined(node, "divide", [node.computed(0), node.computed(1)])
    return with_constant(node, node.computed(0), node.constant(1), "scale", divided=True)


def _binary(node: NodeView, kind: str, affine: str, **fields: bool) -> Value:
    if len(node.inputs) != 2:
        raise node.error(f"has {len(node.inputs)} inputs; only two are supported")
    for index in (0, 1):
        if not isinstance(node.inputs[index], Computed):
            value, constant = node.computed(1 - index), node.constant(index)
            if kind == "multiply" and (factor := _factor(node, value, constant)):
                return Computed(node.network.factor(value.step, node.source, factor), value.axes)
            if is_learned(node, constant) and not _may_be_part(node, kind, value, constant):
                return learned(node, value, constant, {"add": "learned_offset", "multiply": "learned_scale"}[kind])
            return with_constant(node, value, constant, affine, **fields)
    return joined(node, kind, [node.computed(0), node.computed(1)])


def _factor(node: NodeView, value: Computed, constant: Constant) -> float | None:
    """Return a constant if it is a factor of the spec, else None."""
    array = constant.array
    if array.dtype.kind != "f" or array.size != 1 or array.ndim > len(value.axes):
        return None
    number = to_float32(array.item())
    return number if number in node.layout.factors else None


def _may_be_part(node: NodeView, kind: str, value: Computed, constant: Constant) -> bool:
    """Whether a constant is the bias of a convolution or linear layer without one, or the scale or offset of a
    normalization of groups, which exporters write as nodes."""
    step = node.network.steps[value.step]
    if constant.array.size != step.shape[0]:
        return False
    if step.kind == "scale":
        return kind == "add" and node.network.steps[step.inputs[0]].kind == "group_norm"
    biased = kind == "add" and step.kind in CONVOLUTIONS and "bias" not in step.tensors
    return biased or step.kind == "group_norm"


def joined(node: NodeView, kind: str, values: list[Computed]) -> Computed:
    """Return the join of values whose axes have the same meaning; a size of 1 broadcasts."""
    values = _aligned(node, values)
    sizes = [node.sizes(value) for value in values]
    if any(len({*along} - {1}) > 1 for along in zip(*sizes, strict=True)):
        raise _mismatch(node, values)
    step = reduce(
        lambda total, value: node.network.join(kind, (total, value.step), node.source), values[1:], values[0].step
    )
    return Computed(step, _common_axes(values, sizes))


def _aligned(node: NodeView, values: list[Computed]) -> list[Computed]:
    """Return values with equal axes, wherever a size is not 1; if they differ, all are put in order."""
    rank = len(values[0].axes)
    if any(len(value.axes) != rank for value in values):
        raise _mismatch(node, values)
    sizes = [node.sizes(value) for value in values]
    longer = [
        {value.axes[index] for value, own in zip(values, sizes, strict=True) if own[index] != 1}
        for index in range(rank)
    ]
    found = [axis for axes in longer for axis in axes]
    if len(found) == len({*found}) and all(len(axes) <= 1 for axes in longer):
        return values
    # A reshape has changed the meaning of the axes of one of them.
    return [node.result(node.channels_first(value, rank), rank) for value in values]


def _common_axes(values: list[Computed], sizes: list[tuple[int, ...]]) -> tuple[int | None, ...]:
    """Return the axes of a join: for each that of a value that is larger than 1 there, or of any."""
    common: list[int | None] = []
    for index in range(len(sizes[0])):
        order = sorted(range(len(values)), key=lambda which: sizes[which][index] == 1)
        known = [values[which].axes[index] for which in order]
        common.append(next((axis for axis in known if axis is not None), None))
    return tuple(common)


def _mismatch(node: NodeView, values: list[Computed]) -> IncomparableError:
    return node.error(f"joins {' and '.join(str(list(node.sizes(value))) for value in values)}")


@NODE_FORMS.register("Concat")
def _concat_node(node: NodeView) -> Value:
    values = [node.computed(index) for index in range(len(node.inputs))]
    rank = len(values[0].axes)
    axis = node.positive_axis(node.integer("axis"), rank)
    own = {value.axes[axis] for value in values}
    if None in own or len(own) > 1 or len({value.axes for value in values}) > 1:
        values = [node.result(node.channels_first(value, rank), rank) for value in values]
    sizes = [node.sizes(value) for value in values]
    if len({(own[:axis], own[axis + 1 :]) for own in sizes}) != 1:
        raise _mismatch(node, values)
    along = values[0].axes[axis]
    if not along:
        raise node.error("concatenates batches")
    step = node.network.concat([value.step for value in values], node.source, along - 1)
    return Computed(step, values[0].axes)


def with_constant(node: NodeView, value: Computed, constant: Constant, kind: str, **fields: bool) -> Value:
    """A scale or shift by one number per channel; a scalar 1 or 0 that changes nothing adds no step."""
    array = per_channel(node, value, constant)
    if constant.array.size == 1 and float(array.flat[0]) == (1.0 if kind == "scale" else 0.0):
        return value
    slot = "weight" if kind == "scale" else "bias"
    tensors = {slot: node.tensor(constant, array)}
    return Computed(node.network.add(kind, (value.step,), node.source, None, tensors, **fields), value.axes)
