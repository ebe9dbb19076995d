"""Reads nodes of TensorFlow's graphs that resize: its own, and selections of rows, then of columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_spec import operations as ops
from resnet_spec_tensorflow.importing.graph_def import Constant, GraphNode
from resnet_spec_tensorflow.importing.graph_patterns import PatternNode
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor

ROUNDING = 1e-4
"""How far positions in float32 may be from those that coordinates give."""

NEAREST = (
    ops.Resize(op="resize", mode="nearest", coordinates="asymmetric", rounding="floor", size=(1, 1)),
    ops.Resize(op="resize", mode="nearest", coordinates="half_pixel", rounding="half_up", size=(1, 1)),
)
"""The two ways in which the language takes the nearest position."""


@READERS.register("tf.ResizeNearestNeighbor", "tf.ResizeBilinear")
def _resize(context: Context) -> Tensor | None:
    node: GraphNode = context.layer
    size = node.constant(1)
    tensor = context.first(context.tensor)
    if size is None or tensor is None:
        return tensor and context.problem("resizes to what depends on the input")
    half, aligned = node.attribute("half_pixel_centers", False), node.attribute("align_corners", False)
    bilinear = node.kind == "ResizeBilinear"
    if (bilinear and half == aligned) or (not bilinear and aligned):
        return context.problem("has coordinates that the language lacks; use half_pixel_centers")
    fields: dict[str, Any] = {"coordinates": "align_corners" if aligned else "half_pixel" if half else "asymmetric"}
    if not bilinear:
        fields["rounding"] = "half_up" if half else "floor"
    before = tensor.value.shape[1:]
    wanted = tuple(int(number) for number in size)
    factors = [after // number for after, number in zip(wanted, before, strict=True)]
    whole = all(after == number * factor for after, number, factor in zip(wanted, before, factors, strict=True))
    if whole and max(factors) <= 32 and not aligned:
        fields |= {"scale": tuple(factors)}
        fields |= {} if bilinear else {"coordinates": "asymmetric", "rounding": "floor"}
    else:
        fields |= {"size": wanted}
    mode = "bilinear" if bilinear else "nearest"
    return context.add("resize", tensor.value, tensor.axes, mode=mode, **fields)


@READERS.register("tf.GatherV2")
def _gather(context: Context) -> Tensor | None:
    """A selection of positions one after another, or of the nearest rows or columns."""
    positions, axis = context.layer.constant(1), context.layer.constant(2)
    if positions is not None and axis is not None and positions.ndim == 1 and _follow(positions):
        along = context.axis(int(axis))
        if along is None:
            return None
        first, last = int(positions[0]), int(positions[-1]) + 1
        whole = (first, last) == (0, context.tensor.value.shape[along])
        fields: dict[str, Any] = {"axis": along, "start": first, "stop": last}
        return context.tensor if whole else context.add("slice", context.tensor.value, context.tensor.axes, **fields)
    tensor, place = _along(context, axis)
    if positions is None or tensor is None or not place or positions.ndim != 1:
        return tensor and context.problem("takes positions that are computed, or that are not rows or columns")
    before = tensor.value.shape[place]
    for rule in NEAREST:
        if [int(position) for position in rule.positions(before, positions.size)] == positions.tolist():
            fields = {"mode": "nearest", "coordinates": rule.coordinates, "rounding": rule.rounding}
            return _resized(context, tensor, place, positions.size, fields)
    return context.problem("takes positions that are not the nearest ones of a resized map")


@READERS.register("tf.Interpolated")
def _interpolated(context: Context) -> Tensor | None:
    """Rows or columns between two, each times its share."""
    node: PatternNode = context.layer
    lower, more, axis = (_array(node.found[word]) for word in ("lower", "more", "axis"))
    tensor, place = _along(context, axis)
    if tensor is None or not place or lower.ndim != 1 or more.size != lower.size:
        return tensor and context.problem("combines positions that are not rows or columns")
    before, after = tensor.value.shape[place], lower.size
    positions = lower + more.reshape(-1)
    if before == after and np.allclose(positions, np.arange(before), atol=ROUNDING):
        return tensor
    for coordinates in ("half_pixel", "align_corners"):
        if np.allclose(np.clip(positions, 0, before - 1), _positions(coordinates, before, after), atol=ROUNDING):
            return _resized(context, tensor, place, after, {"mode": "bilinear", "coordinates": coordinates})
    return context.problem("has coordinates that the language lacks")


def _positions(coordinates: str, before: int, after: int) -> list[float]:
    """Where the values of a resized axis are on the axis before."""
    if coordinates == "align_corners":
        return [step * (before - 1) / max(after - 1, 1) for step in range(after)]
    return [min(max((step + 0.5) * before / after - 0.5, 0), before - 1) for step in range(after)]


def _follow(positions: Any) -> bool:
    given: list[int] = positions.tolist()
    return given == [*range(given[0], given[0] + len(given))] if given else False


def _array(value: Any) -> Any:
    return value.array if isinstance(value, Constant) else np.zeros((0, 0))


def _along(context: Context, axis: Any) -> tuple[Tensor | None, int | None]:
    """The tensor with its channels first, and the axis of the value that a node works along; 0 for the channels."""
    tensor = context.first(context.tensor)
    if tensor is None or axis is None or axis.size != 1 or len(tensor.axes) != 3:
        return tensor, None
    return tensor, context.axis(int(axis.reshape(())), tensor)


def _resized(context: Context, tensor: Tensor, place: int, size: int, fields: dict[str, Any]) -> Tensor | None:
    """Resize one axis; together with the same of the other axis before it, it is one resize."""
    reader, value = context.reader, tensor.value
    made, draft = reader.made(value), reader.builder.draft(value)
    sizes = [*value.shape[1:]]
    sizes[place - 1] = size
    alone = reader.only_reader(context.call.inputs[0]) is context.call
    if alone and made is not None and draft is not None and made.op == "resize":
        same = all(made.fields.get(key) == word for key, word in fields.items())
        if same and made.input.shape[place] == value.shape[place]:
            found = reader.builder.replace(value, draft.inputs, size=tuple(sizes))
            return found and Tensor(found, tensor.axes)
    return context.add("resize", value, tensor.axes, size=tuple(sizes), **fields)
