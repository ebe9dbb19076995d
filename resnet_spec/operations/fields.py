"""Types of the fields of operations, and checks of the shapes that operations accept."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import BeforeValidator, Field

Shape: TypeAlias = tuple[int, ...]


class ShapeError(ValueError):
    """An operation does not accept inputs of these shapes."""


def _are_two(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(cast("list[Any]", value)) == 2


def _pair(value: Any) -> Any:
    """Expand a number to (height, width)."""
    if isinstance(value, int):
        return value, value
    if not _are_two(value):
        raise ValueError("must be a whole number or [height, width]")
    return value


def _edges(value: Any) -> Any:
    """Expand a number to that many rows and columns on every side."""
    if isinstance(value, int):
        return (value, value), (value, value)
    if not _are_two(value) or not all(map(_are_two, value)):
        raise ValueError("must be a whole number or [[top, bottom], [left, right]]")
    return value


def _padding(value: Any) -> Any:
    return value if value == "same" else _edges(value)


Count = Annotated[int, Field(strict=True, ge=1, le=2**20)]
Index = Annotated[int, Field(strict=True, ge=0, le=2**20)]
Extent = Annotated[int, Field(strict=True, ge=0, le=2**12)]
PositiveExtent = Annotated[int, Field(strict=True, ge=1, le=2**12)]
Pair = Annotated[tuple[PositiveExtent, PositiveExtent], BeforeValidator(_pair, json_schema_input_type=Any)]
Edges = tuple[tuple[Extent, Extent], tuple[Extent, Extent]]
ExplicitPadding = Annotated[Edges, BeforeValidator(_edges, json_schema_input_type=Any)]
Padding = Annotated[Literal["same"] | Edges, BeforeValidator(_padding, json_schema_input_type=Any)]
Axis = Annotated[int, Field(strict=True, ge=0, le=3)]
Flag = Annotated[bool, Field(strict=True)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Epsilon = Annotated[Real, Field(gt=0)]
Rate = Annotated[Real, Field(ge=0, lt=1)]

UNPADDED: Edges = ((0, 0), (0, 0))


def as_text(shape: Shape) -> str:
    """Return a shape as text: ``64×56×56``."""
    return "×".join(map(str, shape))


def need_axis(shape: Shape, axis: int) -> int:
    """Return the size of an axis, which is counted without the batch; raises ShapeError if there is none."""
    if axis >= len(shape):
        raise ShapeError(f"has no axis {axis}: {as_text(shape)} has axes 0 to {len(shape) - 1}")
    return shape[axis]


def need_map(shape: Shape) -> Shape:
    """Return the shape; raises ShapeError unless it is (channels, height, width)."""
    if len(shape) != 3:
        raise ShapeError(f"needs a feature map (channels × height × width), not {as_text(shape)}")
    return shape


def need_axes(shape: Shape, least: int = 1, most: int = 4) -> Shape:
    """Return the shape; raises ShapeError unless it has so many axes."""
    if not least <= len(shape) <= most:
        raise ShapeError(f"needs a value of {least} to {most} axes, not {as_text(shape)}")
    return shape
