"""Sums, products, differences, maxima and concatenations as Keras layers."""

from __future__ import annotations

from typing import Any

from resnet_spec import operations as ops
from resnet_spec_tensorflow.emitting.emitters import EMITTERS, LayerContext, Steps, keras_axis
from resnet_spec_tensorflow.emitting.functions import Function
from resnet_spec_tensorflow.framework import keras


@EMITTERS.register("add")
def _add(op: ops.Add, context: LayerContext) -> Steps:
    return (keras.layers.Add(**context.common),)


@EMITTERS.register("multiply")
def _multiply(op: ops.Multiply, context: LayerContext) -> Steps:
    if op.factor == 1:
        return (keras.layers.Multiply(**context.common),)
    multiply = keras.layers.Multiply(**context.helper("product"))

    def product(values: Any) -> Any:
        return multiply(values) if isinstance(values, list) else values

    # Not Rescaling, which rounds its number to float32 whatever the dtype.
    return product, Function(context, lambda value: value * op.factor)


@EMITTERS.register("subtract")
def _subtract(op: ops.Subtract, context: LayerContext) -> Steps:
    return (keras.layers.Subtract(**context.common),)


@EMITTERS.register("maximum")
def _maximum(op: ops.Maximum, context: LayerContext) -> Steps:
    return (keras.layers.Maximum(**context.common),)


@EMITTERS.register("concat")
def _concat(op: ops.Concat, context: LayerContext) -> Steps:
    return (keras.layers.Concatenate(axis=keras_axis(op.axis), **context.common),)
