"""Means, maxima and sums along axes as functions of Keras."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps, keras_axis
from resnet_spec_keras.emitting.functions import Function
from resnet_spec_keras.framework import keras


@EMITTERS.register("mean", "max", "sum")
def _reduction(op: ops.Mean | ops.Max | ops.Sum, context: LayerContext) -> Steps:
    reduce = {"mean": keras.ops.mean, "max": keras.ops.max, "sum": keras.ops.sum}[op.op]
    axes = tuple(map(keras_axis, op.axis))
    return (Function(context, lambda x: reduce(x, axes, keepdims=True)),)
