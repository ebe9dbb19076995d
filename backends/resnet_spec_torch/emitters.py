"""One small emitter per operation, and the table that maps one to the other.

An emitter makes an empty native layer, or, for what PyTorch writes as a function, the expression that stands in the
generated ``forward``. None of them ever sees a weight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import nn

from resnet_spec import operations as ops
from resnet_spec.backend.table import Table
from resnet_spec.operations.fields import UNPADDED, Padding, Shape
from resnet_spec.operations.windows import fixed_padding
from resnet_spec_torch.layers import (
    BiasedBatchNorm2d,
    ChannelNorm,
    CroppedConvTranspose2d,
    EvoNormS0,
    FilterResponseNorm,
    OffsetGroupNorm,
    PaddedAvgPool2d,
    PaddedConv2d,
    PaddedMaxPool2d,
    PaddedStdConv2d,
    PositionBatchNorm2d,
    StdConv2d,
    StochasticDepth,
    pads,
)

ModuleType = TypeVar("ModuleType", bound=nn.Module)


class Options(NamedTuple):
    """What every layer of one model shares."""

    dtype: torch.dtype = torch.float32
    exact_statistics: bool = False


LayerEmitter: TypeAlias = Callable[[Any, Shape, Options], nn.Module]
ExpressionEmitter: TypeAlias = Callable[..., str]

LAYERS: Table[LayerEmitter] = Table("emitter")
"""Operations that become a module: (operation, shape of its input, options) to an empty layer."""

EXPRESSIONS: Table[ExpressionEmitter] = Table("emitter", disjoint=LAYERS)
"""Operations that become an expression: (operation, variables...) to source text."""


@cache
def _uninitialized(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (kind,), {"reset_parameters": lambda self: None})  # pyright: ignore[reportUnknownLambdaType]


def _empty(kind: type[ModuleType], *arguments: Any, **settings: Any) -> ModuleType:
    """A layer on the meta device, without the random numbers its constructor would draw."""
    module: Any = _uninitialized(kind)(*arguments, device="meta", **settings)
    module.__class__ = kind
    return module


# ---------------------------------------------------------------------------------------------------------------
# Layers


def _both_sides(
    padding: Padding, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int] = (1, 1)
) -> tuple[int, int] | None:
    """Rows and columns on either side, as native layers take them; None where a padding is no such thing."""
    edges = fixed_padding(kernel, stride, padding, dilation)
    if edges is None:
        return None
    (top, bottom), (left, right) = edges
    return (top, left) if (top, left) == (bottom, right) else None


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
    padding = _both_sides(op.padding, op.kernel, op.stride, op.dilation)
    if padding is None:
        return _empty(padded, shape[0], op.channels, op.kernel, edges=op.padding, **settings)
    return _empty(native, shape[0], op.channels, op.kernel, padding=padding, **settings)


@LAYERS.register("conv2d")
def _conv2d(op: ops.Conv2d, shape: Shape, options: Options) -> nn.Conv2d:
    return _convolution(nn.Conv2d, PaddedConv2d, op, shape, options)


@LAYERS.register("std_conv2d")
def _std_conv2d(op: ops.StdConv2d, shape: Shape, options: Options) -> nn.Conv2d:
    return _convolution(StdConv2d, PaddedStdConv2d, op, shape, options, epsilon=op.epsilon)


def _native_crop(edges: tuple[int, int], stride: int) -> tuple[int, int, tuple[int, int]]:
    """The native padding and output padding that crop so much before and after, and what they leave to crop."""
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
        return _empty(nn.ConvTranspose2d, shape[0], op.channels, op.kernel, **settings)
    return _empty(CroppedConvTranspose2d, shape[0], op.channels, op.kernel, crop=crop, **settings)


@LAYERS.register("conv1d")
def _conv1d(op: ops.Conv1d, shape: Shape, options: Options) -> nn.Conv1d:
    return _empty(nn.Conv1d, shape[0], op.channels, op.kernel, padding=op.padding, bias=op.bias, dtype=options.dtype)


@LAYERS.register("linear")
def _linear(op: ops.Linear, shape: Shape, options: Options) -> nn.Linear:
    return _empty(nn.Linear, shape[0], op.features, bias=op.bias, dtype=options.dtype)


def _without_unstated(norm: ModuleType, op: ops.BatchNorm | ops.PositionBatchNorm | ops.GroupNorm) -> ModuleType:
    """The layer without the scale or the offset that is not stated: a native one is made with both or neither."""
    if not op.scale:
        norm.register_parameter("weight", None)
    if not op.offset:
        norm.register_parameter("bias", None)
    return norm


def _batch_normalization(
    kind: type[nn.BatchNorm2d],
    features: int | Shape,
    op: ops.BatchNorm | ops.PositionBatchNorm,
    options: Options,
    **settings: Any,
) -> nn.BatchNorm2d:
    affine = op.scale or op.offset
    norm = _empty(kind, features, eps=op.epsilon, momentum=op.momentum, affine=affine, dtype=options.dtype, **settings)
    return _without_unstated(norm, op)


def _keeps_biased(op: ops.BatchNorm | ops.PositionBatchNorm, options: Options) -> bool:
    return options.exact_statistics and op.running_variance == "biased"


@LAYERS.register("batch_norm")
def _batch_norm(op: ops.BatchNorm, shape: Shape, options: Options) -> nn.BatchNorm2d:
    kind = BiasedBatchNorm2d if _keeps_biased(op, options) else nn.BatchNorm2d
    return _batch_normalization(kind, shape[0], op, options)


@LAYERS.register("position_batch_norm")
def _position_batch_norm(op: ops.PositionBatchNorm, shape: Shape, options: Options) -> nn.BatchNorm2d:
    return _batch_normalization(PositionBatchNorm2d, shape, op, options, biased=_keeps_biased(op, options))


@LAYERS.register("group_norm")
def _group_norm(op: ops.GroupNorm, shape: Shape, options: Options) -> nn.GroupNorm:
    native = ChannelNorm if op.groups == shape[0] else nn.GroupNorm
    kind = OffsetGroupNorm if op.offset and not op.scale else native
    affine = op.scale or op.offset
    norm = _empty(kind, op.groups, shape[0], op.epsilon, affine=affine, dtype=options.dtype)
    return _without_unstated(norm, op)


@LAYERS.register("evo_norm_s0")
def _evo_norm_s0(op: ops.EvoNormS0, shape: Shape, options: Options) -> EvoNormS0:
    return _empty(EvoNormS0, op.groups, shape[0], op.epsilon, dtype=options.dtype)


@LAYERS.register("filter_response_norm")
def _filter_response_norm(op: ops.FilterResponseNorm, shape: Shape, options: Options) -> FilterResponseNorm:
    return _empty(FilterResponseNorm, shape[0], epsilon=op.epsilon, threshold=op.threshold, dtype=options.dtype)


@LAYERS.register("relu")
def _relu(op: ops.ReLU, shape: Shape, options: Options) -> nn.ReLU:
    return nn.ReLU()


@LAYERS.register("sigmoid")
def _sigmoid(op: ops.Sigmoid, shape: Shape, options: Options) -> nn.Sigmoid:
    return nn.Sigmoid()


@LAYERS.register("dropout")
def _dropout(op: ops.Dropout, shape: Shape, options: Options) -> nn.Dropout:
    return nn.Dropout(op.rate)


@LAYERS.register("stochastic_depth")
def _stochastic_depth(op: ops.StochasticDepth, shape: Shape, options: Options) -> StochasticDepth:
    return StochasticDepth(op.rate)


@LAYERS.register("max_pool2d")
def _max_pool2d(op: ops.MaxPool2d, shape: Shape, options: Options) -> nn.MaxPool2d:
    padding = _both_sides(op.padding, op.kernel, op.stride)
    if padding is None:
        return PaddedMaxPool2d(op.kernel, op.stride, ceil_mode=op.ceil_mode, edges=op.padding)
    return nn.MaxPool2d(op.kernel, op.stride, padding, ceil_mode=op.ceil_mode)


@LAYERS.register("avg_pool2d")
def _avg_pool2d(op: ops.AvgPool2d, shape: Shape, options: Options) -> nn.AvgPool2d:
    settings = {"ceil_mode": op.ceil_mode, "count_include_pad": op.count_include_pad}
    padding = _both_sides(op.padding, op.kernel, op.stride)
    if padding is None:
        return PaddedAvgPool2d(op.kernel, op.stride, edges=op.padding, **settings)
    return nn.AvgPool2d(op.kernel, op.stride, padding, **settings)


@LAYERS.register("global_avg_pool")
def _global_avg_pool(op: ops.GlobalAvgPool, shape: Shape, options: Options) -> nn.AdaptiveAvgPool2d:
    return nn.AdaptiveAvgPool2d((1, 1))


@LAYERS.register("global_max_pool")
def _global_max_pool(op: ops.GlobalMaxPool, shape: Shape, options: Options) -> nn.AdaptiveMaxPool2d:
    return nn.AdaptiveMaxPool2d((1, 1))


# ---------------------------------------------------------------------------------------------------------------
# Expressions


@EXPRESSIONS.register("add")
def _add(op: ops.Add, *terms: str) -> str:
    return " + ".join(terms)


@EXPRESSIONS.register("multiply")
def _multiply(op: ops.Multiply, *factors: str) -> str:
    return " * ".join(factors)


@EXPRESSIONS.register("flatten")
def _flatten(op: ops.Flatten, x: str) -> str:
    return f"torch.flatten({x}, 1)"


@EXPRESSIONS.register("softmax")
def _softmax(op: ops.Softmax, x: str) -> str:
    return f"torch.softmax({x}, 1)"


@EXPRESSIONS.register("pad2d")
def _pad2d(op: ops.Pad2d, x: str) -> str:
    how = f"value={op.value!r}" if op.mode == "constant" else f"mode={op.mode!r}"
    return f"functional.pad({x}, {pads(op.padding)}, {how})"


@EXPRESSIONS.register("pad_channels")
def _pad_channels(op: ops.PadChannels, x: str) -> str:
    return f"functional.pad({x}, {(0, 0, 0, 0, op.before, op.after)})"


@EXPRESSIONS.register("reshape")
def _reshape(op: ops.Reshape, x: str) -> str:
    return f"{x}.reshape({x}.shape[0], {', '.join(map(str, op.shape))})"


# ---------------------------------------------------------------------------------------------------------------
# Memory

IN_PLACE = {"relu": "activate", "add": "accumulate"}
"""Operations that may overwrite an input, and the function in ``forwards`` that does so where it is safe."""

NEW_VALUE = frozenset(
    {
        "conv2d",
        "std_conv2d",
        "conv_transpose2d",
        "conv1d",
        "linear",
        "batch_norm",
        "position_batch_norm",
        "group_norm",
        "evo_norm_s0",
        "filter_response_norm",
        "add",
        "multiply",
    }
)
"""Operations whose output is memory of its own that their gradient does not need."""
