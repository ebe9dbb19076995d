"""Operations that change a value's shape and none of its numbers."""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from resnet_spec.operations.base import BaseOperation, Category, Stride
from resnet_spec.operations.fields import Count, ExplicitPadding, Real, Shape, ShapeError, as_text, need_map


class Pad2d(BaseOperation):
    """Rows and columns around a map: of a constant, or its own mirrored in its edge, which is not repeated."""

    category = Category.RESHAPING
    label = "Pad2d"

    op: Literal["pad2d"]
    padding: ExplicitPadding
    mode: Literal["constant", "reflect"] = "constant"
    value: Real = 0.0

    @model_validator(mode="after")
    def _one_meaning(self) -> Pad2d:
        if self.mode == "reflect" and self.value:
            raise ValueError("a reflecting pad has no value")
        return self

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, height, width = need_map(inputs[0])
        if self.mode == "reflect" and (max(self.padding[0]) >= height or max(self.padding[1]) >= width):
            raise ShapeError(f"{as_text(inputs[0])} has too few rows or columns to mirror")
        return channels, height + sum(self.padding[0]), width + sum(self.padding[1])


class PadChannels(BaseOperation):
    """Channels of zeros before and after those of a map."""

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

    def resolution(self) -> Stride | None:
        return None


class Reshape(BaseOperation):
    """The same values in another shape, in PyTorch's order (channels first) in every backend."""

    category = Category.RESHAPING
    label = "Reshape"

    op: Literal["reshape"]
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=3)]

    def output_shape(self, *inputs: Shape) -> Shape:
        if prod(inputs[0]) != prod(self.shape):
            raise ShapeError(f"cannot lay {as_text(inputs[0])} out as {as_text(self.shape)}")
        return self.shape

    def resolution(self) -> Stride | None:
        return None
