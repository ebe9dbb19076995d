"""Convolutions of rank 1 and 2, standardized and transposed ones, as PyTorch modules."""

from __future__ import annotations

from typing import Any

from torch import nn

from resnet_spec import operations as ops
from resnet_spec.operations.fields import UNPADDED, Shape
from resnet_spec_torch.emitting.emitters import LAYERS, Options, empty
from resnet_spec_torch.emitting.windows import same_on_both_sides
from resnet_spec_torch.layers import CroppedConvTranspose2d, PaddedConv2d, PaddedStdConv2d, StdConv2d


def _convolution(
    native: type[nn.Conv2d],
    padded: type[PaddedConv2d],
    op: ops.Conv2d | ops.StdConv2d,
    shape: Shape,
    options: Options,
    **settings: Any,
) -> nn.Conv2d:
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


@LAYERS.register("conv2d")
def _conv2d(op: ops.Conv2d, shape: Shape, options: Options) -> nn.Conv2d:
    return _convolution(nn.Conv2d, PaddedConv2d, op, shape, options)


@LAYERS.register("std_conv2d")
def _std_conv2d(op: ops.StdConv2d, shape: Shape, options: Options) -> nn.Conv2d:
    factor = op.factor(shape) if op.gain else None
    return _convolution(StdConv2d, PaddedStdConv2d, op, shape, options, epsilon=op.epsilon, factor=factor)


def _native_crop(edges: tuple[int, int], stride: int) -> tuple[int, int, tuple[int, int]]:
    """Return the native padding and output padding that crop ``edges``, and what they leave to crop."""
    before, after = edges
    if after <= before < after + stride:
        return before, before - after, (0, 0)
    padding = min(edges)
    return padding, 0, (before - padding, after - padding)


@LAYERS.register("conv_transpose2d")
def _conv_transpose2d(op: ops.ConvTranspose2d, shape: Shape, options: Options) -> nn.ConvTranspose2d:
    padding, output_padding, crop = zip(*map(_native_crop, op.crop, op.stride), strict=True)
    settings: dict[str, Any] = {
        "stride": op.stride,
        "padding": padding,
        "output_padding": output_padding,
        "bias": op.bias,
        "dtype": options.dtype,
    }
    if crop == UNPADDED:
        return empty(nn.ConvTranspose2d, shape[0], op.channels, op.kernel, **settings)
    return empty(CroppedConvTranspose2d, shape[0], op.channels, op.kernel, crop=crop, **settings)


@LAYERS.register("conv1d")
def _conv1d(op: ops.Conv1d, shape: Shape, options: Options) -> nn.Conv1d:
    return empty(nn.Conv1d, shape[0], op.channels, op.kernel, padding=op.padding, bias=op.bias, dtype=options.dtype)
