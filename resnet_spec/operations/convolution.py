"""Convolutions: 2-d, with weight standardization, transposed, and 1-d."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from resnet_spec.operations.base import BaseOperation, Category, ParameterSlot, Stride, as_stride, with_bias
from resnet_spec.operations.fields import (
    UNPADDED,
    Count,
    Edges,
    Epsilon,
    Extent,
    Flag,
    Padding,
    Pair,
    Real,
    Shape,
    ShapeError,
    as_text,
    need_map,
)
from resnet_spec.operations.roles import Role
from resnet_spec.operations.windows import (
    explicit_crop,
    explicit_padding,
    fixed_padding,
    overlapping_windows,
    transposed_size,
    window_count,
    window_counts,
)


class _Convolution(BaseOperation):
    """A window of weights that slides over a (channels, height, width) map.

    Attributes:
        channels: Number of output channels.
        kernel: Height and width of the window; one number means both.
        stride: Rows and columns that the window moves by.
        padding: Rows and columns of zeros: one number for all sides, [[top, bottom], [left, right]], or ``same`` as
            TensorFlow defines it.
        dilation: Rows and columns between neighboring weights.
        groups: Number of groups of channels that are convolved separately; it must divide input and output channels.
        bias: Whether a bias is added to each output channel.
    """

    category = Category.CONVOLUTION

    channels: Count
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = UNPADDED
    dilation: Pair = (1, 1)
    groups: Count = 1
    bias: Flag = False

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = need_map(inputs[0])
        if shape[0] % self.groups or self.channels % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide {shape[0]} input and {self.channels} output channels")
        return (self.channels, *window_counts(shape, self.kernel, self.stride, self.padding, self.dilation))

    def explicit_padding(self, shape: Shape) -> Edges:
        """Return the padding for a map of one size; ``same`` is computed.

        Args:
            shape: The input's (channels, height, width).

        Returns:
            The rows and columns as ((top, bottom), (left, right)).

        Examples:
            >>> from resnet_spec.operations import Conv2d
            >>> Conv2d(op="conv2d", channels=64, kernel=7, stride=2, padding="same").explicit_padding((3, 224, 224))
            ((2, 3), (2, 3))
        """
        return explicit_padding(shape[1:], self.kernel, self.stride, self.padding, self.dilation)

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

    def spatial_stride(self) -> Stride | None:
        return as_stride(self.stride)


class Conv2d(_Convolution):
    """2-d cross-correlation; the kernel is (channels, input channels / groups, height, width)."""

    label = "Conv2d"

    op: Literal["conv2d"]


class StdConv2d(_Convolution):
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

    label = "StdConv2d"

    op: Literal["std_conv2d"]
    epsilon: Epsilon
    gain: Flag = False
    gamma: Annotated[Real, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _gamma_has_an_effect(self) -> StdConv2d:
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
            >>> from resnet_spec.operations import StdConv2d
            >>> conv = StdConv2d(op="std_conv2d", channels=8, kernel=3, epsilon=1e-6, gain=True, gamma=1.5)
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


class ConvTranspose2d(BaseOperation):
    """Transposed 2-d convolution, which enlarges a map; the kernel is (input channels, channels, height, width).

    Attributes:
        channels: Number of output channels.
        kernel: Height and width of the window; one number means both.
        stride: Rows and columns of the output per row and column of the input.
        padding: Rows and columns cropped from the output, as in PyTorch. With ``same`` the output is the stride times
            the input, as in TensorFlow, even if the kernel is smaller than the stride.
        bias: Whether a bias is added to each output channel.
    """

    category = Category.CONVOLUTION
    label = "ConvTranspose2d"

    op: Literal["conv_transpose2d"]
    channels: Count
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = UNPADDED
    bias: Flag = False

    def output_shape(self, *inputs: Shape) -> Shape:
        sizes = need_map(inputs[0])[1:]
        height, width = map(transposed_size, sizes, self.kernel, self.stride, self.crop)
        if min(height, width) < 1:
            raise ShapeError(f"the feature map vanishes: the crop leaves nothing of {as_text(inputs[0])}")
        return (self.channels, height, width)

    @property
    def crop(self) -> Edges:
        """Rows and columns to crop as ((top, bottom), (left, right)); negative if ``same`` appends zeros."""
        return explicit_crop(self.kernel, self.stride, self.padding)

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (inputs[0][0], self.channels, *self.kernel), Role.CONV_TRANSPOSE_KERNEL)
        return with_bias(kernel, self.channels, Role.CONV_BIAS, self.bias)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return prod(inputs[0]) * self.channels * prod(self.kernel)

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][0] * prod(map(overlapping_windows, self.kernel, self.stride)) + self.bias

    def spatial_stride(self) -> Stride | None:
        return Fraction(1, self.stride[0]), Fraction(1, self.stride[1])


class Conv1d(BaseOperation):
    """1-d cross-correlation of a (channels, length) input; the kernel is (channels, input channels, length).

    Attributes:
        channels: Number of output channels.
        kernel: Length of the window.
        padding: Number of zeros at either end.
        bias: Whether a bias is added to each output channel.
    """

    category = Category.CONVOLUTION
    label = "Conv1d"

    op: Literal["conv1d"]
    channels: Count
    kernel: Annotated[Extent, Field(ge=1)]
    padding: Extent = 0
    bias: Flag = False

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 2:
            raise ShapeError(f"needs channels × length, not {as_text(inputs[0])}")
        length = window_count(inputs[0][1], self.kernel, 1, (self.padding, self.padding))
        if length < 1:
            raise ShapeError(f"a window of {self.kernel} does not fit an input of {as_text(inputs[0])}")
        return (self.channels, length)

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (self.channels, inputs[0][0], self.kernel), Role.CONV_KERNEL)
        return with_bias(kernel, self.channels, Role.CONV_BIAS, self.bias)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return prod(output) * inputs[0][0] * self.kernel

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][0] * self.kernel + self.bias

    def spatial_stride(self) -> Stride | None:
        return None
