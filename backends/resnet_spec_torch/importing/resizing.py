"""Resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnet_spec.backend import Value
from resnet_spec.operations import Resize
from resnet_spec_torch.importing.call import CALLS, Call, Expression
from resnet_spec_torch.importing.formulas import constant, functions

_NEAREST: tuple[dict[str, Any], ...] = (
    {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"},
    {"mode": "nearest", "coordinates": "half_pixel", "rounding": "half_up"},
)


@CALLS.register("aten.upsample_nearest2d.vec", "aten.upsample_bilinear2d.vec", "aten._upsample_nearest_exact2d.vec")
def _resize(call: Call) -> Value | None:
    factors, size = call["scale_factors"], call["output_size"]
    states = {"scale": list(factors)} if factors else {"size": list(size)}
    if factors and all(float(factor).is_integer() for factor in factors):
        states = {"scale": [int(factor) for factor in factors]}
    if not factors:
        call.remark(f"resizes to {size[0]}×{size[1]}, the size that follows from this input's")
    if "bilinear" in call.function:
        coordinates = "align_corners" if call["align_corners"] else "half_pixel"
        return call.add("resize", call.value(), mode="bilinear", coordinates=coordinates, **states)
    exact = "exact" in call.function
    return call.add("resize", call.value(), **_NEAREST[exact], **states)


@CALLS.register("aten.index_select")
def _selected(call: Call) -> Value | None:
    """Rows or columns by their positions: those of the nearest rows and columns, one axis after the other."""
    x, index = call.value(), call["index"]
    numbers = constant(index) if isinstance(index, Expression) else None
    if x is None or numbers is None or len(x.shape) != 3 or call["dim"] % 4 < 2:
        return x and call.refuse("takes positions that are computed, or that are not rows and columns")
    axis = call["dim"] % 4 - 2
    found = [int(number) for number in numbers]
    rows = call.builder.draft(x) if call.alone and axis == 1 else None
    if rows and isinstance(rows.operation, Resize) and rows.operation.mode == "nearest" and rows.operation.size:
        before = rows.inputs[0].shape[1:]
        wanted = [[int(at) for at in rows.operation.positions(before[0], x.shape[1])], found]
        fields = _nearest(index, before, wanted) if before[1] == x.shape[2] else None
        if fields:
            call.remark(f"resizes to {len(wanted[0])}×{len(wanted[1])}, the size that follows from this input's")
            return call.builder.replace(x, rows.inputs, size=call.shape[1:], **fields)
    before = x.shape[1:]
    positions = [list(range(size)) for size in before]
    positions[axis] = found
    fields = _nearest(index, before, positions)
    if fields is None:
        return call.refuse("takes positions that are not the nearest ones of a resized map")
    return call.add("resize", x, size=list(call.shape[1:]), **fields)


def _nearest(index: Expression, before: Sequence[int], positions: list[list[int]]) -> dict[str, Any] | None:
    """The kind of interpolation that takes these rows and columns; if several do, that which the positions state."""
    states_half = any("add" in str(own.target) for own in functions(index))
    for fields in reversed(_NEAREST) if states_half else _NEAREST:
        resize = Resize(op="resize", size=(len(positions[0]), len(positions[1])), **fields)
        found = [resize.positions(own, len(after)) for own, after in zip(before, positions, strict=True)]
        if found == positions:
            return fields
    return None
