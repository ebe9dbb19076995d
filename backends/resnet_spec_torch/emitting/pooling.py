"""Pools over windows and over whole maps as PyTorch modules."""

from __future__ import annotations

from torch import nn

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec.operations.windows import fixed_padding
from resnet_spec_torch.emitting.emitters import LAYERS, Options
from resnet_spec_torch.emitting.windows import same_on_both_sides
from resnet_spec_torch.layers import GeMPool2d, PaddedAvgPool2d, PaddedMaxPool2d


def _native_padding(op: ops.MaxPool2d | ops.AvgPool2d) -> tuple[int, int] | None:
    """Return the native padding; ``ceil_mode`` is the native layer's own and adds nothing here."""
    return same_on_both_sides(fixed_padding(op.kernel, op.stride, op.padding))


@LAYERS.register("max_pool2d")
def _max_pool2d(op: ops.MaxPool2d, shape: Shape, options: Options) -> nn.MaxPool2d:
    padding = _native_padding(op)
    if padding is None:
        return PaddedMaxPool2d(op.kernel, op.stride, ceil_mode=op.ceil_mode, edges=op.padding)
    return nn.MaxPool2d(op.kernel, op.stride, padding, ceil_mode=op.ceil_mode)


@LAYERS.register("avg_pool2d")
def _avg_pool2d(op: ops.AvgPool2d, shape: Shape, options: Options) -> nn.AvgPool2d:
    settings = {"ceil_mode": op.ceil_mode, "count_include_pad": op.count_include_pad}
    padding = _native_padding(op)
    if padding is None:
        return PaddedAvgPool2d(op.kernel, op.stride, edges=op.padding, **settings)
    return nn.AvgPool2d(op.kernel, op.stride, padding, **settings)


@LAYERS.register("global_avg_pool")
def _global_avg_pool(op: ops.GlobalAvgPool, shape: Shape, options: Options) -> nn.AdaptiveAvgPool2d:
    return nn.AdaptiveAvgPool2d((1, 1))


@LAYERS.register("global_max_pool")
def _global_max_pool(op: ops.GlobalMaxPool, shape: Shape, options: Options) -> nn.AdaptiveMaxPool2d:
    return nn.AdaptiveMaxPool2d((1, 1))


@LAYERS.register("gem_pool")
def _gem_pool(op: ops.GeMPool, shape: Shape, options: Options) -> GeMPool2d:
    return GeMPool2d(op.initial, op.epsilon, device="meta", dtype=options.dtype)
