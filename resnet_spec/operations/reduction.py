"""Means, maxima and sums along axes, which stay with a size of 1."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field

from resnet_spec.operations.base import BaseOperation, Category, Stride, same_stride
from resnet_spec.operations.fields import Axis, Shape, need_axis


def _sorted(value: Any) -> Any:
    """Expand a number to a list of one, and sort a list, so that equal reductions are equal."""
    if isinstance(value, int):
        return (value,)
    if isinstance(value, list | tuple) and all(isinstance(axis, int) for axis in cast("list[Any]", value)):
        axes = sorted(cast("list[int]", value))
        if len(set(axes)) < len(axes):
            raise ValueError("names an axis twice")
        return axes
    raise ValueError("must be a whole number or a list of them")


class _Reduction(BaseOperation):
    """One value for all positions along some axes, which stay with a size of 1.

    Attributes:
        axis: One axis or a list of them, counted without the batch: 0 is the channels, [1, 2] all positions
            of a map.
    """

    category = Category.POOLING

    axis: Annotated[
        tuple[Axis, ...], Field(min_length=1), BeforeValidator(_sorted, json_schema_input_type=Axis | tuple[Axis, ...])
    ]

    def reduced(self, shape: Shape) -> int:
        """Return how many values become one.

        Args:
            shape: The input's shape, without the batch.

        Returns:
            The product of the sizes of the reduced axes.

        Raises:
            ShapeError: The input has no such axis.

        Examples:
            >>> from resnet_spec.operations import Mean
            >>> Mean(op="mean", axis=[1, 2]).reduced((64, 7, 7))
            49
        """
        return prod(need_axis(shape, axis) for axis in self.axis)

    def output_shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        self.reduced(shape)
        return tuple(1 if axis in self.axis else size for axis, size in enumerate(shape))

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        return same_stride(rank) if self.axis == (0,) else None


class Mean(_Reduction):
    """Mean along one or several axes, which stay with a size of 1."""

    label = "Mean"

    op: Literal["mean"]

    def roundings(self, *inputs: Shape) -> int:
        # The terms' sum, and a division.
        return self.reduced(inputs[0])


class Max(_Reduction):
    """Maximum along one or several axes, which stay with a size of 1."""

    label = "Max"

    op: Literal["max"]


class Sum(_Reduction):
    """Sum along one or several axes, which stay with a size of 1."""

    label = "Sum"

    op: Literal["sum"]

    def roundings(self, *inputs: Shape) -> int:
        return self.reduced(inputs[0]) - 1
