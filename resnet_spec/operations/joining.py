"""Operations with two or more inputs."""

from __future__ import annotations

from typing import Literal

from resnet_spec.operations.base import BaseOperation, Category
from resnet_spec.operations.fields import Shape, ShapeError, as_text


class Add(BaseOperation):
    """Sum of two or more inputs of equal shape."""

    category = Category.JOIN
    label = "Add"
    joins = True

    op: Literal["add"]

    def roundings(self, *inputs: Shape) -> int:
        return len(inputs) - 1

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(set(inputs)) != 1:
            raise ShapeError(f"cannot add {' and '.join(map(as_text, inputs))}")
        return inputs[0]


class Multiply(BaseOperation):
    """Elementwise product; a (channels, 1, 1) input scales each channel of the first, as in squeeze-and-excitation."""

    category = Category.JOIN
    label = "Multiply"
    joins = True

    op: Literal["multiply"]

    def roundings(self, *inputs: Shape) -> int:
        return len(inputs) - 1

    def output_shape(self, *inputs: Shape) -> Shape:
        for other in inputs[1:]:
            if other != inputs[0] and other != (inputs[0][0], 1, 1):
                raise ShapeError(f"cannot multiply {as_text(inputs[0])} by {as_text(other)}")
        return inputs[0]
