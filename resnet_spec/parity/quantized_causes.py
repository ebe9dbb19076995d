"""Known mistakes of 8-bit runtimes, each confirmed by computing it: what explains a node that differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from resnet_spec.operations import Conv, Linear
from resnet_spec.operations.windows import explicit_padding
from resnet_spec.parity.report import largest_difference
from resnet_spec.quantization import Value, covering
from resnet_spec.quantization.arithmetic import columns_of
from resnet_spec.quantization.form import HIGH, LOW
from resnet_spec.quantization.placement import FUSED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Node
    from resnet_spec.quantization import Grid, IntegerReference
    from resnet_spec.quantization.reference import IntegerLayer

    Array = NDArray[Any]

LIMIT = 2**15 - 1
"""The largest sum of two products that a processor without instructions for 8-bit networks holds."""


def causes_of(
    reference: IntegerReference, node: Node, values: Mapping[str, Value], observed: Array, allowed: float
) -> tuple[list[str], int]:
    """Find the mistakes that explain a node's value.

    Args:
        reference: The reference.
        node: The node; one that limits the value of a layer before it is computed with that layer.
        values: The values before it.
        observed: What the backend computes of these.
        allowed: How far an explanation may be from it.

    Returns:
        Those that explain it, and how many were tried.
    """
    found: list[str] = []
    tried = 0
    for cause, value in _trials(reference, node, values):
        tried += 1
        if value.shape == observed.shape and largest_difference(observed, value) <= allowed:
            found.append(cause)
    return found, tried


def _trials(reference: IntegerReference, node: Node, values: Mapping[str, Value]) -> Iterator[tuple[str, Array]]:
    """Yield mistakes, each with the value that it leads to."""
    import numpy as np

    grid, last = reference.grids.get(node.name), node
    fused = isinstance(node.operation, FUSED) and node.inputs[0] in reference.graph.by_name
    if fused and node.inputs[0] not in reference.grids:
        node = reference.graph.by_name[node.inputs[0]]
    inputs = [values[name] for name in node.inputs]

    def limited(value: Array) -> Array:
        return value if node is last else reference.value_in_float(last, [Value(value)])

    def rounded(value: Array) -> Array:
        return limited(value) if grid is None else grid.rounded(limited(value))

    if reference.is_quantized(node):
        layer = reference.layer(node, inputs[0])
        exact = layer.value()
        for cause, changed in _layers(reference, node, layer, inputs[0]):
            yield cause, rounded(changed.value())
        if (given := inputs[0].grid) is not None:
            if isinstance(node.operation, Conv):
                padded = _padded(layer, node.operation, given)
                yield "the padding is the code 0 instead of the zero point", rounded(padded.value())
            yield "sums of two products are limited to 16 bits", rounded(_saturated(layer, given))
    else:
        exact = reference.value_in_float(node, inputs)
    if grid is None:
        return
    yield "the value is not limited as the activation says", grid.rounded(exact)
    exact = limited(exact)
    yield "the value is not rounded to its grid", exact
    yield "codes are rounded down", grid.values((np.floor(exact / grid.scale) + grid.zero_point).clip(LOW, HIGH))
    yield "the value is limited to positive numbers", rounded(exact.clip(0))
    yield "the zero point is 0", grid.model_copy(update={"zero_point": 0}).rounded(exact)
    whole = covering(float(exact.min()), float(exact.max()))
    yield "the grid is that of this batch, not the one of the file", whole.rounded(exact)


def _layers(
    reference: IntegerReference, node: Node, layer: IntegerLayer, value: Value
) -> Iterator[tuple[str, IntegerLayer]]:
    import numpy as np

    kernel = reference.array(node, "weight").astype(np.float64)
    step = value.grid.scale if value.grid is not None else 1.0
    scales = layer.scales / step
    one = np.full_like(scales, scales.max())
    column = (-1, *[1] * (kernel.ndim - 1))
    whole = np.rint(kernel / one.reshape(column))
    bias = None if layer.bias is None else layer.bias * layer.scales / (one * step)
    yield (
        "one scale for the whole kernel instead of one for each channel",
        layer._replace(kernel=whole, scales=one * step, bias=bias),
    )
    grids = [covering(float(channel.min()), float(channel.max())) for channel in kernel]
    uneven = np.stack([grid.rounded(channel) for grid, channel in zip(grids, kernel, strict=True)])
    yield "an asymmetric grid for the kernel", layer._replace(kernel=uneven / scales.reshape(column))
    yield "a kernel in float", layer._replace(kernel=kernel / scales.reshape(column))
    if layer.bias is not None:
        yield "no bias", layer._replace(bias=None)
        yield "a bias with the scale of the kernel alone", layer._replace(bias=layer.bias / step)
    if value.grid is not None:
        yield "an input without its zero point", layer._replace(data=layer.data + value.grid.zero_point)


def _padded(layer: IntegerLayer, operation: Conv, grid: Grid) -> IntegerLayer:
    import numpy as np

    sizes = layer.data.shape[2:]
    edges = explicit_padding(sizes, operation.kernel, operation.stride, operation.padding, operation.dilation)
    data = np.pad(layer.data, [(0, 0), (0, 0), *edges], constant_values=-grid.zero_point)
    unpadded = operation.model_copy(update={"padding": ((0, 0),) * len(sizes)})
    return layer._replace(operation=unpadded, data=data)


def _saturated(layer: IntegerLayer, grid: Grid) -> Array:
    """Return the value if the products of neighboring channels are added in 16 bits, as without VNNI instructions."""
    import numpy as np

    # The input is multiplied as unsigned codes, from which the zero point is taken afterwards.
    shift = grid.zero_point - LOW
    operation, total = layer.operation, layer.value()
    if isinstance(operation, Linear):
        rows, kernel = layer.data.reshape(len(layer.data), 1, -1, layer.kernel.shape[1]) + shift, layer.kernel[None]
    else:
        columns, _ = columns_of(operation, layer.data)
        # Channels are neighbors, as they are in memory.
        channels = layer.kernel.shape[1]
        rows = columns.reshape(*columns.shape[:3], channels, -1).swapaxes(3, 4).reshape(columns.shape) + shift
        kernel = layer.kernel.reshape(operation.groups, operation.channels // operation.groups, channels, -1)
        kernel = kernel.swapaxes(2, 3).reshape(*kernel.shape[:2], -1)
    lost = np.zeros((*rows.shape[:3], kernel.shape[1]))
    for first in range(0, kernel.shape[-1] - 1, 2):
        pair = slice(first, first + 2)
        sums = rows[..., pair] @ kernel[..., pair].transpose(0, 2, 1)
        lost += sums - sums.clip(-LIMIT - 1, LIMIT)
    if isinstance(operation, Linear):
        return total - lost.reshape(total.shape) * layer.scales
    return total - lost.transpose(0, 1, 3, 2).reshape(total.shape) * layer.scales.reshape(-1, *[1] * (total.ndim - 2))
