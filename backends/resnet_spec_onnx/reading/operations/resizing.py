"""The normal form of resizing: rows, then columns, each by an interpolation."""

from __future__ import annotations

import numpy as np

from resnet_spec import operations as ops
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS

COORDINATES = {"half_pixel": "half_pixel", "pytorch_half_pixel": "half_pixel", "align_corners": "align_corners"}


@NODE_FORMS.register("Resize")
def _resize_node(node: NodeView) -> Value:
    node.require(antialias=0, exclude_outside=0)
    value, sizes = node.computed(), node.sizes(node.computed())
    mode, coordinates = node.string("mode", "nearest"), node.string("coordinate_transformation_mode", "half_pixel")
    axes = node.integers("axes", range(len(sizes)))
    after = _sizes_after(node, [sizes[axis] for axis in axes])
    if node.opset < 11:
        # It has no coordinates, and rounds up where it makes a map smaller.
        coordinates = "asymmetric"
        if any(size < sizes[axis] for axis, size in zip(axes, after, strict=True)):
            raise node.error(f"makes {list(sizes)} smaller, which opset {node.opset} does in its own way")
    return _resized(node, value, dict(zip(axes, after, strict=True)), mode, coordinates)


@NODE_FORMS.register("Upsample")
def _upsample_node(node: NodeView) -> Value:
    value, sizes = node.computed(), node.sizes(node.computed())
    after = [_whole(node, size * scale) for size, scale in zip(sizes, _scales(node, sizes), strict=True)]
    return _resized(node, value, dict(enumerate(after)), node.string("mode", "nearest"), "asymmetric")


def _scales(node: NodeView, sizes: tuple[int, ...]) -> list[float]:
    """Return an upsampling's factors, which are an attribute before opset 9."""
    scales = _reals(node, 1) if node.has_input(1) else list(node.reals("scales"))
    if len(scales) != len(sizes):
        raise node.error(f"resizes {list(sizes)} by {scales}, which is not supported")
    return scales


def _sizes_after(node: NodeView, before: list[int]) -> list[int]:
    if node.has_input(3):
        sizes = node.integer_input(3, "") or ()
        if len(sizes) != len(before) or node.string("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise node.error(f"resizes {before} to {list(sizes)}, which is not supported")
        return list(sizes)
    # Version 10 has no region of interest before the scales.
    scales = _reals(node, 1 if len(node.inputs) == 2 else 2)
    if len(scales) != len(before):
        raise node.error(f"resizes {before} by {scales}, which is not supported")
    return [_whole(node, size * scale) for size, scale in zip(before, scales, strict=True)]


def _reals(node: NodeView, index: int) -> list[float]:
    array = node.constant(index).array
    if array.dtype.kind != "f" or array.ndim != 1 or array.size > 8:
        raise node.error("has scales that are not a short list of numbers")
    return [float(number) for number in array]


def _whole(node: NodeView, size: float) -> int:
    """Return a size that is a whole number up to rounding: with others, scale and ratio of sizes differ."""
    if not 0.5 < size < 2**20 or abs(size - round(size)) > 1e-4 * size:
        raise node.error(f"scales to {size:.6g} values, which is not supported")
    return round(size)


def _resized(node: NodeView, value: Computed, after: dict[int, int], mode: str, coordinates: str) -> Value:
    sizes = node.sizes(value)
    step = value.step
    changed = sorted((value.axes[index] or 0, size) for index, size in after.items() if size != sizes[index])
    for axis, size in changed:
        if axis < 2:
            raise node.error(f"resizes {list(sizes)} along other axes than height and width")
        kind = _interpolation(node, mode, coordinates, size)
        step = node.network.resize(step, node.source, axis - 1, size, kind)
    return Computed(step, value.axes)


def _interpolation(node: NodeView, mode: str, coordinates: str, size: int) -> str:
    # The two kinds of half pixels differ where one value is left.
    if (
        mode in ("linear", "bilinear")
        and coordinates in COORDINATES
        and (coordinates != "pytorch_half_pixel" or size > 1)
    ):
        return f"bilinear {COORDINATES[coordinates]}"
    floor = node.proto.op_type != "Resize" or node.opset < 11
    rounding = node.string("nearest_mode", "floor" if floor else "round_prefer_floor")
    if mode == "nearest" and (coordinates, rounding) == ("asymmetric", "floor"):
        return "nearest asymmetric"
    if mode == "nearest" and (coordinates, rounding) == ("half_pixel", "round_prefer_ceil"):
        return "nearest half_pixel"
    if mode == "nearest" and (coordinates, rounding) == ("half_pixel", "round_prefer_floor"):
        # Enlarged by a whole number, no position is halfway between two.
        return "nearest half_pixel down"
    raise node.error(f"is a resize with mode {mode!r} and coordinates {coordinates!r}, which is not supported")


@NODE_FORMS.register("Gather")
def _gather_node(node: NodeView) -> Value:
    """A selection of the nearest positions, or of one part."""
    value, sizes = node.computed(), node.sizes(node.computed())
    index = node.positive_axis(node.integer("axis"), len(sizes))
    taken = node.constant(1).array
    axis, before = value.axes[index], sizes[index]
    if taken.ndim != 1 or taken.dtype.kind not in "iu" or not axis or not taken.size:
        raise node.error("selects values in a way that is not supported")
    if np.array_equal(taken, np.arange(before)):
        return value
    for coordinates in ("asymmetric", "half_pixel"):
        rounding = "floor" if coordinates == "asymmetric" else "half_up"
        resize = ops.Resize(op="resize", mode="nearest", coordinates=coordinates, rounding=rounding, size=(1, 1))
        if [int(position) for position in resize.positions(before, taken.size)] == taken.tolist():
            step = node.network.resize(value.step, node.source, axis - 1, taken.size, f"nearest {coordinates}")
            return Computed(step, value.axes)
    raise node.error("selects values in a way that is not supported")
