"""Operations in NumPy, exact for whole numbers: what quantized values are computed with, independently of any backend.

float64 holds every whole number below 2⁵³, so that a sum of products of codes has no rounding in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

from resnet_spec import operations as ops
from resnet_spec.operations.windows import explicit_padding, overhang, window_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = "NDArray[Any]"


def convolve(operation: ops.Conv, value: Array, kernel: Array) -> Array:
    """The convolution of (N, C, ...) with a kernel (channels, C / groups, ...), without a bias."""
    columns, positions = columns_of(operation, value)
    matrices = kernel.reshape(operation.groups, operation.channels // operation.groups, -1)
    sums = columns @ matrices.transpose(0, 2, 1)
    return sums.transpose(0, 1, 3, 2).reshape(len(value), operation.channels, *positions)


def columns_of(operation: ops.Conv, value: Array) -> tuple[Array, tuple[int, ...]]:
    """Each window of (N, C, ...) as a row: (N, groups, positions, C / groups · kernel); and the sizes of positions."""
    import numpy as np

    windows = _windows(value, operation, operation.dilation, 0.0)
    batch, channels, *positions = windows.shape[: value.ndim]
    groups = operation.groups
    split = windows.reshape(batch, groups, channels // groups, *positions, *operation.kernel)
    columns = np.moveaxis(split, 2, value.ndim)
    return columns.reshape(batch, groups, prod(positions), -1), tuple(positions)


def _windows(value: Array, operation: Any, dilation: tuple[int, ...], fill: float) -> Array:
    """Every window of (N, C, ...), as (N, C, ..., kernel), with ``fill`` around the map and where windows overhang."""
    import numpy as np

    sizes, kernel, stride = value.shape[2:], operation.kernel, operation.stride
    edges = explicit_padding(sizes, kernel, stride, operation.padding, dilation)
    ceil_mode = getattr(operation, "ceil_mode", False)
    counts = [
        window_count(*axis, ceil_mode=ceil_mode) for axis in zip(sizes, kernel, stride, edges, dilation, strict=True)
    ]
    more = [
        max(overhang(size + sum(edge), count, k, s, d), 0)
        for size, edge, count, k, s, d in zip(sizes, edges, counts, kernel, stride, dilation, strict=True)
    ]
    around = [(before, after + extra) for (before, after), extra in zip(edges, more, strict=True)]
    padded = np.pad(value, [(0, 0), (0, 0), *around], constant_values=fill)
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    axes = tuple(range(2, value.ndim))
    found = np.lib.stride_tricks.sliding_window_view(padded, extents, axis=axes)
    steps = [slice(0, (count - 1) * s + 1, s) for count, s in zip(counts, stride, strict=True)]
    return found[(slice(None), slice(None), *steps, *(slice(None, None, d) for d in dilation))]


def max_pool(operation: ops.MaxPool, value: Array) -> Array:
    """The largest number of each window of (N, C, ...)."""
    rank = value.ndim - 2
    return _windows(value, operation, (1,) * rank, float("-inf")).max(axis=tuple(range(-rank, 0)))


def avg_pool(operation: ops.AvgPool, value: Array) -> Array:
    """The mean of each window of (N, C, ...); rows where a window overhangs never count."""
    import numpy as np

    rank = value.ndim - 2
    axes, ones = tuple(range(-rank, 0)), (1,) * rank
    sums = _windows(value, operation, ones, 0.0).sum(axis=axes)
    counted = np.ones((1, 1, *value.shape[2:]))
    if operation.count_include_pad:
        edges = explicit_padding(value.shape[2:], operation.kernel, operation.stride, operation.padding)
        counted = np.pad(counted, [(0, 0), (0, 0), *edges], constant_values=1.0)
        operation = operation.model_copy(update={"padding": ((0, 0),) * rank})
    return sums / _windows(counted, operation, ones, 0.0).sum(axis=axes)


def _reshaped(operation: Any, value: Array) -> Array:
    shape = operation.output_shape(value.shape[1:])
    return value.reshape(len(value), *shape)


def _pad(operation: ops.Pad, value: Array) -> Array:
    import numpy as np

    around: list[tuple[int, int]] = [(0, 0), (0, 0), *operation.padding]
    if operation.mode == "reflect":
        return np.pad(value, around, mode="reflect")
    return np.pad(value, around, constant_values=operation.value)


def _pad_channels(operation: ops.PadChannels, value: Array) -> Array:
    import numpy as np

    return np.pad(value, [(0, 0), (operation.before, operation.after), *[(0, 0)] * (value.ndim - 2)])


def _concat(operation: ops.Concat, *values: Array) -> Array:
    import numpy as np

    return np.concatenate(values, axis=operation.axis + 1)


def _slice(operation: ops.Slice, value: Array) -> Array:
    start, stop = operation.bounds(value.shape[operation.axis + 1])
    return value[(slice(None),) * (operation.axis + 1) + (slice(start, stop),)]


def _add(operation: ops.Add, *values: Array) -> Array:
    return sum(values[1:], values[0])


def _multiply(operation: ops.Multiply, *values: Array) -> Array:
    return prod(values[1:], start=values[0]) * operation.factor


def _global_mean(operation: ops.GlobalAvgPool, value: Array) -> Array:
    return value.mean(axis=tuple(range(2, value.ndim)), keepdims=True)


def _mean(operation: ops.Mean, value: Array) -> Array:
    return value.mean(axis=tuple(axis + 1 for axis in operation.axis), keepdims=True)


def _transpose(operation: ops.Transpose, value: Array) -> Array:
    return value.transpose(0, *(axis + 1 for axis in operation.axes))


def _clip(operation: Any, value: Array) -> Array:
    return value.clip(0, 6 if isinstance(operation, ops.ReLU6) else None)


FORMULAS: Mapping[type[ops.BaseOperation], Callable[..., Array]] = {
    ops.Add: _add,
    ops.AvgPool: avg_pool,
    ops.Concat: _concat,
    ops.Flatten: _reshaped,
    ops.GlobalAvgPool: _global_mean,
    ops.MaxPool: max_pool,
    ops.Mean: _mean,
    ops.Multiply: _multiply,
    ops.Pad: _pad,
    ops.PadChannels: _pad_channels,
    ops.ReLU: _clip,
    ops.ReLU6: _clip,
    ops.Reshape: _reshaped,
    ops.Slice: _slice,
    ops.Transpose: _transpose,
}
"""Each operation without parameters that can be computed here: (operation, values...) to its value, (N, ...)."""
