"""Convolutions of rank 1 and 2, standardized and transposed ones, as Keras layers."""

from __future__ import annotations

from typing import Any

from resnet_spec import operations as ops
from resnet_spec.errors import BackendError, Problem
from resnet_spec.operations.fields import UNPADDED
from resnet_spec.operations.windows import explicit_crop, fixed_same_padding
from resnet_spec_tensorflow.emitting.emitters import EMITTERS, LayerContext, Steps
from resnet_spec_tensorflow.emitting.windows import CHANNELS_LAST, Pad, mode_of, zeros
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.layers import StandardizedConv2D


@EMITTERS.register("conv2d")
def _conv2d(op: ops.Conv2d, context: LayerContext) -> Steps:
    return _convolution(keras.layers.Conv2D, op, context)


@EMITTERS.register("std_conv2d")
def _std_conv2d(op: ops.StdConv2d, context: LayerContext) -> Steps:
    return _convolution(StandardizedConv2D, op, context, epsilon=op.epsilon)


def _convolution(layer: Any, op: ops.Conv2d | ops.StdConv2d, context: LayerContext, **more: Any) -> Steps:
    # Dilation has no effect on a kernel of size 1, and Keras rejects a stride together with a dilation.
    dilation = tuple(d if k > 1 else 1 for k, d in zip(op.kernel, op.dilation, strict=True))
    if max(op.stride) > 1 and max(dilation) > 1:
        raise BackendError(Problem("TensorFlow has no convolution that is both strided and dilated", context.name))
    mode = mode_of(op)
    conv = layer(
        op.channels,
        op.kernel,
        strides=op.stride,
        padding=mode or "valid",
        data_format=CHANNELS_LAST,
        dilation_rate=dilation,
        groups=op.groups,
        use_bias=op.bias,
        kernel_initializer="zeros",
        **more,
        **context.common,
    )
    if mode is None and op.padding != "same":
        return zeros(op.padding, **context.helper("pad")), conv
    return (conv,)


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
