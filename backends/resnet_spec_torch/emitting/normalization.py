"""Normalizations as PyTorch modules."""

from __future__ import annotations

from typing import Any, TypeAlias

from torch import nn

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec_torch.emitting.emitters import EXPRESSIONS, LAYERS, ModuleType, Options, empty
from resnet_spec_torch.layers import (
    AnyBatchNorm,
    AxisLayerNorm,
    BiasedBatchNorm1d,
    BiasedBatchNorm2d,
    BiasedBatchNorm3d,
    ChannelNorm,
    EvoNormS0,
    FilterResponseNorm,
    OffsetGroupNorm,
    OwnBatchNorm,
    PositionBatchNorm2d,
    SynchronizedBatchNorm1d,
    SynchronizedBatchNorm2d,
    SynchronizedBatchNorm3d,
)

_AnyAffine: TypeAlias = ops.BatchNorm | ops.PositionBatchNorm | ops.GroupNorm | ops.LayerNorm | ops.InstanceNorm

_BATCH_NORMS = (
    (nn.BatchNorm1d, BiasedBatchNorm1d, SynchronizedBatchNorm1d),
    (nn.BatchNorm2d, BiasedBatchNorm2d, SynchronizedBatchNorm2d),
    (nn.BatchNorm3d, BiasedBatchNorm3d, SynchronizedBatchNorm3d),
)
"""By the number of axes of positions, from 1 on; PyTorch has the same module for vectors and rows."""

_INSTANCE_NORMS = nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d


def _without_unstated(norm: ModuleType, op: _AnyAffine) -> ModuleType:
    """Remove the scale or the offset if the operation has none; a native layer has both or neither."""
    if not op.scale:
        norm.register_parameter("weight", None)
    if not op.offset:
        norm.register_parameter("bias", None)
    return norm


def _batch_normalization(
    kind: type[ModuleType], features: int | Shape, op: ops.BatchNorm | ops.PositionBatchNorm, options: Options
) -> ModuleType:
    affine = op.scale or op.offset
    norm = empty(kind, features, eps=op.epsilon, momentum=op.momentum, affine=affine, dtype=options.dtype)
    if isinstance(norm, OwnBatchNorm):
        norm.biased = _keeps_biased(op, options)
        norm.synchronized = options.synchronized
    return _without_unstated(norm, op)


def _keeps_biased(op: ops.BatchNorm | ops.PositionBatchNorm, options: Options) -> bool:
    return options.exact_statistics and op.running_variance == "biased"


@LAYERS.register("batch_norm")
def _batch_norm(op: ops.BatchNorm, shape: Shape, options: Options) -> AnyBatchNorm:
    native, biased, synchronized = _BATCH_NORMS[max(0, len(shape) - 2)]
    kind = synchronized if options.synchronized else biased if _keeps_biased(op, options) else native
    return _batch_normalization(kind, shape[0], op, options)


@LAYERS.register("position_batch_norm")
def _position_batch_norm(op: ops.PositionBatchNorm, shape: Shape, options: Options) -> nn.BatchNorm2d:
    return _batch_normalization(PositionBatchNorm2d, shape, op, options)


@LAYERS.register("group_norm")
def _group_norm(op: ops.GroupNorm, shape: Shape, options: Options) -> nn.GroupNorm:
    native = ChannelNorm if op.groups == shape[0] else nn.GroupNorm
    kind = OffsetGroupNorm if op.offset and not op.scale else native
    affine = op.scale or op.offset
    norm = empty(kind, op.groups, shape[0], op.epsilon, affine=affine, dtype=options.dtype)
    return _without_unstated(norm, op)


@LAYERS.register("layer_norm")
def _layer_norm(op: ops.LayerNorm, shape: Shape, options: Options) -> nn.LayerNorm:
    settings: dict[str, Any] = {"eps": op.epsilon, "elementwise_affine": op.scale or op.offset, "dtype": options.dtype}
    size = shape[op.axis]
    last = op.axis == len(shape) - 1
    norm = empty(nn.LayerNorm, size, **settings) if last else empty(AxisLayerNorm, size, axis=op.axis, **settings)
    return _without_unstated(norm, op)


@LAYERS.register("instance_norm")
def _instance_norm(op: ops.InstanceNorm, shape: Shape, options: Options) -> nn.Module:
    affine = op.scale or op.offset
    norm = empty(_INSTANCE_NORMS[len(shape) - 2], shape[0], op.epsilon, affine=affine, dtype=options.dtype)
    return _without_unstated(norm, op)


@LAYERS.register("evo_norm_s0")
def _evo_norm_s0(op: ops.EvoNormS0, shape: Shape, options: Options) -> EvoNormS0:
    return empty(EvoNormS0, op.groups, shape[0], op.epsilon, rank=len(shape) - 1, gate=op.gate, dtype=options.dtype)


@LAYERS.register("filter_response_norm")
def _filter_response_norm(op: ops.FilterResponseNorm, shape: Shape, options: Options) -> FilterResponseNorm:
    settings: dict[str, Any] = {"epsilon": op.epsilon, "threshold": op.threshold, "rank": len(shape) - 1}
    return empty(FilterResponseNorm, shape[0], dtype=options.dtype, **settings)


@EXPRESSIONS.register("l2_normalize")
def _l2_normalize(op: ops.L2Normalize, x: str) -> str:
    return f"functional.normalize({x}, dim={op.axis + 1}, eps={op.epsilon})"
