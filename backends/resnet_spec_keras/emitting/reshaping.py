"""Pads, reshapes and slices as Keras layers."""

from __future__ import annotations

from math import prod
from typing import Any

from resnet_spec import operations as ops
from resnet_spec.errors import BackendError, Problem
from resnet_spec.operations.fields import Shape
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps, channels_last, keras_axis
from resnet_spec_keras.emitting.functions import Function
from resnet_spec_keras.emitting.windows import CHANNELS_LAST, Pad, zeros
from resnet_spec_keras.framework import keras


@EMITTERS.register("pad1d", "pad2d", "pad3d")
def _pad(op: ops.Pad, context: LayerContext) -> Steps:
    if op.mode == "reflect":
        return (Pad(op.padding, None, context.name),)
    return (Pad(op.padding, op.value, context.name) if op.value else zeros(op.padding, **context.common),)


@EMITTERS.register("pad_channels")
def _pad_channels(op: ops.PadChannels, context: LayerContext) -> Steps:
    # With channels first, the Keras layer pads the last axes: here positions, by 0, and the channels.
    rank = context.rank - 1
    edges = (*[(0, 0)] * (rank - 1), (op.before, op.after))
    return (zeros(edges, **context.common, data_format="channels_first"),)


@EMITTERS.register("flatten")
def _flatten(op: ops.Flatten, context: LayerContext) -> Steps:
    if op.axis:
        # The channels stay the last axis, and the order of the others does not change.
        kept = {shape[1 : op.axis] for shape in context.shapes}
        if len(kept) > 1:
            raise BackendError(Problem("a Keras layer cannot be called on values of different sizes", context.name))
        (channels,) = {shape[0] for shape in context.shapes}
        return (keras.layers.Reshape((*kept.pop(), -1, channels), **context.common),)
    flatten = keras.layers.Flatten(data_format=CHANNELS_LAST, **context.common)
    # Any other 1×1 map may be larger at another input size.
    pooled = context.fed_by("global_avg_pool", "global_max_pool")
    if pooled or all(len(shape) == 1 or shape[0] == 1 for shape in context.shapes):
        return (flatten,)
    return _to_channels_first(context), flatten


@EMITTERS.register("reshape")
def _reshape(op: ops.Reshape, context: LayerContext) -> Steps:
    before = () if all(map(_is_order_independent, context.shapes)) else (_to_channels_first(context),)
    if _is_order_independent(op.shape):
        return *before, keras.layers.Reshape(channels_last(op.shape), **context.common)
    to_channels_last = keras.layers.Permute((*range(2, len(op.shape) + 1), 1), **context.common)
    return *before, keras.layers.Reshape(op.shape, **context.helper("reshape")), to_channels_last


@EMITTERS.register("slice")
def _slice(op: ops.Slice, context: LayerContext) -> Steps:
    if op.parts is not None:
        return (Function(context, lambda x: keras.ops.split(x, op.parts, keras_axis(op.axis))[op.part]),)
    if op.stop is not None:
        rows = range(op.start or 0, op.stop)
        return (Function(context, lambda x: _rows(x, rows, keras_axis(op.axis))),)
    part = slice(op.start or None, op.stop)
    whole = slice(None)
    key = (..., part) if op.axis == 0 else (*[whole] * op.axis, part)
    return (Function(context, lambda x: x[key]),)


def _rows(value: Any, rows: range, axis: int) -> Any:
    """Return some of the rows along an axis.

    A slice of rows of unknown number has an unknown size in Keras, even where both of its ends are known.
    """
    if axis != -1 or value.shape[-1] is None:
        return keras.ops.take(value, [*rows], axis)
    return value[..., rows.start or None : rows.stop]


def _to_channels_first(context: LayerContext) -> Any:
    return keras.layers.Permute((context.rank, *range(1, context.rank)), **context.helper("permute"))


def _is_order_independent(shape: Shape) -> bool:
    """Return whether the order of the values is the same, channels first or last."""
    return shape[0] == 1 or prod(shape[1:]) == 1


@EMITTERS.register("transpose")
def _transpose(op: ops.Transpose, context: LayerContext) -> Steps:
    # Axis 0 is the last, whose number is the rank, of the input and of the result.
    return (keras.layers.Permute([axis or context.rank for axis in channels_last(op.axes)], **context.common),)
