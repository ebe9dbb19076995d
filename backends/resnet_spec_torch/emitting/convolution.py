"""Convolutions of any rank, standardized and transposed ones, as PyTorch modules."""

from __future__ import annotations

from typing import Any

from torch import nn

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec.operations.windows import is_unpadded
from resnet_spec_torch.emitting.emitters import LAYERS, Options, empty
from resnet_spec_torch.emitting.windows import same_on_both_sides
from resnet_spec_torch.window_layers import (
    CroppedConvTranspose1d,
    CroppedConvTranspose2d,
    CroppedConvTranspose3d,
    PaddedConv1d,
    PaddedConv2d,
    PaddedConv3d,
    PaddedStdConv2d,
    StdConv2d,
)

_CONVOLUTIONS = (nn.Conv1d, PaddedConv1d), (nn.Conv2d, PaddedConv2d), (nn.Conv3d, PaddedConv3d)
_TRANSPOSED = (
    (nn.ConvTranspose1d, CroppedConvTranspose1d),
    (nn.ConvTranspose2d, CroppedConvTranspose2d),
    (nn.ConvTranspose3d, CroppedConvTranspose3d),
)


def _convolution(
    kinds: tuple[type[nn.Module], type[nn.Module]],
    op: ops.Conv | ops.StdConv,
    shape: Shape,
    options: Options,
    **settings: Any,
) -> nn.Module:
    native, padded = kinds
    settings |= {
        "stride": op.stride,
        "dilation": op.dilation,
        "groups": op.groups,
        "bias": op.bias,
        "dtype": options.dtype,
    }
    padding = same_on_both_sides(op.fixed_padding)
    if padding is None:
        return empty(padded, shape[0], op.channels, op.kernel, edges=op.padding, **settings)
    return empty(native, shape[0], op.channels, op.kernel, padding=padding, **settings)


@LAYERS.register("conv1d", "conv2d", "conv3d")
def _conv(op: ops.Conv, shape: Shape, options: Options) -> nn.Module:
    return _convolution(_CONVOLUTIONS[op.rank - 1], op, shape, options)


@LAYERS.register("std_conv2d")
def _std_conv(op: ops.StdConv, shape: Shape, options: Options) -> nn.Module:
    factor = op.factor(shape) if op.gain else None
    return _convolution((StdConv2d, PaddedStdConv2d), op, shape, options, epsilon=op.epsilon, factor=factor)


def _native_crop(edges: tuple[int, int], stride: int) -> tuple[int, int, tuple[int, int]]:
    """Return the native padding and output padding that crop ``edges``, and what they leave to crop."""
    before, after = edges
    if after <= before < after + stride:
        return before, before - after, (0, 0)
    padding = min(edges)
    return padding, 0, (before - padding, after - padding)


@LAYERS.register("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(op: ops.ConvTranspose, shape: Shape, options: Options) -> nn.Module:
    native, cropped = _TRANSPOSED[op.rank - 1]
    padding, output_padding, crop = zip(*map(_native_crop, op.crop, op.stride), strict=True)
    settings: dict[str, Any] = {
        "stride": op.stride,
        "padding": padding,
        "output_padding": output_padding,
        "bias": op.bias,
        "dtype": options.dtype,
    }
    if is_unpadded(crop):
        return empty(native, shape[0], op.channels, op.kernel, **settings)
    return empty(cropped, shape[0], op.channels, op.kernel, crop=crop, **settings)
