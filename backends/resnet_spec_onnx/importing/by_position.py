"""A batch normalization of each position by itself, for which ONNX has no node.

It is one node each for mean, deviation, scale and offset, with a number for every element of the map.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from resnet_spec.structure.steps import Tensor
from resnet_spec_onnx.importing.stated_form import StatedForm
from resnet_spec_onnx.reading.constant_folding import Constant
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.learned import learned

if TYPE_CHECKING:
    from resnet_spec.operations.fields import Shape

SLOTS = {"Mul": "weight", "Add": "bias"}


def without_mean(node: NodeView, value: Computed, constant: Constant) -> Value:
    """A value less a constant that varies with the positions: a learned term whose sign is exchanged."""
    found = learned(node, value, constant, "learned_offset")
    if isinstance(found, Computed):
        step = node.network.steps[found.step]
        node.network.steps[found.step] = replace(step, fields={**step.fields, "negated": True})
    return found


def normalized(node: NodeView) -> Value | None:
    """A value without its mean over a deviation that is computed from a variance; None for any other division."""
    network, value = node.network, node.inputs[0]
    if not isinstance(network, StatedForm) or network.expressions is None or not isinstance(value, Computed):
        return None
    centered = network.steps[value.step]
    mean = centered.tensors.get("")
    if centered.kind != "learned_offset" or "negated" not in centered.fields or not _is_map(mean, centered.shape):
        return None
    found = network.expressions.deviation(node.proto.input[1])
    if found is None or mean is None:
        return None
    variance, epsilon = found
    if not _is_map(variance, centered.shape):
        return None
    tensors = {"running_mean": mean, "running_var": variance}
    step = network.add("position_batch_norm", centered.inputs, node.source, None, tensors, epsilon=epsilon)
    return Computed(step, value.axes)


def with_scale_or_offset(node: NodeView, value: Computed, constant: Constant) -> Value | None:
    """A normalized value times its scale, or plus its offset; None for another product or sum."""
    step, slot = node.network.steps[value.step], SLOTS[node.proto.op_type]
    tensor = node.tensor(constant)
    if step.kind != "position_batch_norm" or not _is_map(tensor, step.shape):
        return None
    if slot in step.tensors or "bias" in step.tensors:
        return None
    tensors = {**step.tensors, slot: tensor}
    epsilon = step.fields["epsilon"]
    found = node.network.add(step.kind, step.inputs, node.source, None, tensors, epsilon=epsilon)
    return Computed(found, value.axes)


def _is_map(tensor: Tensor | None, shape: Shape) -> bool:
    """Whether an array has a number for each element of a map."""
    return tensor is not None and tensor.array is not None and np.squeeze(tensor.array).shape == _longer(shape)


def _longer(shape: Shape) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
