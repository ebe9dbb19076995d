"""The fully connected layer."""

from __future__ import annotations

from typing import Literal

from resnet_spec.operations.base import BaseOperation, Category, ParameterSlot, Stride, with_bias
from resnet_spec.operations.fields import Count, Flag, Shape, need_vector
from resnet_spec.operations.roles import Role


class Linear(BaseOperation):
    """Fully connected layer from a vector to a vector; the kernel is (features, input features).

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
        need_vector(inputs[0])
        return (self.features,)

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (self.features, inputs[0][0]), Role.LINEAR_KERNEL)
        return with_bias(kernel, self.features, Role.LINEAR_BIAS, self.bias)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return inputs[0][0] * self.features

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][0] + self.bias

    def spatial_stride(self) -> Stride | None:
        return None
