"""Functions of each element, and softmax, as Keras layers."""

from __future__ import annotations

import numpy as np

from resnet_spec import operations as ops
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps, keras_axis
from resnet_spec_keras.framework import keras
from resnet_spec_keras.layers import ExactLeakyReLU, gelu_erf, gelu_tanh


@EMITTERS.register("relu")
def _relu(op: ops.ReLU, context: LayerContext) -> Steps:
    return (keras.layers.ReLU(**context.common),)


@EMITTERS.register("relu6")
def _relu6(op: ops.ReLU6, context: LayerContext) -> Steps:
    return (keras.layers.ReLU(max_value=6.0, **context.common),)


@EMITTERS.register("leaky_relu")
def _leaky_relu(op: ops.LeakyReLU, context: LayerContext) -> Steps:
    # TensorFlow's kernel rounds the slope to float32.
    inexact = _is_float64(context) and float(np.float32(op.slope)) != op.slope
    layer = ExactLeakyReLU if inexact else keras.layers.LeakyReLU
    return (layer(negative_slope=op.slope, **context.common),)


@EMITTERS.register("prelu")
def _prelu(op: ops.PReLU, context: LayerContext) -> Steps:
    shared = range(1, context.rank + (0 if op.per_channel else 1))
    return (keras.layers.PReLU(shared_axes=[*shared] or None, **context.common),)


@EMITTERS.register("elu")
def _elu(op: ops.ELU, context: LayerContext) -> Steps:
    # Keras writes this layer from its arguments as they were, which a policy's object is not among.
    return (keras.layers.ELU(alpha=op.alpha, name=context.name, dtype=context.policy.name),)


@EMITTERS.register("gelu")
def _gelu(op: ops.GELU, context: LayerContext) -> Steps:
    exact = gelu_erf if _is_float64(context) else "gelu"
    return (keras.layers.Activation(gelu_tanh if op.approximate else exact, **context.common),)


@EMITTERS.register("silu", "mish", "sigmoid", "hard_sigmoid", "hard_swish", "tanh", "softplus")
def _function(op: ops.AnyOperation, context: LayerContext) -> Steps:
    return (keras.layers.Activation(op.op, **context.common),)


@EMITTERS.register("softmax")
def _softmax(op: ops.Softmax, context: LayerContext) -> Steps:
    return (keras.layers.Softmax(axis=keras_axis(op.axis), **context.common),)


def _is_float64(context: LayerContext) -> bool:
    return context.policy.compute_dtype == "float64"
