"""Linear layers as Keras layers."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_tensorflow.emitting.emitters import EMITTERS, LayerContext, Steps
from resnet_spec_tensorflow.framework import keras


@EMITTERS.register("linear")
def _linear(op: ops.Linear, context: LayerContext) -> Steps:
    return (keras.layers.Dense(op.features, use_bias=op.bias, kernel_initializer="zeros", **context.common),)
