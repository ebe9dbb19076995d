"""Sums and products as Keras layers."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_tensorflow.emitting.emitters import EMITTERS, LayerContext, Steps
from resnet_spec_tensorflow.framework import keras


@EMITTERS.register("add")
def _add(op: ops.Add, context: LayerContext) -> Steps:
    return (keras.layers.Add(**context.common),)


@EMITTERS.register("multiply")
def _multiply(op: ops.Multiply, context: LayerContext) -> Steps:
    return (keras.layers.Multiply(**context.common),)
