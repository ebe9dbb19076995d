"""Convolutions of any rank, standardized and transposed ones, as Keras layers."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Any

from resnet_spec import operations as ops
from resnet_spec.operations.windows import effective_kernel, explicit_crop, is_unpadded
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps
from resnet_spec_keras.emitting.windows import CHANNELS_LAST, crop, max_pooling, mode_of, of_rank, zeros
from resnet_spec_keras.layers import StandardizedConv2D
from resnet_spec_keras.window_layers import SamePadding2D


@EMITTERS.register("conv1d", "conv2d", "conv3d")
def _conv(op: ops.Conv, context: LayerContext) -> Steps:
    return _convolution(context.layer(of_rank("Conv", op.rank)), op, context)


@EMITTERS.register("std_conv2d")
def _std_conv(op: ops.StdConv, context: LayerContext) -> Steps:
    if not op.gain:
        return _convolution(StandardizedConv2D, op, context, epsilon=op.epsilon)
    # Every call has the same channels, since the kernel has them.
    factor = op.factor(next(iter(context.shapes)))
    return _convolution(StandardizedConv2D, op, context, epsilon=op.epsilon, factor=factor)


def _convolution(layer: Any, op: ops.Conv | ops.StdConv, context: LayerContext, **more: Any) -> Steps:
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


def _padded(op: ops.Conv | ops.StdConv, dilation: tuple[int, ...], context: LayerContext) -> Steps:
    if op.fixed_padding is not None:
        return () if is_unpadded(op.fixed_padding) else (zeros(op.fixed_padding, **context.helper("pad")),)
    covered = tuple(map(effective_kernel, op.kernel, dilation))
    return (SamePadding2D(covered, op.stride, **context.helper("pad")),)


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
        return *picked, conv((1,) * len(stride), dilation, "valid"), _every(stride, context)
    return *picked, conv(stride, dilation, "valid")


def _every(stride: tuple[int, ...], context: LayerContext) -> Any:
    """Return a layer that picks positions at a stride."""
    return max_pooling((1,) * len(stride), stride, "valid", context.helper("stride"))


@EMITTERS.register("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(op: ops.ConvTranspose, context: LayerContext) -> Steps:
    same = op.crop == explicit_crop(op.kernel, op.stride, "same")
    conv = of_rank("Conv_Transpose", op.rank)(
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
    if same or is_unpadded(op.crop):
        return (conv,)
    return conv, crop(op.crop, **context.helper("crop"))
