"""Functions of each element, and softmax, as Keras layers."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_tensorflow.emitting.emitters import EMITTERS, LayerContext, Steps
from resnet_spec_tensorflow.framework import keras


@EMITTERS.register("relu")
def _relu(op: ops.ReLU, context: LayerContext) -> Steps:
    return (keras.layers.ReLU(**context.common),)


@EMITTERS.register("sigmoid")
def _sigmoid(op: ops.Sigmoid, context: LayerContext) -> Steps:
    return (keras.layers.Activation("sigmoid", **context.common),)


@EMITTERS.register("softmax")
def _softmax(op: ops.Softmax, context: LayerContext) -> Steps:
    return (keras.layers.Softmax(axis=-1, **context.common),)
