"""Kernels that a file's nodes standardize: recognized by what they compute, since exporters write it in many ways.

The nodes between the initializers and a convolution's kernel are evaluated, and compared with the formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import NodeProto, helper

from resnet_spec.structure.steps import Tensor
from resnet_spec_onnx.reading.constant_folding import Constant, evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec_onnx.reading.protobuf import Contents

    Array = NDArray[Any]

MAX_NODES = 48
"""The most nodes that one kernel is computed by."""

TOLERANCE = 1e-4
"""The largest difference from the formula, whose values are about 1."""


@dataclass(frozen=True)
class Standardized:
    """A kernel before it is standardized, with the fields of the operation and the gain, if it has one."""

    weight: Tensor
    epsilon: float
    gain: Tensor | None = None
    gamma: float = 1.0


class _UnevaluatedError(Exception):
    """A kernel is computed in a way that is not known."""


class WeightExpressions:
    """What a file's nodes compute of its initializers only."""

    def __init__(self, contents: Contents) -> None:
        self._arrays = contents.arrays
        self._producers = {output: node for node in contents.graph.node for output in node.output[:1]}

    def standardized(self, name: str) -> Standardized | None:
        """Return the standardized kernel that a value is, None if it is something else."""
        try:
            values, nodes = self._evaluated(name)
        except _UnevaluatedError:
            return None
        kernel = values[name].astype(np.float64)
        epsilons = {float(array.reshape(())) for array in values.values() if array.size == 1}
        epsilons |= {float(entry.f) for node in nodes for entry in node.attribute if entry.name == "epsilon"}
        found = [
            (error, result)
            for weight in values
            if weight in self._arrays and values[weight].size == kernel.size and kernel.ndim == 4
            for epsilon in epsilons
            if 0 < epsilon < 0.1
            for error, result in self._candidates(kernel, weight, epsilon, values)
        ]
        if not found:
            return None
        error, result = min(found, key=itemgetter(0))
        return result if error < TOLERANCE else None

    def deviation(self, name: str) -> tuple[Tensor, float] | None:
        """Return the variance and the epsilon of which a value is the root of the sum, None if it is something else."""
        try:
            values, nodes = self._evaluated(name)
        except _UnevaluatedError:
            return None
        if [node.op_type for node in nodes if node.op_type != "Constant"] != ["Add", "Sqrt"]:
            return None
        epsilons = [array for array in values.values() if array.size == 1]
        variances = [other for other in values if other in self._arrays and values[other].size > 1]
        if len(epsilons) != 1 or len(variances) != 1:
            return None
        (variance,) = variances
        return Tensor((variance,), values[variance]), float(epsilons[0].reshape(()))

    def _candidates(
        self, kernel: Array, name: str, epsilon: float, values: Mapping[str, Array]
    ) -> Iterator[tuple[float, Standardized]]:
        """Yield what a kernel can be, and the difference from that."""
        stored = values[name].reshape(kernel.shape)
        weight = stored.astype(np.float64)
        centered = weight - weight.mean((1, 2, 3), keepdims=True)
        unit = centered / np.sqrt((centered**2).mean((1, 2, 3), keepdims=True) + epsilon)
        tensor = Tensor((name,), stored)
        yield float(np.abs(kernel - unit).max()), Standardized(tensor, epsilon)
        ratio = (kernel * unit).sum((1, 2, 3)) / np.maximum((unit**2).sum((1, 2, 3)), 1e-12)
        largest = max(float(np.abs(kernel).max()), 1e-12)
        error = float(np.abs(kernel - ratio[:, None, None, None] * unit).max()) / largest
        root = sqrt(prod(kernel.shape[1:]))
        for other, gain in values.items():
            if other in self._arrays and other != name and gain.size == len(ratio) and "." in other and np.all(gain):
                factors = ratio / gain.reshape(-1)
                if np.ptp(factors) < TOLERANCE * abs(factors[0]):
                    gamma = float(factors.mean()) * root
                    yield error, Standardized(tensor, epsilon, Tensor((other,), gain), gamma)
        # The gain was multiplied with the constants when the file was written.
        yield error + TOLERANCE / 2, Standardized(tensor, epsilon, Tensor((), (ratio * root).astype(stored.dtype)))

    def _evaluated(self, name: str) -> tuple[dict[str, Array], list[NodeProto]]:
        """Return the values that a value is computed from, with its own, and the nodes that compute them."""
        nodes = self._nodes_before(name)
        values: dict[str, Array] = {}
        for node in nodes:
            for read in node.input:
                if read in self._arrays:
                    values[read] = self._arrays[read]
            values[node.output[0]] = self._result(node, values)
        return values, nodes

    def _nodes_before(self, name: str) -> list[NodeProto]:
        found: list[NodeProto] = []
        waiting, known = [name], set[str]()
        while waiting:
            value = waiting.pop()
            if value in known or not value or value in self._arrays:
                continue
            known.add(value)
            node = self._producers.get(value)
            if node is None or len(found) >= MAX_NODES:
                raise _UnevaluatedError
            found.append(node)
            waiting += node.input
        order = {id(node): index for index, node in enumerate(self._producers.values())}
        return sorted(found, key=lambda node: order[id(node)])

    def _result(self, node: NodeProto, values: Mapping[str, Array]) -> Array:
        if node.op_type == "Constant":
            constant = evaluate(node, [], 1)
            if isinstance(constant, Constant):
                return constant.array
            raise _UnevaluatedError
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        try:
            inputs = [values[read] for read in node.input if read]
            with np.errstate(all="ignore"):
                return _OPERATIONS[node.op_type](*inputs, **attributes)
        # Of any file: another operation, other attributes, shapes that do not fit.
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise _UnevaluatedError from None


def _elementwise(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Return a function of two arrays whose broadcast is no larger than the larger of them."""

    def bounded(x: Array, y: Array) -> Array:
        if prod(np.broadcast_shapes(x.shape, y.shape)) > max(x.size, y.size):
            raise ValueError("the arrays make a larger one")
        return function(x, y)

    return bounded


def _mean(x: Array, axes: Any = None, keepdims: int = 1, **_: Any) -> Array:
    axis = None if axes is None else tuple(int(number) for number in np.asarray(axes).reshape(-1))
    return x.mean(axis, keepdims=bool(keepdims))


def _reshape(x: Array, shape: Array, **_: Any) -> Array:
    sizes = [int(size) for size in shape.reshape(-1)[:8]]
    return x.reshape([x.shape[index] if size == 0 else size for index, size in enumerate(sizes)])


def _batch_norm(
    x: Array, scale: Array, bias: Array, mean: Array, variance: Array, epsilon: float = 1e-5, **attributes: Any
) -> Array:
    """A normalization in training mode, by the statistics of the value itself."""
    if not attributes.get("training_mode"):
        raise ValueError("normalizes by running statistics")
    channels = (1, -1, *(1 for _ in x.shape[2:]))
    axes = (0, *range(2, x.ndim))
    centered = x - x.mean(axes, keepdims=True)
    normalized = centered / np.sqrt((centered**2).mean(axes, keepdims=True) + epsilon)
    return normalized * scale.reshape(channels) + bias.reshape(channels)


def _transpose(x: Array, perm: Sequence[int] | None = None) -> Array:
    return np.transpose(x, perm)


def _identity(x: Array) -> Array:
    return x


_OPERATIONS: Mapping[str, Callable[..., Array]] = {
    "Add": _elementwise(np.add),
    "BatchNormalization": _batch_norm,
    "Div": _elementwise(np.divide),
    "Identity": _identity,
    "Mul": _elementwise(np.multiply),
    "Pow": _elementwise(np.power),
    "Reciprocal": np.reciprocal,
    "ReduceMean": _mean,
    "Reshape": _reshape,
    "Sqrt": np.sqrt,
    "Sub": _elementwise(np.subtract),
    "Transpose": _transpose,
}
"""What each node computes, of arrays and attributes."""
