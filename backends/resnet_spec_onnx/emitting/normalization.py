"""Normalizations as ONNX nodes, with running statistics if they have any."""

from __future__ import annotations

import numpy as np

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder


@EMITTERS.register("batch_norm")
def _batch_norm(op: ops.BatchNorm, builder: NodeBuilder, x: str) -> str:
    (channels,) = builder.node.shape[:1]
    scale = builder.parameter("weight") if op.scale else builder.reals([1.0] * channels)
    offset = builder.parameter("bias") if op.offset else builder.reals([0.0] * channels)
    mean, variance = builder.parameter("running_mean"), builder.parameter("running_var")
    if rest := _lost_epsilon(builder, op.epsilon):
        variance = builder.add("Add", variance, builder.reals(rest))
    fields = {"epsilon": op.epsilon, "momentum": 1 - op.momentum}
    return builder.add("BatchNormalization", x, scale, offset, mean, variance, **fields)


def _lost_epsilon(builder: NodeBuilder, epsilon: float) -> float:
    """Return what an epsilon loses as an attribute, which is a float32; a float64 model must add it."""
    return float(builder.dtype.type(epsilon) - np.float32(epsilon))


@EMITTERS.register("position_batch_norm")
def _position_batch_norm(op: ops.PositionBatchNorm, builder: NodeBuilder, x: str) -> str:
    variance = builder.add("Add", builder.parameter("running_var"), builder.reals(op.epsilon))
    centered = builder.add("Sub", x, builder.parameter("running_mean"))
    x = builder.add("Div", centered, builder.add("Sqrt", variance))
    x = builder.add("Mul", x, builder.parameter("weight")) if op.scale else x
    return builder.add("Add", x, builder.parameter("bias")) if op.offset else x


@EMITTERS.register("group_norm")
def _group_norm(op: ops.GroupNorm, builder: NodeBuilder, x: str) -> str:
    # GroupNormalization takes a scale for each group in opset 18 and for each channel from opset 21.
    grouped = builder.add("Reshape", x, builder.integers([0, op.groups, -1]))
    x = builder.add("Reshape", _normalized_groups(op, builder, grouped), builder.add("Shape", x))
    x = builder.add("Mul", x, builder.per_channel("weight")) if op.scale else x
    return builder.add("Add", x, builder.per_channel("bias")) if op.offset else x


def _normalized_groups(op: ops.GroupNorm, builder: NodeBuilder, x: str) -> str:
    """Normalize each group of (batch, groups, length) by its own mean and variance."""
    if _lost_epsilon(builder, op.epsilon):
        # InstanceNormalization computes the variance itself, so that nothing can be added to it.
        centered = builder.subtract_mean(x, [2])
        return builder.add("Div", centered, builder.root_mean_square(centered, [2], op.epsilon))
    scale, offset = builder.reals([1.0] * op.groups), builder.reals([0.0] * op.groups)
    return builder.add("InstanceNormalization", x, scale, offset, epsilon=op.epsilon)


@EMITTERS.register("layer_norm")
def _layer_norm(op: ops.LayerNorm, builder: NodeBuilder, x: str) -> str:
    rank = len(builder.node.shape) + 1
    axes = [axis for axis in range(rank) if axis != op.axis + 1]
    last = op.axis == rank - 2
    value = x if last else builder.add("Transpose", x, perm=[*axes, op.axis + 1])
    scale = builder.parameter("weight") if op.scale else builder.reals([1.0] * builder.node.shape[op.axis])
    offset = [builder.parameter("bias")] if op.offset else []
    if _lost_epsilon(builder, op.epsilon):
        centered = builder.subtract_mean(value, [-1])
        value = builder.add("Div", centered, builder.root_mean_square(centered, [-1], op.epsilon))
        value = builder.add("Mul", value, scale) if op.scale else value
        value = builder.add("Add", value, *offset) if op.offset else value
    else:
        value = builder.add("LayerNormalization", value, scale, *offset, axis=-1, epsilon=op.epsilon)
    axes = [*range(op.axis + 1), rank - 1, *range(op.axis + 1, rank - 1)]
    return value if last else builder.add("Transpose", value, perm=axes)


@EMITTERS.register("instance_norm")
def _instance_norm(op: ops.InstanceNorm, builder: NodeBuilder, x: str) -> str:
    channels, *positions = builder.node.shape
    if _lost_epsilon(builder, op.epsilon):
        axes = [*range(2, 2 + len(positions))]
        centered = builder.subtract_mean(x, axes)
        x = builder.add("Div", centered, builder.root_mean_square(centered, axes, op.epsilon))
        x = builder.add("Mul", x, builder.per_channel("weight")) if op.scale else x
        return builder.add("Add", x, builder.per_channel("bias")) if op.offset else x
    scale = builder.parameter("weight") if op.scale else builder.reals([1.0] * channels)
    offset = builder.parameter("bias") if op.offset else builder.reals([0.0] * channels)
    return builder.add("InstanceNormalization", x, scale, offset, epsilon=op.epsilon)


@EMITTERS.register("evo_norm_s0")
def _evo_norm_s0(op: ops.EvoNormS0, builder: NodeBuilder, x: str) -> str:
    grouped = builder.add("Reshape", x, builder.integers([0, op.groups, -1]))
    deviation = builder.root_mean_square(builder.subtract_mean(grouped, [2]), [2], op.epsilon)
    normalized = builder.add("Reshape", builder.add("Div", grouped, deviation), builder.add("Shape", x))
    if op.gate:
        gate = builder.add("Sigmoid", builder.add("Mul", x, builder.per_channel("v")))
        normalized = builder.add("Mul", normalized, gate)
    scaled = builder.add("Mul", normalized, builder.per_channel("weight"))
    return builder.add("Add", scaled, builder.per_channel("bias"))


@EMITTERS.register("filter_response_norm")
def _filter_response_norm(op: ops.FilterResponseNorm, builder: NodeBuilder, x: str) -> str:
    x = builder.add("Div", x, builder.root_mean_square(x, range(2, 1 + len(builder.node.shape)), op.epsilon))
    x = builder.add("Add", builder.add("Mul", x, builder.per_channel("weight")), builder.per_channel("bias"))
    return builder.add("Max", x, builder.per_channel("tau")) if op.threshold else x


@EMITTERS.register("l2_normalize")
def _l2_normalize(op: ops.L2Normalize, builder: NodeBuilder, x: str) -> str:
    norm = builder.add("ReduceL2", x, axes=[op.axis + 1], keepdims=1)
    return builder.add("Div", x, builder.add("Max", norm, builder.reals(op.epsilon)))
