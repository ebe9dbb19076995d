"""Learned factors, terms and values as layers of their own, since Keras has none."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps, channels_last
from resnet_spec_keras.layers import LearnedOffset, LearnedScale, LearnedValue


@EMITTERS.register("scale")
def _scale(op: ops.Scale, context: LayerContext) -> Steps:
    return (LearnedScale(op.shape, **context.common),)


@EMITTERS.register("offset")
def _offset(op: ops.Offset, context: LayerContext) -> Steps:
    return (LearnedOffset(op.shape, **context.common),)


@EMITTERS.register("parameter")
def _parameter(op: ops.LearnedValue, context: LayerContext) -> Steps:
    return (LearnedValue(channels_last(op.shape), **context.common),)
