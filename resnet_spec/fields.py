"""What the fields of operations may hold, and the arithmetic of windows that slide over a map."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import BeforeValidator, Field

Shape: TypeAlias = tuple[int, ...]


class ShapeError(ValueError):
    """The shapes an operation is given do not suit it."""


def _are_two(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(cast("list[Any]", value)) == 2


def _pair(value: Any) -> Any:
    """A number stands for the same in height and width."""
    if isinstance(value, int):
        return value, value
    if not _are_two(value):
        raise ValueError("must be a whole number, or a list of two for height and width")
    return value


def _edges(value: Any) -> Any:
    """A number stands for that many rows and columns on every side."""
    if isinstance(value, int):
        return (value, value), (value, value)
    if not _are_two(value) or not all(map(_are_two, value)):
        raise ValueError("must be a whole number or [[top, bottom], [left, right]]")
    return value


def _padding(value: Any) -> Any:
    return value if value == "same" else _edges(value)


Count = Annotated[int, Field(strict=True, ge=1, le=2**20)]
Extent = Annotated[int, Field(strict=True, ge=0, le=2**12)]
PositiveExtent = Annotated[int, Field(strict=True, ge=1, le=2**12)]
Pair = Annotated[tuple[PositiveExtent, PositiveExtent], BeforeValidator(_pair, json_schema_input_type=Any)]
Edges = tuple[tuple[Extent, Extent], tuple[Extent, Extent]]
ExplicitPadding = Annotated[Edges, BeforeValidator(_edges, json_schema_input_type=Any)]
Padding = Annotated[Literal["same"] | Edges, BeforeValidator(_padding, json_schema_input_type=Any)]
Flag = Annotated[bool, Field(strict=True)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Epsilon = Annotated[Real, Field(gt=0)]
Rate = Annotated[Real, Field(ge=0, lt=1)]

UNPADDED: Edges = ((0, 0), (0, 0))


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Rows that ``same`` adds before and after ``size`` rows, as TensorFlow defines it: the odd one goes after.

    >>> same_padding(224, 7, 2, 1)
    (2, 3)
    """
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def symmetric_same(kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> Edges | None:
    """The explicit padding that equals ``same`` at every input size, or None where there is no such padding."""
    edges: list[tuple[int, int]] = []
    for k, s, d in zip(kernel, stride, dilation, strict=True):
        span = d * (k - 1)
        if span and (s > 1 or span % 2):
            return None
        edges.append((span // 2, span // 2))
    return edges[0], edges[1]


def window_counts(
    shape: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Literal["same"] | Edges,
    dilation: tuple[int, int] = (1, 1),
    *,
    ceil_mode: bool = False,
) -> tuple[int, int]:
    """How many windows fit the rows and the columns of a (channels, height, width) map.

    ``ceil_mode`` counts a last window that sticks out at the bottom or right, unless it begins in the padding, as
    PyTorch does. Raises ShapeError where none fits.
    """
    counts: list[int] = []
    for axis, (size, k, s, d) in enumerate(zip(shape[1:], kernel, stride, dilation, strict=True)):
        before, after = same_padding(size, k, s, d) if padding == "same" else padding[axis]
        room = size + before + after - d * (k - 1) - 1
        count = room // s + 1
        if ceil_mode and room % s and room >= 0 and count * s < size + before:
            count += 1
        counts.append(count)
    if min(counts) < 1:
        raise ShapeError(
            f"the feature map vanishes: a {kernel[0]}×{kernel[1]} window does not fit an input of {as_text(shape)}"
        )
    return counts[0], counts[1]


def as_text(shape: Shape) -> str:
    """A shape as people write it: ``64×56×56``."""
    return "×".join(map(str, shape))


def need_map(shape: Shape) -> Shape:
    """The shape itself; raises ShapeError unless it is a map's."""
    if len(shape) != 3:
        raise ShapeError(f"needs a feature map (channels × height × width), not {as_text(shape)}")
    return shape


def need_vector(shape: Shape) -> Shape:
    """The shape itself; raises ShapeError unless it is a vector's."""
    if len(shape) != 1:
        raise ShapeError(f"needs a vector, not {as_text(shape)}; put a flatten before it")
    return shape
