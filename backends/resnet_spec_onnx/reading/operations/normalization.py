"""The normal form of normalizations."""

from __future__ import annotations

import numpy as np

from resnet_spec.structure.steps import to_float32
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS


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
    if not (neutral and node.network.is_rows(step)):
        constants = {"weight": node.constant(1), "bias": node.constant(2)}
        channels = before.shape[0]
        if any(constant.array.shape != (channels,) for constant in constants.values()):
            raise node.error(f"has no scale and offset for each of {channels} channels")
        tensors = {slot: node.tensor(constant) for slot, constant in constants.items()}
        epsilon = to_float32(node.real("epsilon", 1e-5))
        step = node.network.add("instance_norm", (step,), node.source, None, tensors, epsilon=epsilon)
        return Computed(step, value.axes)
    return node.result(node.network.normalized_rows(step, node.source, node.real("epsilon", 1e-5)), 3)


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
