"""Operations that change the shape of a value and keep its numbers."""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from resnet_spec.operations.base import BaseOperation, Category, Stride
from resnet_spec.operations.fields import Count, ExplicitPadding, Real, Shape, ShapeError, as_text, need_map


class Pad2d(BaseOperation):
    """Padding of a map with a constant or by reflection.

    Attributes:
        padding: Rows and columns to add: one number for all sides, or [[top, bottom], [left, right]].
        mode: ``constant``, or ``reflect``, which mirrors the map at its edge without repeating the edge.
        value: The constant; 0 by default.
    """

    category = Category.RESHAPING
    label = "Pad2d"

    op: Literal["pad2d"]
    padding: ExplicitPadding
    mode: Literal["constant", "reflect"] = "constant"
    value: Real = 0.0

    @model_validator(mode="after")
    def _one_meaning(self) -> Pad2d:
        if self.mode == "reflect" and self.value:
            raise ValueError("value has no effect with mode 'reflect'; remove it")
        return self

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, height, width = need_map(inputs[0])
        if self.mode == "reflect" and (max(self.padding[0]) >= height or max(self.padding[1]) >= width):
            raise ShapeError(f"cannot reflect {as_text(inputs[0])}: the padding must be smaller than the map")
        return channels, height + sum(self.padding[0]), width + sum(self.padding[1])


class PadChannels(BaseOperation):
    """Channels of zeros added to a map.

    Attributes:
        before: Number of channels before those of the map.
        after: Number of channels after them.
    """

    category = Category.RESHAPING
    label = "PadChannels"

    op: Literal["pad_channels"]
    before: Annotated[int, Field(strict=True, ge=0, le=2**20)] = 0
    after: Annotated[int, Field(strict=True, ge=0, le=2**20)] = 0

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, height, width = need_map(inputs[0])
        return self.before + channels + self.after, height, width


class Flatten(BaseOperation):
    """A map as a vector, in PyTorch's order (channels, height, width) in every backend."""

    category = Category.RESHAPING
    label = "Flatten"

    op: Literal["flatten"]

    def output_shape(self, *inputs: Shape) -> Shape:
        return (prod(inputs[0]),)

    def spatial_stride(self) -> Stride | None:
        return None


class Reshape(BaseOperation):
    """The same values in another shape, in PyTorch's order (channels first) in every backend.

    Attributes:
        shape: One to three sizes, without the batch.
    """

    category = Category.RESHAPING
    label = "Reshape"

    op: Literal["reshape"]
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=3)]

    def output_shape(self, *inputs: Shape) -> Shape:
        if prod(inputs[0]) != prod(self.shape):
            raise ShapeError(f"cannot reshape {as_text(inputs[0])} to {as_text(self.shape)}, which has another size")
        return self.shape

    def spatial_stride(self) -> Stride | None:
        return None
