"""The normal form of normalizations."""

from __future__ import annotations

import numpy as np

from resnet_spec import operations as ops
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS, OPERATION_FORMS, OperationView
from resnet_spec_onnx.reading.steps import to_float32


@OPERATION_FORMS.register("batch_norm")
def _batch_norm(op: ops.BatchNorm, view: OperationView, x: int) -> int:
    return view.network.add("batch_norm", (x,), view.source, None, view.tensors, epsilon=to_float32(op.epsilon))


@OPERATION_FORMS.register("group_norm")
def _group_norm(op: ops.GroupNorm, view: OperationView, x: int) -> int:
    return view.network.group_norm(x, view.source, op.groups, op.epsilon, view.tensors)


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
    """A group normalization as exporters write it: a reshape to groups, their normalization, and a reshape back."""
    step = node.channels_first(node.computed(), 3)
    before = node.network.steps[step]
    neutral = all(np.all(node.constant(index).array == number) for index, number in ((1, 1), (2, 0)))
    if before.kind != "reshape" or not neutral:
        raise node.error("is not part of a group normalization")
    (x,) = before.inputs
    step = node.network.group_norm(x, node.source, before.shape[0], node.real("epsilon", 1e-5))
    return node.result(node.network.reshape(step, node.source, before.shape), 3)


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
