"""From operation to ONNX nodes: one short function each, in a table that refuses a second one.

An emitter never sees a weight, only the names of values. What acts in training only is not there at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from onnx import numpy_helper

from resnet_spec import operations as ops
from resnet_spec.errors import BackendError, Problem
from resnet_spec.operations.fields import UNPADDED
from resnet_spec_onnx.emitting.node_builder import Place
from resnet_spec_onnx.emitting.windows import (
    all_pads,
    attributes,
    ceil_edges,
    dilations,
    edges_of,
    is_upper,
    pad,
    padded,
    pads,
    same_pads,
)

Emitter: TypeAlias = Callable[..., str]
"""(operation, place, values...) to the value of the last node written, or to the value given where there is none."""

_Emitter = TypeVar("_Emitter", bound=Emitter)

EMITTERS: dict[str, Emitter] = {}
"""Every emitter by the name of its operation."""


def emits(op: str) -> Callable[[_Emitter], _Emitter]:
    """Enter a function into the table; raises ValueError where the operation has an emitter already."""

    def enter(function: _Emitter) -> _Emitter:
        if op in EMITTERS:
            raise ValueError(f"{op} has two emitters")
        EMITTERS[op] = function
        return function

    return enter


def emit(place: Place, *values: str) -> str:
    """Write the nodes of one operation; raises BackendError where it has no emitter."""
    operation = place.node.operation
    if operation.op not in EMITTERS:
        raise BackendError(Problem(f"the onnx backend has no {operation.op}", place.node.name))
    return EMITTERS[operation.op](operation, place, *values)


# ---------------------------------------------------------------------------------------------------------------
# Convolutions and linear layers


def _bias(op: Any, place: Place) -> tuple[str, ...]:
    return (place.parameter("bias"),) if op.bias else ()


def _convolution(op: ops.Conv2d | ops.StdConv2d, place: Place, x: str, kernel: str) -> str:
    x, padding = padded(place, op, x, 0.0)
    settings = {"dilations": dilations(op), "group": op.groups, **attributes(op), **padding}
    return place("Conv", x, kernel, *_bias(op, place), **settings)


@emits("conv2d")
def _conv2d(op: ops.Conv2d, place: Place, x: str) -> str:
    return _convolution(op, place, x, place.parameter("weight"))


@emits("std_conv2d")
def _std_conv2d(op: ops.StdConv2d, place: Place, x: str) -> str:
    # In the graph and not beforehand, so that the file holds the parameter itself; a runtime folds it once.
    weight = place.parameter("weight")
    centered = _centered(place, weight, [1, 2, 3])
    return _convolution(op, place, x, place("Div", centered, _deviation(place, centered, [1, 2, 3], op.epsilon)))


def _centered(place: Place, x: str, axes: list[int]) -> str:
    return place("Sub", x, place("ReduceMean", x, axes=axes, keepdims=1))


def _deviation(place: Place, centered: str, axes: list[int], epsilon: float) -> str:
    """The root of the mean square over some axes, which are kept, and of an epsilon."""
    square = place("ReduceMean", place("Mul", centered, centered), axes=axes, keepdims=1)
    return place("Sqrt", place("Add", square, place.reals(epsilon)))


def _crop(op: ops.ConvTranspose2d) -> list[tuple[int, int]]:
    """Rows to crop before and after; fewer than none where zeros follow."""
    if op.padding != "same":
        return list(op.padding)
    spans = [kernel - stride for kernel, stride in zip(op.kernel, op.stride, strict=True)]
    return [(max(span, 0) // 2, span - max(span, 0) // 2) for span in spans]


@emits("conv_transpose2d")
def _conv_transpose2d(op: ops.ConvTranspose2d, place: Place, x: str) -> str:
    (top, bottom), (left, right) = _crop(op)
    settings = {
        "kernel_shape": op.kernel,
        "strides": op.stride,
        "pads": [top, left, max(bottom, 0), max(right, 0)],
        "output_padding": [max(-bottom, 0), max(-right, 0)],
    }
    return place("ConvTranspose", x, place.parameter("weight"), *_bias(op, place), **settings)


@emits("conv1d")
def _conv1d(op: ops.Conv1d, place: Place, x: str) -> str:
    settings = {"kernel_shape": [op.kernel], "pads": [op.padding, op.padding]}
    return place("Conv", x, place.parameter("weight"), *_bias(op, place), **settings)


@emits("linear")
def _linear(op: ops.Linear, place: Place, x: str) -> str:
    return place("Gemm", x, place.parameter("weight"), *_bias(op, place), transB=1)


# ---------------------------------------------------------------------------------------------------------------
# Normalizations, activations, what acts in training only


@emits("batch_norm")
def _batch_norm(op: ops.BatchNorm, place: Place, x: str) -> str:
    (channels,) = place.node.shape[:1]
    scale = place.parameter("weight") if op.scale else place.reals([1.0] * channels)
    offset = place.parameter("bias") if op.offset else place.reals([0.0] * channels)
    mean, variance = place.parameter("running_mean"), place.parameter("running_var")
    lacking = _lacking(place, op.epsilon)
    variance = place("Add", variance, place.reals(lacking)) if lacking else variance
    return place("BatchNormalization", x, scale, offset, mean, variance, epsilon=op.epsilon)


def _lacking(place: Place, epsilon: float) -> float:
    """What an attribute, which is a float32, lacks of an epsilon; seen in float64, where it must be added."""
    return float(place.dtype.type(epsilon) - np.float32(epsilon))


@emits("position_batch_norm")
def _position_batch_norm(op: ops.PositionBatchNorm, place: Place, x: str) -> str:
    variance = place("Add", place.parameter("running_var"), place.reals(op.epsilon))
    x = place("Div", place("Sub", x, place.parameter("running_mean")), place("Sqrt", variance))
    x = place("Mul", x, place.parameter("weight")) if op.scale else x
    return place("Add", x, place.parameter("bias")) if op.offset else x


@emits("group_norm")
def _group_norm(op: ops.GroupNorm, place: Place, x: str) -> str:
    # ONNX's own operation has a scale for each group in one version and for each channel in the next.
    grouped = place("Reshape", x, place.integers([0, op.groups, -1]))
    x = place("Reshape", _instance_norm(op, place, grouped), place("Shape", x))
    x = place("Mul", x, place.by_channel("weight")) if op.scale else x
    return place("Add", x, place.by_channel("bias")) if op.offset else x


def _instance_norm(op: ops.GroupNorm, place: Place, x: str) -> str:
    """Each group of (batch, groups, length) normalized by its own statistics."""
    if _lacking(place, op.epsilon):
        # Nothing can be added to a variance that the node itself takes.
        centered = _centered(place, x, [2])
        return place("Div", centered, _deviation(place, centered, [2], op.epsilon))
    neutral = place.reals([1.0] * op.groups), place.reals([0.0] * op.groups)
    return place("InstanceNormalization", x, *neutral, epsilon=op.epsilon)


@emits("evo_norm_s0")
def _evo_norm_s0(op: ops.EvoNormS0, place: Place, x: str) -> str:
    gate = place("Sigmoid", place("Mul", x, place.by_channel("v")))
    grouped = place("Reshape", x, place.integers([0, op.groups, -1]))
    deviation = _deviation(place, _centered(place, grouped, [2]), [2], op.epsilon)
    normal = place("Reshape", place("Div", grouped, deviation), place("Shape", x))
    scaled = place("Mul", place("Mul", normal, gate), place.by_channel("weight"))
    return place("Add", scaled, place.by_channel("bias"))


@emits("filter_response_norm")
def _filter_response_norm(op: ops.FilterResponseNorm, place: Place, x: str) -> str:
    x = place("Div", x, _deviation(place, x, [2, 3], op.epsilon))
    x = place("Add", place("Mul", x, place.by_channel("weight")), place.by_channel("bias"))
    return place("Max", x, place.by_channel("tau")) if op.threshold else x


@emits("relu")
def _relu(op: ops.ReLU, place: Place, x: str) -> str:
    return place("Relu", x)


@emits("sigmoid")
def _sigmoid(op: ops.Sigmoid, place: Place, x: str) -> str:
    return place("Sigmoid", x)


@emits("softmax")
def _softmax(op: ops.Softmax, place: Place, x: str) -> str:
    return place("Softmax", x, axis=1)


@emits("dropout")
def _dropout(op: ops.Dropout, place: Place, x: str) -> str:
    return x


@emits("stochastic_depth")
def _stochastic_depth(op: ops.StochasticDepth, place: Place, x: str) -> str:
    return x


# ---------------------------------------------------------------------------------------------------------------
# Pools


@emits("max_pool2d")
def _max_pool2d(op: ops.MaxPool2d, place: Place, x: str) -> str:
    x, padding = padded(place, op, x, float("-inf"))
    return place("MaxPool", x, **attributes(op), **padding)


@emits("avg_pool2d")
def _avg_pool2d(op: ops.AvgPool2d, place: Place, x: str) -> str:
    if edges_of(op) is None and not is_upper(op):
        return _avg_pool_of_computed_pads(op, place, x)
    if op.ceil_mode and op.count_include_pad and op.padding != "same":
        # What ceil_mode adds never counts.
        counted = x if op.padding == UNPADDED else pad(place, x, place.integers(all_pads(op.padding)))
        return place("AveragePool", counted, pads=pads(ceil_edges(op, op.padding)), **attributes(op))
    x, padding = padded(place, op, x, 0.0)
    return place("AveragePool", x, count_include_pad=int(op.count_include_pad), **attributes(op), **padding)


def _avg_pool_of_computed_pads(op: ops.AvgPool2d, place: Place, x: str) -> str:
    edges = same_pads(place, op, x)
    mean = place("AveragePool", pad(place, x, edges), **attributes(op))
    if op.count_include_pad:
        return mean
    ones = place("ConstantOfShape", place("Shape", x), value=numpy_helper.from_array(np.ones(1, place.dtype)))
    return place("Div", mean, place("AveragePool", pad(place, ones, edges), **attributes(op)))


@emits("global_avg_pool")
def _global_avg_pool(op: ops.GlobalAvgPool, place: Place, x: str) -> str:
    return place("GlobalAveragePool", x)


@emits("global_max_pool")
def _global_max_pool(op: ops.GlobalMaxPool, place: Place, x: str) -> str:
    return place("GlobalMaxPool", x)


# ---------------------------------------------------------------------------------------------------------------
# Paddings, reshapings, joins


@emits("pad2d")
def _pad2d(op: ops.Pad2d, place: Place, x: str) -> str:
    edges = place.integers(all_pads(op.padding))
    if op.mode == "reflect":
        return place("Pad", x, edges, mode="reflect")
    value = _hardly_zero(place) if not op.value and "max_pool2d" in place.readers else op.value
    return pad(place, x, edges, value)


def _hardly_zero(place: Place) -> float:
    """In the place of 0 where a max pool follows a pad: the smallest normal number.

    ONNX Runtime (1.31) makes one node of a pad of zeros and a max pool, whose own padding is minus infinity. This it
    leaves alone, and next to any other value it is lost in rounding.
    """
    return float(np.finfo(place.dtype).tiny)


@emits("pad_channels")
def _pad_channels(op: ops.PadChannels, place: Place, x: str) -> str:
    return pad(place, x, place.integers([0, op.before, 0, 0, 0, op.after, 0, 0]))


@emits("flatten")
def _flatten(op: ops.Flatten, place: Place, x: str) -> str:
    return place("Flatten", x, axis=1)


@emits("reshape")
def _reshape(op: ops.Reshape, place: Place, x: str) -> str:
    # 0 stands for what it was: the batch.
    return place("Reshape", x, place.integers([0, *op.shape]))


def _joined(op_type: str, place: Place, values: tuple[str, ...]) -> str:
    result, *others = values
    for other in others:
        result = place(op_type, result, other)
    return result


@emits("add")
def _add(op: ops.Add, place: Place, *terms: str) -> str:
    return _joined("Add", place, terms)


@emits("multiply")
def _multiply(op: ops.Multiply, place: Place, *factors: str) -> str:
    return _joined("Mul", place, factors)
