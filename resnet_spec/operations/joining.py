"""Operations with two or more inputs."""

from __future__ import annotations

from typing import ClassVar, Literal

from resnet_spec.operations.base import BaseOperation, Category
from resnet_spec.operations.fields import Axis, Real, Shape, ShapeError, as_text, need_axis


class _Join(BaseOperation):
    """Two or more inputs."""

    category = Category.JOIN

    @property
    def arity(self) -> tuple[int, int | None]:
        return 2, None


class _Elementwise(_Join):
    """Combines two or more inputs element by element, broadcast to one shape.

    The inputs have equally many axes; on each axis their sizes are equal, or 1.
    """

    verb: ClassVar[str]
    """For messages: what cannot be done with inputs of other shapes."""

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(set(map(len, inputs))) == 1:
            sizes = [set(axis) - {1} for axis in zip(*inputs, strict=True)]
            if all(len(others) <= 1 for others in sizes):
                return tuple(others.pop() if others else 1 for others in sizes)
        raise ShapeError(f"cannot {self.verb} {' and '.join(map(as_text, inputs))}")

    def roundings(self, *inputs: Shape) -> int:
        return len(inputs) - 1


class Add(_Elementwise):
    """Sum of two or more inputs; a size of 1 broadcasts."""

    label = "Add"
    verb = "add"

    op: Literal["add"]


class Multiply(_Elementwise):
    """Product of inputs element by element, or of one input and a constant, which is not learned.

    A (channels, 1, 1) input scales each channel of a map, as in squeeze-and-excitation.

    Attributes:
        factor: A constant that the product is multiplied by; with one, a single input suffices.
    """

    label = "Multiply"
    verb = "multiply"

    op: Literal["multiply"]
    factor: Real = 1.0

    @property
    def arity(self) -> tuple[int, int | None]:
        return 2 if self.factor == 1 else 1, None

    def roundings(self, *inputs: Shape) -> int:
        return len(inputs) - (self.factor == 1)


class Subtract(_Elementwise):
    """The first of two inputs minus the second; a size of 1 broadcasts."""

    label = "Subtract"
    verb = "subtract"

    op: Literal["subtract"]

    @property
    def arity(self) -> tuple[int, int | None]:
        return 2, 2


class Maximum(_Elementwise):
    """The largest of two or more inputs, element by element; a size of 1 broadcasts."""

    label = "Maximum"
    verb = "take the maximum of"

    op: Literal["maximum"]

    def roundings(self, *inputs: Shape) -> int:
        return 0


class Concat(_Join):
    """Two or more inputs one after another along an axis; their other sizes are equal.

    Attributes:
        axis: The axis, counted without the batch: 0 is the channels.
    """

    label = "Concat"

    op: Literal["concat"]
    axis: Axis = 0

    def output_shape(self, *inputs: Shape) -> Shape:
        axis = self.axis
        for shape in inputs:
            need_axis(shape, axis)
        if len({(shape[:axis], shape[axis + 1 :]) for shape in inputs}) != 1:
            shapes = " and ".join(map(as_text, inputs))
            raise ShapeError(f"cannot concat {shapes} along axis {axis}: their other sizes must be equal")
        return *inputs[0][:axis], sum(shape[axis] for shape in inputs), *inputs[0][axis + 1 :]
