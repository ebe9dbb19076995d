"""Operations that change the shape of a value and keep its numbers."""

from __future__ import annotations

from ctypes import c_float
from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from resnet_spec.operations.base import BaseOperation, Category, Stride
from resnet_spec.operations.fields import (
    Axis,
    Count,
    ExplicitPadding,
    Index,
    Real,
    Shape,
    ShapeError,
    as_text,
    need_axis,
    need_positions,
)
from resnet_spec.operations.ranked import Ranked


class Pad(Ranked):
    """Padding of a signal, a map or a volume with a constant or by reflection.

    Attributes:
        padding: Positions to add to the sides: one number, or a list of a number or a pair [before, after] for each
            axis, such as [[top, bottom], [left, right]].
        mode: ``constant``, or ``reflect``, which mirrors the map at its edge without repeating the edge.
        value: The constant.
    """

    category = Category.RESHAPING
    label = "Pad"

    op: Literal["pad1d", "pad2d", "pad3d"]  # pyright: ignore[reportIncompatibleVariableOverride]
    padding: ExplicitPadding
    mode: Literal["constant", "reflect"] = "constant"
    value: Real = 0.0

    @model_validator(mode="after")
    def _one_meaning(self) -> Pad:
        if self.mode == "reflect" and self.value:
            raise ValueError("value has no effect with mode 'reflect'; remove it")
        return self

    @property
    def adds_zeros(self) -> bool:
        """Whether it is the padding that a convolution has."""
        return self.mode == "constant" and self.value == 0

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, *sizes = self.map_shape(*inputs)
        if self.mode == "reflect" and any(max(edges) >= size for edges, size in zip(self.padding, sizes, strict=True)):
            raise ShapeError(f"cannot reflect {as_text(inputs[0])}: the padding must be smaller than the map")
        return channels, *(size + sum(edges) for edges, size in zip(self.padding, sizes, strict=True))

    def roundings(self, *inputs: Shape) -> int:
        # Whether float32 rounds the constant.
        return int(c_float(self.value).value != self.value)


class PadChannels(BaseOperation):
    """Channels of zeros added to a map.

    Attributes:
        before: Number of channels before those of the map.
        after: Number of channels after them.
    """

    category = Category.RESHAPING
    label = "PadChannels"

    op: Literal["pad_channels"]
    before: Index = 0
    after: Index = 0

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, *sizes = need_positions(inputs[0])
        return self.before + channels + self.after, *sizes


class Slice(BaseOperation):
    """A part of a value along an axis: ``start`` to ``stop``, or one of equal parts, as ``torch.chunk`` returns them.

    Attributes:
        axis: The axis, counted without the batch: 0 is the channels.
        start: The first position.
        stop: The position after the last; the end of the axis by default.
        part: Which of ``parts`` equal parts, counted from 0.
        parts: Number of equal parts, which must divide the axis.
    """

    category = Category.RESHAPING
    label = "Slice"

    op: Literal["slice"]
    axis: Axis = 0
    start: Index = 0
    stop: Count | None = None
    part: Index | None = None
    parts: Count | None = None

    @model_validator(mode="after")
    def _one_meaning(self) -> Slice:
        if (self.part is None) != (self.parts is None):
            raise ValueError("part and parts need each other: part: 0 of parts: 2 is the first half")
        bounded = self.start > 0 or self.stop is not None
        if self.part is not None and self.parts is not None:
            if bounded:
                raise ValueError("start and stop have no effect with part and parts; remove them")
            if self.part >= self.parts:
                raise ValueError(f"part {self.part} is not one of 0 to {self.parts - 1}")
        elif not bounded:
            raise ValueError("needs start or stop, or part and parts")
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"stop {self.stop} must be greater than start, {self.start}")
        return self

    def bounds(self, size: int) -> tuple[int, int]:
        """Return the first position and the one after the last on an axis of a size.

        Args:
            size: The size of the axis.

        Returns:
            Start and stop as numbers.

        Raises:
            ShapeError: The axis is too short, or cannot be divided into equal parts.

        Examples:
            >>> from resnet_spec.operations import Slice
            >>> Slice(op="slice", part=1, parts=4).bounds(64)
            (16, 32)
        """
        if self.part is not None and self.parts is not None:
            if size % self.parts:
                raise ShapeError(f"{self.parts} parts do not divide axis {self.axis}, of size {size}")
            share = size // self.parts
            return self.part * share, (self.part + 1) * share
        stop = size if self.stop is None else self.stop
        if not self.start < stop <= size:
            raise ShapeError(f"cannot take {self.start} to {stop} of axis {self.axis}, of size {size}")
        return self.start, stop

    def output_shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        start, stop = self.bounds(need_axis(shape, self.axis))
        return *shape[: self.axis], stop - start, *shape[self.axis + 1 :]


class Flatten(BaseOperation):
    """A map as a vector, in PyTorch's order (channels, height, width) in every backend, or its positions as a row.

    Attributes:
        axis: The first axis to flatten, counted without the batch. With 1 a map becomes (channels,
            height · width).
    """

    category = Category.RESHAPING
    label = "Flatten"

    op: Literal["flatten"]
    axis: Axis = 0

    def output_shape(self, *inputs: Shape) -> Shape:
        need_axis(inputs[0], self.axis)
        return *inputs[0][: self.axis], prod(inputs[0][self.axis :])

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        return None


class Reshape(BaseOperation):
    """The same values in another shape, in PyTorch's order (channels first) in every backend.

    Attributes:
        shape: One to four sizes, without the batch.
    """

    category = Category.RESHAPING
    label = "Reshape"

    op: Literal["reshape"]
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=4)]

    def output_shape(self, *inputs: Shape) -> Shape:
        if prod(inputs[0]) != prod(self.shape):
            raise ShapeError(f"cannot reshape {as_text(inputs[0])} to {as_text(self.shape)}, which has another size")
        return self.shape

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        return None


class Transpose(BaseOperation):
    """The axes in another order: axis i of the result is axis ``axes[i]`` of the input.

    Attributes:
        axes: Each axis of the input once, counted without the batch: [1, 2, 0] puts the channels last.
    """

    category = Category.RESHAPING
    label = "Transpose"

    op: Literal["transpose"]
    axes: Annotated[tuple[Axis, ...], Field(min_length=1, max_length=4)]

    @model_validator(mode="after")
    def _is_a_permutation(self) -> Transpose:
        if sorted(self.axes) != [*range(len(self.axes))]:
            raise ValueError(f"must name each axis from 0 to {len(self.axes) - 1} once")
        return self

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = inputs[0]
        if len(shape) != len(self.axes):
            raise ShapeError(f"cannot reorder {len(self.axes)} axes of {as_text(shape)}, which has {len(shape)}")
        return tuple(shape[axis] for axis in self.axes)

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        return None
