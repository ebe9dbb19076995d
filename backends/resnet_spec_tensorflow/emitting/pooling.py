"""Pools over windows and over whole maps as Keras layers."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec.operations.fields import UNPADDED
from resnet_spec_tensorflow.emitting.emitters import EMITTERS, LayerContext, Steps
from resnet_spec_tensorflow.emitting.windows import CHANNELS_LAST, Pad, mode_of, zeros
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.layers import GeneralizedMeanPooling2D, MaskedAveragePooling2D, SamePadding2D


@EMITTERS.register("max_pool2d")
def _max_pool2d(op: ops.MaxPool2d, context: LayerContext) -> Steps:
    mode, edges = mode_of(op), op.fixed_padding
    pool = keras.layers.MaxPooling2D(
        op.kernel, strides=op.stride, padding=mode or "valid", data_format=CHANNELS_LAST, **context.common
    )
    if mode is not None or edges is None:
        return (pool,)
    pad = context.helper("pad")
    if context.is_nonnegative:
        # A zero is never larger than what the pool reads, and no window is padding only; a stock layer is preferable.
        return zeros(edges, **pad), pool
    return Pad(edges, float("-inf"), pad["name"]), pool


@EMITTERS.register("avg_pool2d")
def _avg_pool2d(op: ops.AvgPool2d, context: LayerContext) -> Steps:
    mode, edges = mode_of(op), op.fixed_padding
    window = {"pool_size": op.kernel, "strides": op.stride, "data_format": CHANNELS_LAST, **context.common}
    # Rows that ceil_mode adds never count.
    explicit = edges if op.padding == "same" else op.padding
    counted = explicit if op.count_include_pad else UNPADDED
    if mode is not None and counted == UNPADDED:
        return (keras.layers.AveragePooling2D(padding=mode, **window),)
    if edges is None:
        pad = SamePadding2D(op.kernel, op.stride, **context.helper("pad"))
    elif edges == counted:
        pad = zeros(edges, **context.helper("pad"))
    else:
        return (MaskedAveragePooling2D(edges=edges, counted=counted, **window),)
    return pad, keras.layers.AveragePooling2D(**window)


@EMITTERS.register("global_avg_pool")
def _global_avg_pool(op: ops.GlobalAvgPool, context: LayerContext) -> Steps:
    return (keras.layers.GlobalAveragePooling2D(data_format=CHANNELS_LAST, keepdims=True, **context.common),)


@EMITTERS.register("global_max_pool")
def _global_max_pool(op: ops.GlobalMaxPool, context: LayerContext) -> Steps:
    return (keras.layers.GlobalMaxPooling2D(data_format=CHANNELS_LAST, keepdims=True, **context.common),)


@EMITTERS.register("gem_pool")
def _gem_pool(op: ops.GeMPool, context: LayerContext) -> Steps:
    return (GeneralizedMeanPooling2D(op.epsilon, **context.common),)
