"""Functions of each element, and softmax."""

from __future__ import annotations

from typing import Literal

from resnet_spec.operations.base import TRANSCENDENTAL, BaseOperation, Category
from resnet_spec.operations.fields import Shape, ShapeError, as_text


class _Activation(BaseOperation):
    """A function applied to each element; the shape stays the same."""

    category = Category.ACTIVATION


class ReLU(_Activation):
    """Rectified linear unit: max(x, 0)."""

    label = "ReLU"

    op: Literal["relu"]


class Sigmoid(_Activation):
    """Logistic function: 1 / (1 + exp(-x))."""

    label = "Sigmoid"

    op: Literal["sigmoid"]

    def roundings(self, *inputs: Shape) -> int:
        return TRANSCENDENTAL


class Softmax(BaseOperation):
    """Softmax over the features of a vector, from logits to probabilities; parity compares its input."""

    category = Category.OUTPUT
    label = "Softmax"

    op: Literal["softmax"]

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][0] + TRANSCENDENTAL

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 1:
            raise ShapeError(f"needs a vector, not {as_text(inputs[0])}; add a flatten before it")
        return inputs[0]
