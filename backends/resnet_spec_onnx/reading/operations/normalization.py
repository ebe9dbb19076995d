"""The normal form of normalizations."""

from __future__ import annotations

import numpy as np

from resnet_spec import operations as ops
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS, OPERATION_FORMS, OperationView
from resnet_spec_onnx.reading.steps import NormalForm, to_float32


@OPERATION_FORMS.register("batch_norm")
def _batch_norm(op: ops.BatchNorm, view: OperationView, x: int) -> int:
    return view.network.add("batch_norm", (x,), view.source, None, view.tensors, epsilon=to_float32(op.epsilon))


@OPERATION_FORMS.register("group_norm")
def _group_norm(op: ops.GroupNorm, view: OperationView, x: int) -> int:
    return view.network.group_norm(x, view.source, op.groups, op.epsilon, view.tensors)


@OPERATION_FORMS.register("instance_norm")
def _instance_norm(op: ops.InstanceNorm, view: OperationView, x: int) -> int:
    if not view.tensors and _is_of_groups(view.network, x):
        return _normalized_groups(view.network, x, view.source, op.epsilon)
    return view.network.add("instance_norm", (x,), view.source, None, view.tensors, epsilon=to_float32(op.epsilon))


def _is_of_groups(network: NormalForm, x: int) -> bool:
    """Whether a value is rows that a reshape made, whose normalization is one of groups."""
    step = network.steps[x]
    return step.kind == "reshape" and step.shape[2:] == (1,)


def _normalized_groups(network: NormalForm, x: int, source: str, epsilon: float) -> int:
    """Add the normalization of each row without scale and offset, as one of groups of what the rows were made of."""
    before = network.steps[x]
    return network.reshape(network.group_norm(before.inputs[0], source, before.shape[0], epsilon), source, before.shape)


@OPERATION_FORMS.register("layer_norm")
def _layer_norm(op: ops.LayerNorm, view: OperationView, x: int) -> int:
    epsilon = to_float32(op.epsilon)
    return view.network.add("layer_norm", (x,), view.source, None, view.tensors, axis=op.axis, epsilon=epsilon)


@NODE_FORMS.register("LayerNormalization")
def _layer_normalization_node(node: NodeView) -> Value:
    value = node.computed()
    rank = len(value.axes)
    axis = value.axes[-1]
    if node.positive_axis(node.integer("axis", -1), rank) != rank - 1 or not axis:
        raise node.error("normalizes over several axes, or over one of size 1")
    size = node.sizes(value)[-1]
    constants = {"weight": node.constant(1)} | ({"bias": node.constant(2)} if node.has_input(2) else {})
    if any(constant.array.shape != (size,) for constant in constants.values()):
        raise node.error(f"has no scale and offset of size {size}")
    tensors = {slot: node.tensor(constant) for slot, constant in constants.items()}
    epsilon = to_float32(node.real("epsilon", 1e-5))
    step = node.network.add("layer_norm", (value.step,), node.source, None, tensors, axis=axis - 1, epsilon=epsilon)
    return Computed(step, value.axes)


@NODE_FORMS.register("BatchNormalization")
def _batch_normalization_node(node: NodeView) -> Value:
    node.require(spatial=1)
    value = node.computed()
    step = node.channels_first(value, len(value.axes))
    names = ("weight", "bias", "running_mean", "running_var")
    constants = [node.constant(index) for index in range(1, 5)]
    if any(constant.array.shape != (node.channels(step),) for constant in constants):
        raise node.error(f"has no parameters for {node.channels(step)} channels")
    tensors = {name: node.tensor(constant) for name, constant in zip(names, constants, strict=True)}
    epsilon = to_float32(node.real("epsilon", 1e-5))
    return Computed(node.network.add("batch_norm", (step,), node.source, None, tensors, epsilon=epsilon), value.axes)


@NODE_FORMS.register("InstanceNormalization")
def _instance_normalization_node(node: NodeView) -> Value:
    """A group normalization as exporters write it (a reshape to groups, their normalization, and a reshape back), or a
    normalization of each channel."""
    value = node.computed()
    step = node.channels_first(value, len(value.axes))
    before = node.network.steps[step]
    neutral = all(np.all(node.constant(index).array == number) for index, number in ((1, 1), (2, 0)))
    if not (neutral and _is_of_groups(node.network, step)):
        constants = {"weight": node.constant(1), "bias": node.constant(2)}
        channels = before.shape[0]
        if any(constant.array.shape != (channels,) for constant in constants.values()):
            raise node.error(f"has no scale and offset for each of {channels} channels")
        tensors = {slot: node.tensor(constant) for slot, constant in constants.items()}
        epsilon = to_float32(node.real("epsilon", 1e-5))
        step = node.network.add("instance_norm", (step,), node.source, None, tensors, epsilon=epsilon)
        return Computed(step, value.axes)
    return node.result(_normalized_groups(node.network, step, node.source, node.real("epsilon", 1e-5)), 3)


@NODE_FORMS.register("GroupNormalization")
def _group_normalization_node(node: NodeView) -> Value:
    value = node.computed()
    step = node.channels_first(value, len(value.axes))
    weight, bias = node.constant(1), node.constant(2)
    channels = node.channels(step)
    if weight.array.shape != (channels,) or bias.array.shape != (channels,):
        raise node.error(f"has no scale and offset for each of {channels} channels")
    tensors = {"weight": node.tensor(weight), "bias": node.tensor(bias)}
    groups, epsilon = node.integer("num_groups", 1), node.real("epsilon", 1e-5)
    return Computed(node.network.group_norm(step, node.source, groups, epsilon, tensors), value.axes)


@OPERATION_FORMS.register("l2_normalize")
def _l2_normalize(op: ops.L2Normalize, view: OperationView, x: int) -> int:
    norm = view.network.reduction("norm", x, view.source, [op.axis])
    minimum, maximum = to_float32(op.epsilon), float("inf")
    bounded = view.network.add("clip", (norm,), view.source, nonnegative=True, minimum=minimum, maximum=maximum)
    return view.network.join("divide", (x, bounded), view.source)
