"""Convolutions and pools that torch does not have: other paddings, crops and standardized kernels, of any rank.

They are small subclasses of torch's own: names, weights and ``isinstance`` stay native.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_spec.operations.windows import explicit_padding, reached_padding
from resnet_spec_torch.layers import is_half

if TYPE_CHECKING:
    from resnet_spec.operations.fields import Edges, Padding

_Pads: TypeAlias = tuple[int, ...]

_INFINITY = float("inf")


# ---------------------------------------------------------------------------------------------------------------
# Padding


def pads(edges: Edges) -> _Pads:
    """Return ((top, bottom), (left, right)) in the order of ``torch.nn.functional.pad``: left, right, top, bottom."""
    return tuple(number for sides in reversed(edges) for number in sides)


# Sizes are symbolic while a model is exported or compiled: no code may branch on them.
def _minimum(a: int, b: int) -> int:
    return cast("int", torch.sym_min(a, b))  # pyright: ignore[reportUnknownMemberType]


def _maximum(a: int, b: int) -> int:
    return -_minimum(-a, -b)


def _sizes(input: Tensor, rank: int) -> tuple[int, ...]:
    # One by one, since a shape cannot be iterated while torch.fx traces it.
    return tuple(input.shape[axis] for axis in range(2, 2 + rank))


def _conv_pads(conv: Any, input: Tensor) -> _Pads:
    """Return the padding for a convolution's input (N, C, ...); ``same`` is computed from the input's size."""
    sizes = _sizes(input, len(conv.kernel_size))
    return pads(explicit_padding(sizes, conv.kernel_size, conv.stride, conv.edges, conv.dilation, maximum=_maximum))


def _pool_pads(pool: Any, input: Tensor) -> _Pads:
    """Return the padding for a pool's input (N, C, ...)."""
    sizes = _sizes(input, len(pool.kernel_size))
    if pool.edges == "same" or not pool.ceil_mode:
        return pads(explicit_padding(sizes, pool.kernel_size, pool.stride, pool.edges, maximum=_maximum))
    # Under ceil_mode the native layer would count padding after the map as part of the map.
    axes = zip(sizes, pool.kernel_size, pool.stride, pool.edges, strict=True)
    return pads(tuple(reached_padding(*axis, minimum=_minimum) for axis in axes))


# ---------------------------------------------------------------------------------------------------------------
# Convolutions


class _PaddedConv(nn.Module):
    def __init__(self, *arguments: Any, edges: Padding, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.edges: Padding = edges

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to (N, channels, ...)."""
        return cast("Tensor", super().forward(functional.pad(input, _conv_pads(self, input))))

    def extra_repr(self) -> str:
        """The native line, and the padding."""
        return f"{super().extra_repr()}, padding={self.edges!r}"


class PaddedConv2d(_PaddedConv, nn.Conv2d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """A convolution whose zero padding differs between two opposite sides, or is TensorFlow's ``same``."""


class PaddedConv1d(_PaddedConv, nn.Conv1d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``PaddedConv2d`` for signals."""


class PaddedConv3d(_PaddedConv, nn.Conv3d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``PaddedConv2d`` for volumes."""


class StdConv2d(nn.Conv2d):
    """A convolution with weight standardization: mean 0 and variance 1 (divided by n) over an output channel's weights.

    ``epsilon`` is added to the variance. With a ``factor`` the kernel is multiplied by it and by a learned ``gain`` per
    output channel.
    """

    gain: nn.Parameter | None

    def __init__(self, *arguments: Any, epsilon: float, factor: float | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.epsilon = epsilon
        self.factor = factor
        gain = None if factor is None else nn.Parameter(torch.ones_like(self.weight[:, :1, :1, :1]))
        self.register_parameter("gain", gain)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, channels, H', W')."""
        half = is_half(self)
        weight = self.weight.float() if half else self.weight
        variance, mean = torch.var_mean(weight, (1, 2, 3), correction=0, keepdim=True)
        kernel = (weight - mean) * torch.rsqrt(variance + self.epsilon)
        if self.gain is not None and self.factor is not None:
            kernel = kernel * (self.gain * self.factor)
        if half:
            kernel = kernel.to(self.weight.dtype)
        return functional.conv2d(input, kernel, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """The native line, the epsilon, and the factor of a learned gain."""
        factor = "" if self.factor is None else f", factor={self.factor:.6g}"
        return f"{super().extra_repr()}, epsilon={self.epsilon}{factor}"


class PaddedStdConv2d(PaddedConv2d, StdConv2d):
    """A convolution with weight standardization and a padding that is not native."""


class _CroppedConvTranspose(nn.Module):
    def __init__(self, *arguments: Any, crop: Edges, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.crop = crop

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, C, ...) to (N, channels, ...)."""
        return functional.pad(super().forward(input, output_size), [-edge for edge in pads(self.crop)])

    def extra_repr(self) -> str:
        """The native line, and the crop."""
        return f"{super().extra_repr()}, crop={self.crop}"


class CroppedConvTranspose2d(_CroppedConvTranspose, nn.ConvTranspose2d):  # pyright: ignore
    """A transposed convolution whose output is cropped further than the native padding does: ``crop`` rows, columns."""


class CroppedConvTranspose1d(_CroppedConvTranspose, nn.ConvTranspose1d):  # pyright: ignore
    """``CroppedConvTranspose2d`` for signals."""


class CroppedConvTranspose3d(_CroppedConvTranspose, nn.ConvTranspose3d):  # pyright: ignore
    """``CroppedConvTranspose2d`` for volumes."""


# ---------------------------------------------------------------------------------------------------------------
# Pools


class _PaddedPool(nn.Module):
    def __init__(self, *arguments: Any, edges: Padding, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.edges: Padding = edges

    def extra_repr(self) -> str:
        """The native line with the padding in its place."""
        return re.sub(r"padding=(0|\(0,\))", f"padding={self.edges!r}", super().extra_repr())


class _PaddedMaxPool(_PaddedPool):
    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to the same with other sizes."""
        padding = _pool_pads(self, input)
        return cast("Tensor", super().forward(functional.pad(input, padding, value=-_INFINITY)))


class PaddedMaxPool2d(_PaddedMaxPool, nn.MaxPool2d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """A max pool whose padding, minus infinity, differs between two opposite sides, or is TensorFlow's ``same``."""


class PaddedMaxPool1d(_PaddedMaxPool, nn.MaxPool1d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``PaddedMaxPool2d`` for signals."""


class PaddedMaxPool3d(_PaddedMaxPool, nn.MaxPool3d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``PaddedMaxPool2d`` for volumes."""


class _PaddedAvgPool(_PaddedPool):
    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to the same with other sizes."""
        pool = cast("nn.AvgPool2d", self)
        padding = _pool_pads(pool, input)
        mean = cast("Tensor", super().forward(functional.pad(input, padding)))
        if pool.count_include_pad:
            return mean
        ones = input.new_ones(1, 1, *_sizes(input, len(cast("tuple[int, ...]", pool.kernel_size))))
        return mean / cast("Tensor", super().forward(functional.pad(ones, padding)))


class PaddedAvgPool2d(_PaddedAvgPool, nn.AvgPool2d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """An average pool whose padding differs between two opposite sides, or is TensorFlow's ``same``."""


class PaddedAvgPool1d(_PaddedAvgPool, nn.AvgPool1d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``PaddedAvgPool2d`` for signals."""


class PaddedAvgPool3d(_PaddedAvgPool, nn.AvgPool3d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``PaddedAvgPool2d`` for volumes."""
