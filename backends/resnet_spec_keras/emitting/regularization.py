"""Dropout and stochastic depth as Keras layers, which act in training only."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps
from resnet_spec_keras.framework import keras


@EMITTERS.register("dropout")
def _dropout(op: ops.Dropout, context: LayerContext) -> Steps:
    return (keras.layers.Dropout(op.rate, **context.common),)


@EMITTERS.register("stochastic_depth")
def _stochastic_depth(op: ops.StochasticDepth, context: LayerContext) -> Steps:
    return (keras.layers.Dropout(op.rate, noise_shape=(None, *[1] * context.rank), **context.common),)
