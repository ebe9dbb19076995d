"""Functions of each element, and softmax."""

from __future__ import annotations

from typing import Literal

from resnet_spec.operations.base import TRANSCENDENTAL, BaseOperation, Category, ParameterSlot
from resnet_spec.operations.fields import Axis, Flag, Real, Shape, need_axis
from resnet_spec.operations.roles import Role


class _Activation(BaseOperation):
    """A function applied to each element; the shape stays the same."""

    category = Category.ACTIVATION


class ReLU(_Activation):
    """Rectified linear unit: max(x, 0)."""

    label = "ReLU"
    nonnegative = True

    op: Literal["relu"]


class ReLU6(_Activation):
    """Rectified linear unit with an upper bound: min(max(x, 0), 6)."""

    label = "ReLU6"
    nonnegative = True

    op: Literal["relu6"]


class LeakyReLU(_Activation):
    """x where it is positive, else ``slope`` times x.

    Attributes:
        slope: Factor of negative values: 0.01 is the default of PyTorch, 0.3 that of Keras.
    """

    label = "LeakyReLU"

    op: Literal["leaky_relu"]
    slope: Real

    def roundings(self, *inputs: Shape) -> int:
        return 1


class PReLU(_Activation):
    """x where it is positive, else a learned slope times x (He et al. 2015).

    Attributes:
        per_channel: Whether each channel has its own slope; otherwise the layer has one.
    """

    label = "PReLU"

    op: Literal["prelu"]
    per_channel: Flag

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        return (ParameterSlot("weight", (inputs[0][0] if self.per_channel else 1,), Role.ACTIVATION_SLOPE),)

    def roundings(self, *inputs: Shape) -> int:
        return 1


class ELU(_Activation):
    """x where it is positive, else alpha · (exp(x) - 1) (Clevert et al. 2015).

    Attributes:
        alpha: Minus the limit for large negative values.
    """

    label = "ELU"

    op: Literal["elu"]
    alpha: Real = 1.0

    def roundings(self, *inputs: Shape) -> int:
        return TRANSCENDENTAL + 1


class SiLU(_Activation):
    """x · sigmoid(x), also called Swish."""

    label = "SiLU"

    op: Literal["silu"]

    def roundings(self, *inputs: Shape) -> int:
        return TRANSCENDENTAL + 1


class GELU(_Activation):
    """x · Φ(x), where Φ is the standard normal distribution (Hendrycks and Gimpel 2016).

    Attributes:
        approximate: Whether Φ(x) is (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2 instead of (1 + erf(x / √2)) / 2.
    """

    label = "GELU"

    op: Literal["gelu"]
    approximate: Flag

    def roundings(self, *inputs: Shape) -> int:
        # The argument of tanh is a polynomial.
        return TRANSCENDENTAL + (8 if self.approximate else 4)


class Mish(_Activation):
    """x · tanh(softplus(x)) (Misra 2019)."""

    label = "Mish"

    op: Literal["mish"]

    def roundings(self, *inputs: Shape) -> int:
        return 3 * TRANSCENDENTAL + 1


class Sigmoid(_Activation):
    """Logistic function: 1 / (1 + exp(-x))."""

    label = "Sigmoid"
    nonnegative = True

    op: Literal["sigmoid"]

    def roundings(self, *inputs: Shape) -> int:
        return TRANSCENDENTAL


class HardSigmoid(_Activation):
    """min(max(x + 3, 0), 6) / 6 (Howard et al. 2019); Keras 2 has another slope, 0.2."""

    label = "Hardsigmoid"
    nonnegative = True

    op: Literal["hard_sigmoid"]

    def roundings(self, *inputs: Shape) -> int:
        return 2


class HardSwish(_Activation):
    """x · min(max(x + 3, 0), 6) / 6 (Howard et al. 2019)."""

    label = "Hardswish"

    op: Literal["hard_swish"]

    def roundings(self, *inputs: Shape) -> int:
        return 3


class Tanh(_Activation):
    """Hyperbolic tangent."""

    label = "Tanh"

    op: Literal["tanh"]

    def roundings(self, *inputs: Shape) -> int:
        return TRANSCENDENTAL


class Softplus(_Activation):
    """log(1 + exp(x))."""

    label = "Softplus"
    nonnegative = True

    op: Literal["softplus"]

    def roundings(self, *inputs: Shape) -> int:
        return 2 * TRANSCENDENTAL


class Softmax(BaseOperation):
    """Softmax along an axis; parity compares the input of one that is the output, from logits to probabilities.

    Attributes:
        axis: The axis, counted without the batch: 0 is the channels, or the features of a vector.
    """

    category = Category.OUTPUT
    label = "Softmax"
    nonnegative = True

    op: Literal["softmax"]
    axis: Axis = 0

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][self.axis] + TRANSCENDENTAL

    def output_shape(self, *inputs: Shape) -> Shape:
        need_axis(inputs[0], self.axis)
        return inputs[0]
