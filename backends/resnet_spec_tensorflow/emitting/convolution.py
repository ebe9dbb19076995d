"""Convolutions of rank 1 and 2, standardized and transposed ones, as Keras layers."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Any

from resnet_spec import operations as ops
from resnet_spec.operations.fields import UNPADDED
from resnet_spec.operations.windows import effective_kernel, explicit_crop, fixed_same_padding
from resnet_spec_tensorflow.emitting.emitters import EMITTERS, LayerContext, Steps
from resnet_spec_tensorflow.emitting.windows import CHANNELS_LAST, Pad, mode_of, zeros
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.layers import SamePadding2D, StandardizedConv2D


@EMITTERS.register("conv2d")
def _conv2d(op: ops.Conv2d, context: LayerContext) -> Steps:
    return _convolution(keras.layers.Conv2D, op, context)


@EMITTERS.register("std_conv2d")
def _std_conv2d(op: ops.StdConv2d, context: LayerContext) -> Steps:
    if not op.gain:
        return _convolution(StandardizedConv2D, op, context, epsilon=op.epsilon)
    # Every call has the same channels, since the kernel has them.
    factor = op.factor(next(iter(context.shapes)))
    return _convolution(StandardizedConv2D, op, context, epsilon=op.epsilon, factor=factor)


def _convolution(layer: Any, op: ops.Conv2d | ops.StdConv2d, context: LayerContext, **more: Any) -> Steps:
    # Dilation has no effect on a kernel of size 1.
    dilation = tuple(d if k > 1 else 1 for k, d in zip(op.kernel, op.dilation, strict=True))

    def conv(strides: tuple[int, ...], dilation: tuple[int, ...], padding: str) -> Any:
        return layer(
            op.channels,
            op.kernel,
            strides=strides,
            padding=padding,
            data_format=CHANNELS_LAST,
            dilation_rate=dilation,
            groups=op.groups,
            use_bias=op.bias,
            kernel_initializer="zeros",
            **more,
            **context.common,
        )

    if max(op.stride) > 1 and max(dilation) > 1:
        return *_padded(op, dilation, context), *_strided_and_dilated(conv, op.stride, dilation, context)
    mode = mode_of(op)
    if mode is None and op.padding != "same":
        return zeros(op.padding, **context.helper("pad")), conv(op.stride, dilation, "valid")
    return (conv(op.stride, dilation, mode or "valid"),)


def _padded(op: ops.Conv2d | ops.StdConv2d, dilation: tuple[int, ...], context: LayerContext) -> Steps:
    if op.fixed_padding is not None:
        return () if op.fixed_padding == UNPADDED else (zeros(op.fixed_padding, **context.helper("pad")),)
    rows, columns = map(effective_kernel, op.kernel, dilation)
    return (SamePadding2D((rows, columns), op.stride, **context.helper("pad")),)


def _strided_and_dilated(
    conv: Callable[[tuple[int, ...], tuple[int, ...], str], Any],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    context: LayerContext,
) -> Steps:
    """A convolution that Keras rejects, since it has a stride and a dilation, from layers that it has.

    All that is read lies on the rows that are multiples of what stride and dilation have in common: they are picked
    first. If both are still above 1, the convolution computes every row, and the stride is taken from its result.
    """
    common = tuple(map(gcd, stride, dilation))
    stride = tuple(s // c for s, c in zip(stride, common, strict=True))
    dilation = tuple(d // c for d, c in zip(dilation, common, strict=True))
    picked = (_every(common, context),) if max(common) > 1 else ()
    if max(stride) > 1 and max(dilation) > 1:
        return *picked, conv((1, 1), dilation, "valid"), _every(stride, context)
    return *picked, conv(stride, dilation, "valid")


def _every(stride: tuple[int, ...], context: LayerContext) -> Any:
    """Return a layer that picks rows and columns at a stride."""
    return keras.layers.MaxPooling2D(1, strides=stride, data_format=CHANNELS_LAST, **context.helper("stride"))


@EMITTERS.register("conv_transpose2d")
def _conv_transpose2d(op: ops.ConvTranspose2d, context: LayerContext) -> Steps:
    same = op.crop == explicit_crop(op.kernel, op.stride, "same")
    conv = keras.layers.Conv2DTranspose(
        op.channels,
        op.kernel,
        strides=op.stride,
        padding="same" if same else "valid",
        # With None, Keras would add rows if the kernel is smaller than the stride.
        output_padding=None if same else 0,
        data_format=CHANNELS_LAST,
        use_bias=op.bias,
        kernel_initializer="zeros",
        **context.common,
    )
    if same or op.padding == UNPADDED:
        return (conv,)
    return conv, keras.layers.Cropping2D(op.padding, data_format=CHANNELS_LAST, **context.helper("crop"))


@EMITTERS.register("conv1d")
def _conv1d(op: ops.Conv1d, context: LayerContext) -> Steps:
    same = (op.padding, op.padding) == fixed_same_padding(op.kernel, 1)
    conv = keras.layers.Conv1D(
        op.channels,
        op.kernel,
        padding="same" if same else "valid",
        data_format=CHANNELS_LAST,
        use_bias=op.bias,
        kernel_initializer="zeros",
        **context.common,
    )
    if same or not op.padding:
        return (conv,)
    return Pad(((op.padding, op.padding),), 0.0, context.helper("pad")["name"]), conv
