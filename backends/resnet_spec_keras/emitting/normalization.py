"""Normalizations as Keras layers."""

from __future__ import annotations

from math import prod
from typing import Any

from resnet_spec import operations as ops
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps, channels_last, keras_axis
from resnet_spec_keras.framework import keras
from resnet_spec_keras.layers import (
    EvoNormalization,
    FilterResponseNormalization,
    L2Normalization,
    UnbiasedBatchNormalization,
)


@EMITTERS.register("batch_norm")
def _batch_norm(op: ops.BatchNorm, context: LayerContext) -> Steps:
    return (_batch_normalization(op, context),)


@EMITTERS.register("position_batch_norm")
def _position_batch_norm(op: ops.PositionBatchNorm, context: LayerContext) -> Steps:
    # Every call has the same shape, since the parameters have it.
    (shape,) = context.shapes
    flat = keras.layers.Reshape((prod(shape),), **context.helper("flat"))
    return flat, _batch_normalization(op, context), keras.layers.Reshape(channels_last(shape), **context.helper("map"))


def _batch_normalization(op: ops.BatchNorm | ops.PositionBatchNorm, context: LayerContext) -> Any:
    unbiased = context.exact_statistics and op.running_variance == "unbiased"
    layer = UnbiasedBatchNormalization if unbiased else keras.layers.BatchNormalization
    # Rounded, so that a momentum of 0.01 gives Keras' 0.99 and not 0.98999….
    momentum = round(1 - op.momentum, 12)
    settings = {"epsilon": op.epsilon, "scale": op.scale, "center": op.offset, **context.common}
    return layer(axis=-1, momentum=momentum, synchronized=context.synchronized, **settings)


@EMITTERS.register("group_norm")
def _group_norm(op: ops.GroupNorm, context: LayerContext) -> Steps:
    return (
        keras.layers.GroupNormalization(
            op.groups, axis=-1, epsilon=op.epsilon, scale=op.scale, center=op.offset, **context.common
        ),
    )


@EMITTERS.register("layer_norm")
def _layer_norm(op: ops.LayerNorm, context: LayerContext) -> Steps:
    # Axis 0 is the last, and what follows it has the batch before it.
    axis = op.axis or context.rank
    layer = keras.layers.LayerNormalization(
        axis=axis, epsilon=op.epsilon, scale=op.scale, center=op.offset, **context.common
    )
    return (layer,)


@EMITTERS.register("instance_norm")
def _instance_norm(op: ops.InstanceNorm, context: LayerContext) -> Steps:
    groups = next(iter(context.shapes))[0]
    layer = keras.layers.GroupNormalization(
        groups, axis=-1, epsilon=op.epsilon, scale=op.scale, center=op.offset, **context.common
    )
    return (layer,)


@EMITTERS.register("evo_norm_s0")
def _evo_norm_s0(op: ops.EvoNormS0, context: LayerContext) -> Steps:
    return (EvoNormalization(op.groups, gate=op.gate, epsilon=op.epsilon, **context.common),)


@EMITTERS.register("filter_response_norm")
def _filter_response_norm(op: ops.FilterResponseNorm, context: LayerContext) -> Steps:
    return (FilterResponseNormalization(epsilon=op.epsilon, threshold=op.threshold, **context.common),)


@EMITTERS.register("l2_normalize")
def _l2_normalize(op: ops.L2Normalize, context: LayerContext) -> Steps:
    return (L2Normalization(keras_axis(op.axis), op.epsilon, **context.common),)
