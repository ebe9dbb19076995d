"""Convolutions of any rank, with weight standardization, and transposed."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from resnet_spec.operations.base import Category, ParameterSlot, Stride, with_bias
from resnet_spec.operations.fields import (
    Count,
    Edges,
    Epsilon,
    Extents,
    Flag,
    Padding,
    Real,
    Shape,
    ShapeError,
    as_text,
)
from resnet_spec.operations.ranked import Ranked, Windowed
from resnet_spec.operations.roles import Role
from resnet_spec.operations.windows import (
    explicit_crop,
    fixed_padding,
    overlapping_windows,
    transposed_size,
    window_counts,
)


class _Convolution(Windowed):
    """A window of weights that slides over a map.

    Attributes:
        channels: Number of output channels.
        kernel: Extent of the window: one number, or a list of one for each axis of positions, such as [height, width].
        stride: Positions that the window moves by: one number, or a list of one for each axis.
        padding: Zeros on the sides: one number, or a list of a number or a pair [before, after] for each axis, or
            ``same`` as TensorFlow defines it.
        dilation: Positions between neighboring weights: one number, or a list of one for each axis.
        groups: Number of groups of channels that are convolved separately; it must divide input and output channels.
        bias: Whether a bias is added to each output channel.
    """

    category = Category.CONVOLUTION

    channels: Count
    kernel: Extents
    stride: Extents = Field(default=1, validate_default=True)
    padding: Padding = Field(default=0, validate_default=True)
    dilation: Extents = Field(default=1, validate_default=True)
    groups: Count = 1
    bias: Flag = False

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = self.map_shape(*inputs)
        if shape[0] % self.groups or self.channels % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide {shape[0]} input and {self.channels} output channels")
        return (self.channels, *window_counts(shape, self.kernel, self.stride, self.padding, self.dilation))

    @property
    def fixed_padding(self) -> Edges | None:
        """The explicit padding that is correct at every input size, or None if ``same`` depends on the size."""
        return fixed_padding(self.kernel, self.stride, self.padding, self.dilation)

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (self.channels, inputs[0][0] // self.groups, *self.kernel), Role.CONV_KERNEL)
        return with_bias(kernel, self.channels, Role.CONV_BIAS, self.bias)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return prod(output) * (inputs[0][0] // self.groups) * prod(self.kernel)

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][0] // self.groups * prod(self.kernel) + self.bias


class Conv(_Convolution):
    """Convolution (cross-correlation) of a signal, a map or a volume.

    The kernel is (channels, input channels / groups, ...), such as (..., height, width).
    """

    label = "Conv"

    op: Literal["conv1d", "conv2d", "conv3d"]  # pyright: ignore[reportIncompatibleVariableOverride]


GAMMAS = (1.0, 1.7139588594436646, 1.7881293296813965, 1.7015043497085571)
"""The usual values of ``gamma``: after no activation, ReLU, SiLU and GELU."""


def usual_gamma(computed: float, precision: float) -> float | None:
    """Return the usual ``gamma`` that one computed from a file's numbers is within a relative precision."""
    return next((known for known in GAMMAS if abs(computed - known) < precision * known), None)


class StdConv(_Convolution):
    """Convolution with weight standardization (Qiao et al. 2019): each output channel's weights get mean 0, variance 1.

    The variance is divided by n. BiT's and timm's pre-activation ResNets use it with group normalization.

    Attributes:
        epsilon: Added to the variance before the root is taken.
        gain: Whether the kernel is then multiplied by a learned gain per output channel and by ``gamma`` over the root
            of the number of weights of a channel, as in networks without normalization (Brock et al. 2021). ``gain``
            is (channels, 1, 1, 1), as timm stores it.
        gamma: A constant that keeps the variance through the activation before the layer: 1.7139588594436646 after
            ReLU. It requires ``gain``.
    """

    label = "StdConv"

    op: Literal["std_conv2d"]  # pyright: ignore[reportIncompatibleVariableOverride]
    epsilon: Epsilon
    gain: Flag = False
    gamma: Annotated[Real, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _gamma_has_an_effect(self) -> StdConv:
        if self.gamma != 1 and not self.gain:
            raise ValueError("gamma has no effect without gain; add 'gain: true' or remove it")
        return self

    def factor(self, *inputs: Shape) -> float:
        """Return the constant that the standardized kernel is multiplied by, besides the gain.

        Args:
            *inputs: The shapes of the inputs.

        Returns:
            ``gamma`` over the root of the number of weights of an output channel, or 1 without ``gain``.

        Examples:
            >>> from resnet_spec.operations import StdConv
            >>> conv = StdConv(op="std_conv2d", channels=8, kernel=3, epsilon=1e-6, gain=True, gamma=1.5)
            >>> conv.factor((4, 32, 32))
            0.25
        """
        return self.gamma * (inputs[0][0] // self.groups * prod(self.kernel)) ** -0.5 if self.gain else 1.0

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        gain = ParameterSlot("gain", (self.channels, 1, 1, 1), Role.CONV_GAIN)
        return (*super().parameters(*inputs), *([gain] if self.gain else []))

    def roundings(self, *inputs: Shape) -> int:
        # The gain, and the constant.
        return super().roundings(*inputs) + 2 * self.gain


class ConvTranspose(Ranked):
    """Transposed convolution, which enlarges a signal, a map or a volume.

    The kernel is (input channels, channels, ...).

    Attributes:
        channels: Number of output channels.
        kernel: Extent of the window: one number, or a list of one for each axis of positions, such as [height, width].
        stride: Positions of the output per position of the input: one number, or a list of one for each axis.
        padding: Positions cropped from the sides of the output, as in PyTorch: one number, or a list of a number or a
            pair [before, after] for each axis. With ``same`` the output is the stride times the input, as in
            TensorFlow, even if the kernel is smaller than the stride.
        bias: Whether a bias is added to each output channel.
    """

    category = Category.CONVOLUTION
    label = "ConvTranspose"

    op: Literal["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]  # pyright: ignore[reportIncompatibleVariableOverride]
    channels: Count
    kernel: Extents
    stride: Extents = Field(default=1, validate_default=True)
    padding: Padding = Field(default=0, validate_default=True)
    bias: Flag = False

    def output_shape(self, *inputs: Shape) -> Shape:
        sizes = tuple(map(transposed_size, self.map_shape(*inputs)[1:], self.kernel, self.stride, self.crop))
        if min(sizes) < 1:
            raise ShapeError(f"the feature map vanishes: the crop leaves nothing of {as_text(inputs[0])}")
        return (self.channels, *sizes)

    @property
    def crop(self) -> Edges:
        """Positions to crop as pairs (before, after), one for each axis; negative if ``same`` appends zeros."""
        return explicit_crop(self.kernel, self.stride, self.padding)

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (inputs[0][0], self.channels, *self.kernel), Role.CONV_TRANSPOSE_KERNEL)
        return with_bias(kernel, self.channels, Role.CONV_BIAS, self.bias)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return prod(inputs[0]) * self.channels * prod(self.kernel)

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][0] * prod(map(overlapping_windows, self.kernel, self.stride)) + self.bias

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        return tuple(Fraction(1, number) for number in self.stride)
