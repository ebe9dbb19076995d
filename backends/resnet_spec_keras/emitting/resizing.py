"""Resizing as Keras layers."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps
from resnet_spec_keras.emitting.windows import CHANNELS_LAST
from resnet_spec_keras.framework import keras
from resnet_spec_keras.layers import Resize2D


@EMITTERS.register("resize")
def _resize(op: ops.Resize, context: LayerContext) -> Steps:
    # TensorFlow interpolates in float32 whatever the dtype of the map.
    narrow = context.policy.compute_dtype != "float64" and op.coordinates == "half_pixel"
    if op.scale and (op.mode == "nearest" or narrow):
        layer = keras.layers.UpSampling2D(op.scale, CHANNELS_LAST, interpolation=op.mode, **context.common)
        return (layer,)
    return (Resize2D(op.mode, op.coordinates, scale=op.scale, size=op.size, **context.common),)
