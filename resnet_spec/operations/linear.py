"""Products over the last axes: the fully connected layer, and the product of two values."""

from __future__ import annotations

from math import prod
from typing import Literal

from resnet_spec.operations.base import BaseOperation, Category, ParameterSlot, Stride, with_bias
from resnet_spec.operations.fields import Count, Flag, Real, Shape, ShapeError, as_text, need_axes
from resnet_spec.operations.roles import Role


class Linear(BaseOperation):
    """Fully connected layer over a vector, or over the last axis at each position of the others.

    The kernel is (features, input features). A map is usually flattened first.

    Attributes:
        features: Number of output features.
        bias: Whether a bias is added to each feature.
    """

    category = Category.LINEAR
    label = "Linear"

    op: Literal["linear"]
    features: Count
    bias: Flag = True

    def output_shape(self, *inputs: Shape) -> Shape:
        return (*need_axes(inputs[0])[:-1], self.features)

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (self.features, inputs[0][-1]), Role.LINEAR_KERNEL)
        return with_bias(kernel, self.features, Role.LINEAR_BIAS, self.bias)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return prod(inputs[0]) * self.features

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][-1] + self.bias

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        return None


class MatMul(BaseOperation):
    """Product of two values as matrices of their last two axes, at each position of the others.

    Both have equally many axes, two to four. On each axis before the last two their sizes are equal, or 1.

    Attributes:
        transpose_first: Whether the last two axes of the first input are exchanged before.
        transpose_second: Whether those of the second input are.
        factor: A constant that the product is multiplied by, such as 1 over the root of the size of a head.
    """

    category = Category.JOIN
    label = "MatMul"

    op: Literal["matmul"]
    transpose_first: Flag = False
    transpose_second: Flag = False
    factor: Real = 1.0

    @property
    def arity(self) -> tuple[int, int | None]:
        return 2, 2

    def output_shape(self, *inputs: Shape) -> Shape:
        (*leading, rows, inner), (*others, same, columns) = self._matrices(*inputs)
        if len(leading) == len(others) and inner == same:
            sizes = [{size, other} - {1} for size, other in zip(leading, others, strict=True)]
            if all(len(size) <= 1 for size in sizes):
                return (*(size.pop() if size else 1 for size in sizes), rows, columns)
        turned = " (transposed)", ""
        first, second = (
            f"{as_text(shape)}{turned[not transposed]}"
            for shape, transposed in zip(inputs, (self.transpose_first, self.transpose_second), strict=True)
        )
        raise ShapeError(f"cannot multiply the matrices {first} and {second}")

    def _matrices(self, *inputs: Shape) -> tuple[Shape, Shape]:
        """Return the shapes after the transpositions."""
        first, second = (need_axes(shape, 2) for shape in inputs)
        first = (*first[:-2], first[-1], first[-2]) if self.transpose_first else first
        return first, (*second[:-2], second[-1], second[-2]) if self.transpose_second else second

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return prod(output) * self._matrices(*inputs)[0][-1]

    def roundings(self, *inputs: Shape) -> int:
        return self._matrices(*inputs)[0][-1] + (self.factor != 1)

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        return None
