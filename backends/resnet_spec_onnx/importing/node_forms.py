"""The forms of ONNX nodes that a graph states and the normal form leaves out, or reads otherwise.

A constant that varies with the positions is a learned factor or term, dropout is a step, and a batch normalization has
a momentum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from resnet_spec.structure.steps import POINT
from resnet_spec_onnx.importing import by_position
from resnet_spec_onnx.importing.stated_form import StatedForm
from resnet_spec_onnx.reading.constant_folding import Constant, Unknown
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations import NODE_FORMS
from resnet_spec_onnx.reading.operations.joining import with_constant
from resnet_spec_onnx.reading.operations.learned import learned
from resnet_spec_onnx.reading.operations.parameters import per_channel
from resnet_spec_onnx.reading.operations.tables import NodeForm


def _single(node: NodeView, op_type: str) -> Computed:
    """Return what the normal form makes of a node with one output."""
    value = NODE_FORMS[op_type](node)
    if not isinstance(value, Computed):
        raise node.error("does not depend on the input")
    return value


def _batch_normalization(node: NodeView) -> Value:
    node.require(training_mode=0)
    value = _single(node, "BatchNormalization")
    step = node.network.steps[value.step]
    node.network.steps[value.step] = replace(step, fields={**step.fields, "decay": node.real("momentum", 0.9)})
    return value


def _dropout(node: NodeView) -> Value:
    rate = node.real("ratio", 0.5)
    if node.has_input(1):
        rate = float(node.constant(1).array.reshape(-1)[0])
    return node.elementwise("dropout", rate=rate) if 0 < rate < 1 else node.computed()


def _multiply_or_add(node: NodeView) -> Value:
    """A product or sum, with a learned factor or term where the constant varies with more than the channels."""
    constants = [index for index, value in enumerate(node.inputs) if isinstance(value, Constant)]
    if len(node.inputs) != 2 or len(constants) != 1:
        return _single(node, node.proto.op_type)
    constant, value = node.constant(constants[0]), node.computed(1 - constants[0])
    if not _varies_with_positions(value, constant):
        kind, fields = AFFINE[node.proto.op_type]
        return with_constant(node, value, constant, kind, **fields)
    if normalized := by_position.with_scale_or_offset(node, value, constant):
        return normalized
    if node.proto.op_type == "Add" and (biased := _with_bias(node, value, constant)):
        return biased
    return learned(node, value, constant, {"Mul": "learned_scale", "Add": "learned_offset"}[node.proto.op_type])


def _subtract(node: NodeView) -> Value:
    """A difference; a constant that varies with more than the channels is a learned term."""
    value, constant = (node.inputs[0], node.inputs[1]) if len(node.inputs) == 2 else (None, None)
    if isinstance(value, Computed) and isinstance(constant, Constant) and _varies_with_positions(value, constant):
        return by_position.without_mean(node, value, constant)
    return _single(node, "Sub")


def _divide(node: NodeView) -> Value:
    one = node.inputs[0]
    if isinstance(one, Constant) and one.array.size == 1 and one.array.item() == 1:
        return _reciprocal(node, 1)
    return by_position.normalized(node) or _single(node, "Div")


def _reciprocal(node: NodeView, index: int = 0) -> Value:
    """One over a root, which normalizations are written with."""
    value = node.computed(index)
    root = node.network.steps[value.step]
    if root.kind != "root":
        raise node.error("divides a constant by a value")
    step = node.network.add("reciprocal_root", root.inputs, node.source, nonnegative=True)
    return Computed(step, value.axes)


AFFINE: Mapping[str, tuple[str, dict[str, bool]]] = {
    "Mul": ("scale", {"divided": False}),
    "Add": ("shift", {"negated": False}),
}


def _varies_with_positions(value: Computed, constant: Constant) -> bool:
    shape = constant.array.shape
    if len(shape) > len(value.axes) or constant.array.dtype.kind != "f":
        return False
    axes = value.axes[len(value.axes) - len(shape) :]
    return any(size != 1 and axis not in (1, None) for size, axis in zip(shape, axes, strict=True))


def _with_bias(node: NodeView, value: Computed, constant: Constant) -> Value | None:
    """Return a linear layer along the last axis with a constant as its bias, if it can be that."""
    step = node.network.steps[value.step]
    last = step.fields.get("last")
    if last is None or "bias" in step.tensors or constant.array.shape != (step.shape[int(str(last))],):
        return None
    if value.axes[-1] != int(str(last)) + 1:
        return None
    tensors = {**step.tensors, "bias": node.tensor(constant)}
    biased = node.network.add("linear", step.inputs, step.source, step.shape, tensors, last=last)
    return Computed(biased, value.axes)


def _product(node: NodeView) -> Value:
    """A product with a kernel along the last axis, or of two values."""
    if len(node.inputs) == 2 and all(isinstance(value, Computed) for value in node.inputs):
        return _product_of_values(node)
    value = node.computed()
    rank = len(value.axes)
    if rank == 2:
        return _single(node, "MatMul")
    weight = node.constant(1)
    if weight.array.ndim != 2 or weight.array.shape[0] != node.sizes(value)[-1]:
        raise node.error(f"has a kernel {list(weight.array.shape)} for {list(node.sizes(value))}")
    features = weight.array.shape[1]
    if value.axes[-1] == 1 and rank == 4:
        # Along the channels of a map it is a convolution, in either layout.
        kernel = node.tensor(weight, weight.array.T[:, :, None, None])
        step = node.network.convolution(value.step, node.source, POINT, features, 1, {"weight": kernel})
        return Computed(step, value.axes)
    step = node.channels_first(value, rank)
    shape = (*node.network.steps[step].shape[: rank - 2], features)
    tensors = {"weight": node.tensor(weight, weight.array.T)}
    return node.result(node.network.add("linear", (step,), node.source, shape, tensors, last=rank - 2), rank)


def _product_of_values(node: NodeView) -> Value:
    values = [node.computed(0), node.computed(1)]
    rank = len(values[0].axes)
    if len(values[1].axes) != rank or rank < 3:
        raise node.error("is a product of values with different numbers of axes, or of vectors")
    steps = [node.channels_first(value, rank) for value in values]
    first, second = (node.sizes(value)[1:] for value in values)
    if first[-1] != second[-2] or any(len({a, b} - {1}) > 1 for a, b in zip(first[:-2], second[:-2], strict=True)):
        raise node.error(f"multiplies {list(first)} and {list(second)}")
    leading = (max(pair) for pair in zip(first[:-2], second[:-2], strict=True))
    shape = (*leading, first[-2], second[-1])
    return node.result(node.network.add("matmul", tuple(steps), node.source, shape, rank=rank - 1), rank)


def _reshape(node: NodeView) -> Value:
    """A reshape; one that only removes axes of size 1 is a step too, so that a vector is where the file has one."""
    before, value = node.computed(), _single(node, node.proto.op_type)
    sizes = node.sizes(value)
    if value.step != before.step or len(value.axes) != 2 or len(before.axes) == 2 or sizes[0] != node.layout.batch:
        return value
    step = node.channels_first(value, 2)
    shape = node.sizes(value)[1:]
    vector = node.network.add("reshape", (step,), node.source, shape, to=shape)
    return node.result(vector, 2)


def _transpose(node: NodeView) -> Value:
    """An exchange of axes, which becomes a step where their order matters."""
    value = _single(node, "Transpose")
    sizes = node.sizes(value)
    axes = tuple(axis - 1 for axis, size in zip(value.axes, sizes, strict=True) if axis and size != 1)
    if isinstance(node.network, StatedForm):
        node.network.transposes.setdefault((value.step, axes), node.source)
    return value


def _convolution(node: NodeView) -> Value:
    """A convolution; one whose kernel is computed from weights may standardize it."""
    network = node.network
    computed = len(node.inputs) > 1 and isinstance(node.inputs[1], Unknown)
    if not (computed and isinstance(network, StatedForm) and network.expressions):
        return _single(node, "Conv")
    found = network.expressions.standardized(node.proto.input[1])
    if found is None:
        raise node.error("has a kernel that is computed from weights in a way that is not supported")
    array: Any = found.weight.array
    node.inputs = [node.inputs[0], Constant(array, found.weight.names), *node.inputs[2:]]
    value = _single(node, "Conv")
    step = network.steps[value.step]
    gain = {"gain": found.gain} if found.gain else {}
    network.steps[value.step] = replace(
        step,
        kind="standardized_convolution",
        fields={**step.fields, "epsilon": found.epsilon, "gamma": found.gamma},
        tensors={**step.tensors, **gain},
    )
    return value


def _root(node: NodeView) -> Value:
    return node.elementwise("root", nonnegative=True)


def _largest(node: NodeView) -> Value:
    """The largest of values; a bound of one number per channel is a learned one."""
    constants = [index for index, value in enumerate(node.inputs) if isinstance(value, Constant)]
    if len(node.inputs) != 2 or len(constants) != 1 or node.constant(constants[0]).array.size == 1:
        return _single(node, "Max")
    constant, value = node.constant(constants[0]), node.computed(1 - constants[0])
    tensors = {"tau": node.tensor(constant, per_channel(node, value, constant))}
    return Computed(node.network.add("learned_bound", (value.step,), node.source, None, tensors), value.axes)


STATED_FORMS: Mapping[str, NodeForm] = {
    **NODE_FORMS,
    "Add": _multiply_or_add,
    "BatchNormalization": _batch_normalization,
    "Conv": _convolution,
    "Div": _divide,
    "Dropout": _dropout,
    "Flatten": _reshape,
    "MatMul": _product,
    "Max": _largest,
    "Mul": _multiply_or_add,
    "Reciprocal": _reciprocal,
    "Reshape": _reshape,
    "Sqrt": _root,
    "Sub": _subtract,
    "Transpose": _transpose,
}
"""By the name of an ONNX operator: its view to its value, or to one for each output."""
