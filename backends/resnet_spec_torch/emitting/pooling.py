"""Pools over windows and over whole maps as PyTorch modules, by the rank of the map."""

from __future__ import annotations

from typing import Any

from torch import nn

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec.operations.windows import fixed_padding, is_unpadded
from resnet_spec_torch.emitting.emitters import LAYERS, Options
from resnet_spec_torch.emitting.windows import same_on_both_sides
from resnet_spec_torch.layers import GeMPool
from resnet_spec_torch.window_layers import (
    PaddedAvgPool1d,
    PaddedAvgPool2d,
    PaddedAvgPool3d,
    PaddedMaxPool1d,
    PaddedMaxPool2d,
    PaddedMaxPool3d,
)

_MAX_POOLS: tuple[tuple[Any, Any], ...] = (
    (nn.MaxPool1d, PaddedMaxPool1d),
    (nn.MaxPool2d, PaddedMaxPool2d),
    (nn.MaxPool3d, PaddedMaxPool3d),
)
_AVG_POOLS: tuple[tuple[Any, Any], ...] = (
    (nn.AvgPool1d, PaddedAvgPool1d),
    (nn.AvgPool2d, PaddedAvgPool2d),
    (nn.AvgPool3d, PaddedAvgPool3d),
)
_GLOBAL_AVG_POOLS = nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d
_GLOBAL_MAX_POOLS = nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d


def _native_padding(op: ops.MaxPool | ops.AvgPool) -> tuple[int, ...] | None:
    """Return the native padding; ``ceil_mode`` is the native layer's own and adds nothing here."""
    return same_on_both_sides(fixed_padding(op.kernel, op.stride, op.padding))


@LAYERS.register("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(op: ops.MaxPool, shape: Shape, options: Options) -> nn.Module:
    native, padded = _MAX_POOLS[op.rank - 1]
    padding = _native_padding(op)
    if padding is None:
        return padded(op.kernel, op.stride, ceil_mode=op.ceil_mode, edges=op.padding)
    return native(op.kernel, op.stride, padding, ceil_mode=op.ceil_mode)


@LAYERS.register("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(op: ops.AvgPool, shape: Shape, options: Options) -> nn.Module:
    native, padded = _AVG_POOLS[op.rank - 1]
    settings = {"ceil_mode": op.ceil_mode, "count_include_pad": op.count_include_pad}
    padding = _native_padding(op)
    # PyTorch's own AvgPool3d refuses a volume that is smaller than its kernel, however much it is padded, and the size
    # may differ from call to call.
    refused = op.rank == 3 and not is_unpadded(op.padding)
    if padding is None or refused:
        return padded(op.kernel, op.stride, edges=op.padding, **settings)
    return native(op.kernel, op.stride, padding, **settings)


@LAYERS.register("global_avg_pool")
def _global_avg_pool(op: ops.GlobalAvgPool, shape: Shape, options: Options) -> nn.Module:
    rank = len(shape) - 1
    return _GLOBAL_AVG_POOLS[rank - 1]((1,) * rank)


@LAYERS.register("global_max_pool")
def _global_max_pool(op: ops.GlobalMaxPool, shape: Shape, options: Options) -> nn.Module:
    rank = len(shape) - 1
    return _GLOBAL_MAX_POOLS[rank - 1]((1,) * rank)


@LAYERS.register("gem_pool")
def _gem_pool(op: ops.GeMPool, shape: Shape, options: Options) -> GeMPool:
    return GeMPool(op.initial, op.epsilon, rank=len(shape) - 1, device="meta", dtype=options.dtype)
