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
from resnet_spec.operations import Shape, symmetric_same
from resnet_spec_torch.layers import (
    BiasedBatchNorm2d,
    PaddedConv2d,
    PaddedMaxPool2d,
    SameConv2d,
    SameMaxPool2d,
    pads,
)

ModuleType = TypeVar("ModuleType", bound=nn.Module)


class Options(NamedTuple):
    """What every layer of one model shares."""

    dtype: torch.dtype = torch.float32
    exact_statistics: bool = False


LayerEmitter: TypeAlias = Callable[[Any, Shape, Options], nn.Module]
ExpressionEmitter: TypeAlias = Callable[..., str]

LAYERS: dict[str, LayerEmitter] = {}
"""Operations that become a module: (operation, shape of its input, options) to an empty layer."""

EXPRESSIONS: dict[str, ExpressionEmitter] = {}
"""Operations that become an expression: (operation, variables...) to source text."""

_Emitter = TypeVar("_Emitter", bound=Callable[..., Any])


def _emits(table: dict[str, Any], operation: str) -> Callable[[_Emitter], _Emitter]:
    """Enter an emitter into a table; raises ValueError where the operation has one already."""

    def enter(emitter: _Emitter) -> _Emitter:
        if operation in LAYERS or operation in EXPRESSIONS:
            raise ValueError(f"the operation {operation!r} has two emitters")
        table[operation] = emitter
        return emitter

    return enter


def layer(operation: str) -> Callable[[_Emitter], _Emitter]:
    """Enter the emitter of an operation that becomes a module; raises ValueError on the second one."""
    return _emits(LAYERS, operation)


def expression(operation: str) -> Callable[[_Emitter], _Emitter]:
    """Enter the emitter of an operation that becomes an expression; raises ValueError on the second one."""
    return _emits(EXPRESSIONS, operation)


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


@layer("conv2d")
def _conv2d(op: ops.Conv2d, shape: Shape, options: Options) -> nn.Conv2d:
    sizes = (shape[0], op.channels, op.kernel)
    settings: dict[str, Any] = {
        "stride": op.stride,
        "dilation": op.dilation,
        "groups": op.groups,
        "bias": op.bias,
        "dtype": options.dtype,
    }
    edges = symmetric_same(op.kernel, op.stride, op.dilation) if op.padding == "same" else op.padding
    if edges is None:
        return _empty(SameConv2d, *sizes, **settings)
    (top, bottom), (left, right) = edges
    if (top, left) != (bottom, right):
        return _empty(PaddedConv2d, *sizes, edges=edges, **settings)
    return _empty(nn.Conv2d, *sizes, padding=(top, left), **settings)


@layer("linear")
def _linear(op: ops.Linear, shape: Shape, options: Options) -> nn.Linear:
    return _empty(nn.Linear, shape[0], op.features, bias=op.bias, dtype=options.dtype)


@layer("batch_norm")
def _batch_norm(op: ops.BatchNorm, shape: Shape, options: Options) -> nn.BatchNorm2d:
    biased = options.exact_statistics and op.running_variance == "biased"
    norm = _empty(
        BiasedBatchNorm2d if biased else nn.BatchNorm2d,
        shape[0],
        eps=op.epsilon,
        momentum=op.momentum,
        affine=op.scale or op.offset,
        dtype=options.dtype,
    )
    # The native layer has both or neither; the function beneath it takes one alone.
    if norm.affine and not op.scale:
        norm.register_parameter("weight", None)
    if norm.affine and not op.offset:
        norm.register_parameter("bias", None)
    return norm


@layer("relu")
def _relu(op: ops.ReLU, shape: Shape, options: Options) -> nn.ReLU:
    return nn.ReLU()


@layer("sigmoid")
def _sigmoid(op: ops.Sigmoid, shape: Shape, options: Options) -> nn.Sigmoid:
    return nn.Sigmoid()


@layer("max_pool2d")
def _max_pool2d(op: ops.MaxPool2d, shape: Shape, options: Options) -> nn.MaxPool2d:
    edges = symmetric_same(op.kernel, op.stride, (1, 1)) if op.padding == "same" else op.padding
    if edges is None:
        return SameMaxPool2d(op.kernel, op.stride)
    (top, bottom), (left, right) = edges
    if (top, left) != (bottom, right):
        return PaddedMaxPool2d(op.kernel, op.stride, edges=edges)
    return nn.MaxPool2d(op.kernel, op.stride, (top, left))


@layer("global_avg_pool")
def _global_avg_pool(op: ops.GlobalAvgPool, shape: Shape, options: Options) -> nn.AdaptiveAvgPool2d:
    return nn.AdaptiveAvgPool2d((1, 1))


# ---------------------------------------------------------------------------------------------------------------
# Expressions


@expression("add")
def _add(op: ops.Add, *terms: str) -> str:
    return " + ".join(terms)


@expression("multiply")
def _multiply(op: ops.Multiply, *factors: str) -> str:
    return " * ".join(factors)


@expression("flatten")
def _flatten(op: ops.Flatten, x: str) -> str:
    return f"torch.flatten({x}, 1)"


@expression("softmax")
def _softmax(op: ops.Softmax, x: str) -> str:
    return f"torch.softmax({x}, 1)"


@expression("pad2d")
def _pad2d(op: ops.Pad2d, x: str) -> str:
    return f"functional.pad({x}, {pads(op.padding)}, value={op.value!r})"


# ---------------------------------------------------------------------------------------------------------------
# Memory

IN_PLACE = {"relu": "activate", "add": "accumulate"}
"""Operations that may overwrite an input, and the function in ``forwards`` that does so where it is safe."""

NEW_VALUE = frozenset({"conv2d", "linear", "batch_norm", "add", "multiply"})
"""Operations whose output is memory of its own that their gradient does not need."""
