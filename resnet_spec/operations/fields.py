"""Types of the fields of operations, and checks of the shapes that operations accept."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import BeforeValidator, Field, ValidationInfo

Shape: TypeAlias = tuple[int, ...]


class ShapeError(ValueError):
    """An operation does not accept inputs of these shapes."""


MAX_RANK = 3

_AXES = ("depth", "height", "width")
_SIDES = ("[front, back]", "[top, bottom]", "[left, right]")


def rank_of(op: str) -> int:
    """Return the number of axes of positions in an operation's name: 2 for ``conv2d``."""
    return int(op[-2])


def _rank(info: ValidationInfo) -> int:
    """Return the rank in the operation's name, which is validated before its other fields; of others that of a map."""
    op = info.data.get("op", "")
    return rank_of(op) if op[-2:-1].isdigit() else 2


def _are(value: Any, count: int) -> bool:
    return isinstance(value, list | tuple) and len(cast("list[Any]", value)) == count


def _extents(value: Any, info: ValidationInfo) -> Any:
    """Expand a number to one for each axis of positions."""
    rank = _rank(info)
    if isinstance(value, int):
        return (value,) * rank
    if not _are(value, rank):
        raise ValueError(f"must be a whole number or [{'length' if rank == 1 else ', '.join(_AXES[-rank:])}]")
    return value


def _edges(value: Any, info: ValidationInfo) -> Any:
    """Expand a number, or one number for each axis, to as many positions on both sides."""
    rank = _rank(info)
    if isinstance(value, int):
        return ((value, value),) * rank
    if _are(value, rank):
        sides = [(side, side) if isinstance(side, int) else side for side in value]
        if all(_are(side, 2) for side in sides):
            return sides
    words = "[before, after]" if rank == 1 else ", ".join(_SIDES[-rank:])
    raise ValueError(f"must be a whole number or [{words}]")


def _padding(value: Any, info: ValidationInfo) -> Any:
    return value if value == "same" else _edges(value, info)


Count = Annotated[int, Field(strict=True, ge=1, le=2**20)]
Index = Annotated[int, Field(strict=True, ge=0, le=2**20)]
Extent = Annotated[int, Field(strict=True, ge=0, le=2**12)]
PositiveExtent = Annotated[int, Field(strict=True, ge=1, le=2**12)]
Extents = Annotated[
    tuple[PositiveExtent, ...],
    BeforeValidator(_extents, json_schema_input_type=PositiveExtent | tuple[PositiveExtent, ...]),
]
Edges = tuple[tuple[Extent, Extent], ...]
_WrittenEdges = Extent | tuple[Extent | tuple[Extent, ...], ...]
ExplicitPadding = Annotated[Edges, BeforeValidator(_edges, json_schema_input_type=_WrittenEdges)]
Padding = Annotated[
    Literal["same"] | Edges, BeforeValidator(_padding, json_schema_input_type=Literal["same"] | _WrittenEdges)
]
Axis = Annotated[int, Field(strict=True, ge=0, le=3)]
Flag = Annotated[bool, Field(strict=True)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Epsilon = Annotated[Real, Field(gt=0)]
Rate = Annotated[Real, Field(ge=0, lt=1)]


def as_text(shape: Shape) -> str:
    """Return a shape as text: ``64×56×56``."""
    return "×".join(map(str, shape))


def need_axis(shape: Shape, axis: int) -> int:
    """Return the size of an axis, which is counted without the batch; raises ShapeError if there is none."""
    if axis >= len(shape):
        raise ShapeError(f"has no axis {axis}: {as_text(shape)} has axes 0 to {len(shape) - 1}")
    return shape[axis]


UNPADDED: Edges = ((0, 0), (0, 0))
"""No padding of a map."""

KINDS = {
    1: "a signal (channels × length)",
    2: "a feature map (channels × height × width)",
    3: "a volume (channels × depth × height × width)",
}
"""What a value of each rank is called."""


def need_rank(shape: Shape, rank: int) -> Shape:
    """Return the shape; raises ShapeError unless it has channels and ``rank`` axes of positions."""
    if len(shape) != rank + 1:
        raise ShapeError(f"needs {KINDS[rank]}, not {as_text(shape)}")
    return shape


def need_positions(shape: Shape) -> Shape:
    """Return the shape; raises ShapeError unless it has channels and one to three axes of positions."""
    if not 2 <= len(shape) <= MAX_RANK + 1:
        raise ShapeError(f"needs channels and one to {MAX_RANK} axes of positions, not {as_text(shape)}")
    return shape


def need_axes(shape: Shape, least: int = 1, most: int = 4) -> Shape:
    """Return the shape; raises ShapeError unless it has so many axes."""
    if not least <= len(shape) <= most:
        raise ShapeError(f"needs a value of {least} to {most} axes, not {as_text(shape)}")
    return shape
