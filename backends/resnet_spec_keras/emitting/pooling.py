"""Pools over windows and over whole maps as Keras layers, by the rank of the map."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec.operations.windows import is_unpadded
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps
from resnet_spec_keras.emitting.windows import (
    CHANNELS_LAST,
    Pad,
    average_pooling,
    max_pooling,
    mode_of,
    of_rank,
    zeros,
)
from resnet_spec_keras.layers import GeneralizedMeanPooling2D
from resnet_spec_keras.window_layers import (
    MaskedAveragePooling1D,
    MaskedAveragePooling2D,
    MaskedAveragePooling3D,
    SamePadding2D,
)

_MASKED = MaskedAveragePooling1D, MaskedAveragePooling2D, MaskedAveragePooling3D


@EMITTERS.register("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(op: ops.MaxPool, context: LayerContext) -> Steps:
    mode, edges = mode_of(op), op.fixed_padding
    pool = max_pooling(op.kernel, op.stride, mode or "valid", context.common)
    if mode is not None or edges is None:
        return (pool,)
    pad = context.helper("pad")
    if context.is_nonnegative:
        # A zero is never larger than what the pool reads, and no window is padding only; a stock layer is preferable.
        return zeros(edges, **pad), pool
    return Pad(edges, float("-inf"), pad["name"]), pool


@EMITTERS.register("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(op: ops.AvgPool, context: LayerContext) -> Steps:
    mode, edges = mode_of(op), op.fixed_padding
    # Rows that ceil_mode adds never count.
    explicit = edges if op.padding == "same" else op.padding
    counted = explicit if op.count_include_pad else ((0, 0),) * op.rank
    if mode is not None and counted is not None and is_unpadded(counted):
        return (average_pooling(op.kernel, op.stride, mode, context.common),)
    if edges is None:
        pad = SamePadding2D(op.kernel, op.stride, **context.helper("pad"))
    elif edges == counted:
        pad = zeros(edges, **context.helper("pad"))
    else:
        window = {"pool_size": op.kernel, "strides": op.stride, "data_format": CHANNELS_LAST, **context.common}
        return (_MASKED[op.rank - 1](edges=edges, counted=counted, **window),)
    return pad, average_pooling(op.kernel, op.stride, "valid", context.common)


@EMITTERS.register("global_avg_pool")
def _global_avg_pool(op: ops.GlobalAvgPool, context: LayerContext) -> Steps:
    pool = of_rank("GlobalAveragePooling", context.rank - 1)
    return (pool(data_format=CHANNELS_LAST, keepdims=True, **context.common),)


@EMITTERS.register("global_max_pool")
def _global_max_pool(op: ops.GlobalMaxPool, context: LayerContext) -> Steps:
    pool = of_rank("GlobalMaxPooling", context.rank - 1)
    return (pool(data_format=CHANNELS_LAST, keepdims=True, **context.common),)


@EMITTERS.register("gem_pool")
def _gem_pool(op: ops.GeMPool, context: LayerContext) -> Steps:
    return (GeneralizedMeanPooling2D(op.epsilon, **context.common),)
