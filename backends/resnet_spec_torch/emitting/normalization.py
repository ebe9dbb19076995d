"""Normalizations as PyTorch modules."""

from __future__ import annotations

from typing import Any

from torch import nn

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec_torch.emitting.emitters import LAYERS, ModuleType, Options, empty
from resnet_spec_torch.layers import (
    AnyBatchNorm,
    BiasedBatchNorm1d,
    BiasedBatchNorm2d,
    ChannelNorm,
    EvoNormS0,
    FilterResponseNorm,
    OffsetGroupNorm,
    PositionBatchNorm2d,
)


def _without_unstated(norm: ModuleType, op: ops.BatchNorm | ops.PositionBatchNorm | ops.GroupNorm) -> ModuleType:
    """Remove the scale or the offset if the operation has none; a native layer has both or neither."""
    if not op.scale:
        norm.register_parameter("weight", None)
    if not op.offset:
        norm.register_parameter("bias", None)
    return norm


def _batch_normalization(
    kind: type[ModuleType],
    features: int | Shape,
    op: ops.BatchNorm | ops.PositionBatchNorm,
    options: Options,
    **settings: Any,
) -> ModuleType:
    affine = op.scale or op.offset
    norm = empty(kind, features, eps=op.epsilon, momentum=op.momentum, affine=affine, dtype=options.dtype, **settings)
    return _without_unstated(norm, op)


def _keeps_biased(op: ops.BatchNorm | ops.PositionBatchNorm, options: Options) -> bool:
    return options.exact_statistics and op.running_variance == "biased"


@LAYERS.register("batch_norm")
def _batch_norm(op: ops.BatchNorm, shape: Shape, options: Options) -> AnyBatchNorm:
    biased = _keeps_biased(op, options)
    if len(shape) == 1:
        return _batch_normalization(BiasedBatchNorm1d if biased else nn.BatchNorm1d, shape[0], op, options)
    kind = BiasedBatchNorm2d if biased else nn.BatchNorm2d
    return _batch_normalization(kind, shape[0], op, options)


@LAYERS.register("position_batch_norm")
def _position_batch_norm(op: ops.PositionBatchNorm, shape: Shape, options: Options) -> nn.BatchNorm2d:
    return _batch_normalization(PositionBatchNorm2d, shape, op, options, biased=_keeps_biased(op, options))


@LAYERS.register("group_norm")
def _group_norm(op: ops.GroupNorm, shape: Shape, options: Options) -> nn.GroupNorm:
    native = ChannelNorm if op.groups == shape[0] else nn.GroupNorm
    kind = OffsetGroupNorm if op.offset and not op.scale else native
    affine = op.scale or op.offset
    norm = empty(kind, op.groups, shape[0], op.epsilon, affine=affine, dtype=options.dtype)
    return _without_unstated(norm, op)


@LAYERS.register("evo_norm_s0")
def _evo_norm_s0(op: ops.EvoNormS0, shape: Shape, options: Options) -> EvoNormS0:
    return empty(EvoNormS0, op.groups, shape[0], op.epsilon, dtype=options.dtype)


@LAYERS.register("filter_response_norm")
def _filter_response_norm(op: ops.FilterResponseNorm, shape: Shape, options: Options) -> FilterResponseNorm:
    return empty(FilterResponseNorm, shape[0], epsilon=op.epsilon, threshold=op.threshold, dtype=options.dtype)
