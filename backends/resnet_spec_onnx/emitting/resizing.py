"""Resizing as ONNX nodes: ``Resize`` where every runtime computes the same positions, else a selection of positions."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder

MODES = {"nearest": "nearest", "bilinear": "linear"}


@EMITTERS.register("resize")
def _resize(op: ops.Resize, builder: NodeBuilder, x: str, like: str = "") -> str:
    if op.mode == "nearest" and op.scale is None:
        for axis in (2, 3):
            x = builder.add("Gather", x, _positions(op, builder, x, like, axis), axis=axis)
        return x
    attributes = {"mode": MODES[op.mode], "coordinate_transformation_mode": op.coordinates}
    if op.mode == "nearest":
        attributes["nearest_mode"] = "floor" if op.rounding == "floor" else "round_prefer_ceil"
    if op.scale is not None:
        return builder.add("Resize", x, "", builder.floats([1, 1, *op.scale]), **attributes)
    size = builder.integers(op.size) if op.size else builder.add("Shape", like, start=2)
    sizes = builder.add("Concat", builder.add("Shape", x, end=2), size, axis=0)
    return builder.add("Resize", x, "", "", sizes, **attributes)


def _positions(op: ops.Resize, builder: NodeBuilder, x: str, like: str, axis: int) -> str:
    """Add the nearest position of each row or column, in whole numbers."""
    one = builder.integer(1)
    before = builder.add("Squeeze", builder.add("Shape", x, start=axis, end=axis + 1))
    if op.size:
        after = builder.integer(op.size[axis - 2])
    else:
        after = builder.add("Squeeze", builder.add("Shape", like, start=axis, end=axis + 1))
    positions = builder.add("Range", builder.integer(0), after, one)
    if op.rounding == "half_up":
        two = builder.integer(2)
        positions, after = builder.add("Add", builder.add("Mul", positions, two), one), builder.add("Mul", after, two)
    return builder.add("Div", builder.add("Mul", positions, before), after)
