"""Layers that torch does not have, as small subclasses of its own: names, weights and ``isinstance`` stay native."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_spec.errors import BackendError, Problem
from resnet_spec.operations.windows import explicit_padding, reached_padding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resnet_spec.operations.fields import Edges, Padding

AnyBatchNorm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d

_Pads: TypeAlias = tuple[int, int, int, int]

_INFINITY = float("inf")


# ---------------------------------------------------------------------------------------------------------------
# Padding


def pads(edges: Edges) -> _Pads:
    """Return ((top, bottom), (left, right)) in the order of ``torch.nn.functional.pad``: left, right, top, bottom."""
    return *edges[1], *edges[0]


# Sizes are symbolic while a model is exported or compiled: no code may branch on them.
def _minimum(a: int, b: int) -> int:
    return cast("int", torch.sym_min(a, b))  # pyright: ignore[reportUnknownMemberType]


def _maximum(a: int, b: int) -> int:
    return -_minimum(-a, -b)


def _sizes(input: Tensor) -> tuple[int, int]:
    # One by one, since a shape cannot be iterated while torch.fx traces it.
    return input.shape[2], input.shape[3]


def _conv_pads(conv: PaddedConv2d, input: Tensor) -> _Pads:
    """Return the padding for a convolution's input (N, C, H, W); ``same`` is computed from the input's size."""
    kernel, stride = cast("tuple[int, int]", conv.kernel_size), cast("tuple[int, int]", conv.stride)
    dilation = cast("tuple[int, int]", conv.dilation)
    return pads(explicit_padding(_sizes(input), kernel, stride, conv.edges, dilation, maximum=_maximum))


def _pool_pads(pool: PaddedMaxPool2d | PaddedAvgPool2d, input: Tensor) -> _Pads:
    """Return the padding for a pool's input (N, C, H, W)."""
    kernel, stride = cast("tuple[int, int]", pool.kernel_size), cast("tuple[int, int]", pool.stride)
    if pool.edges == "same" or not pool.ceil_mode:
        return pads(explicit_padding(_sizes(input), kernel, stride, pool.edges, maximum=_maximum))
    # Under ceil_mode the native layer would count padding after the map as part of the map.
    rows, columns = (
        reached_padding(*axis, minimum=_minimum) for axis in zip(_sizes(input), kernel, stride, pool.edges, strict=True)
    )
    return pads((rows, columns))


# ---------------------------------------------------------------------------------------------------------------
# Convolutions


class PaddedConv2d(nn.Conv2d):
    """A convolution whose zero padding differs between two opposite sides, or is TensorFlow's ``same``."""

    def __init__(self, *arguments: Any, edges: Padding, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.edges: Padding = edges

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, channels, H', W')."""
        return super().forward(functional.pad(input, _conv_pads(self, input)))

    def extra_repr(self) -> str:
        """The native line, and the padding."""
        return f"{super().extra_repr()}, padding={self.edges!r}"


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
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        kernel = (self.weight - mean) * torch.rsqrt(variance + self.epsilon)
        if self.gain is not None and self.factor is not None:
            kernel = kernel * (self.gain * self.factor)
        return functional.conv2d(input, kernel, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """The native line, the epsilon, and the factor of a learned gain."""
        factor = "" if self.factor is None else f", factor={self.factor:.6g}"
        return f"{super().extra_repr()}, epsilon={self.epsilon}{factor}"


class PaddedStdConv2d(PaddedConv2d, StdConv2d):
    """A convolution with weight standardization and a padding that is not native."""


class CroppedConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution whose output is cropped further than the native padding does: ``crop`` rows, columns."""

    def __init__(self, *arguments: Any, crop: Edges, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.crop = crop

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, C, H, W) to (N, channels, H', W')."""
        return functional.pad(super().forward(input, output_size), [-edge for edge in pads(self.crop)])

    def extra_repr(self) -> str:
        """The native line, and the crop."""
        return f"{super().extra_repr()}, crop={self.crop}"


# ---------------------------------------------------------------------------------------------------------------
# Pools


class PaddedMaxPool2d(nn.MaxPool2d):
    """A max pool whose padding, minus infinity, differs between two opposite sides, or is TensorFlow's ``same``."""

    def __init__(self, *arguments: Any, edges: Padding, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.edges: Padding = edges

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H', W')."""
        padding = _pool_pads(self, input)
        return cast("Tensor", super().forward(functional.pad(input, padding, value=-_INFINITY)))

    def extra_repr(self) -> str:
        """The native line with the padding in its place."""
        return super().extra_repr().replace("padding=0", f"padding={self.edges!r}")


class PaddedAvgPool2d(nn.AvgPool2d):
    """An average pool whose padding differs between two opposite sides, or is TensorFlow's ``same``."""

    def __init__(self, *arguments: Any, edges: Padding, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.edges: Padding = edges

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H', W')."""
        padding = _pool_pads(self, input)
        mean = super().forward(functional.pad(input, padding))
        if self.count_include_pad:
            return mean
        ones = input.new_ones(1, 1, *_sizes(input))
        return mean / super().forward(functional.pad(ones, padding))

    def extra_repr(self) -> str:
        """The native line with the padding in its place."""
        return super().extra_repr().replace("padding=0", f"padding={self.edges!r}")


class GeMPool2d(nn.Module):
    """Generalized mean over height and width: mean(max(x, epsilon)^p)^(1/p), with a learned ``p``, (1,)."""

    def __init__(self, initial: float, epsilon: float, **settings: Any) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.p = nn.Parameter(torch.full((1,), initial, **settings))

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 1, 1)."""
        return input.clamp(min=self.epsilon).pow(self.p).mean((2, 3), keepdim=True).pow(1 / self.p)

    def extra_repr(self) -> str:
        """The epsilon."""
        return f"epsilon={self.epsilon}"


# ---------------------------------------------------------------------------------------------------------------
# Normalization


def _batch_norm(norm: AnyBatchNorm, input: Tensor, *, biased: bool) -> Tensor:
    """Normalize (N, features, ...) by a layer's arrays as vectors; ``biased`` selects the running variance to keep."""
    mean, variance, weight, bias = (
        None if tensor is None else tensor.view(-1)
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    training, momentum = norm.training or variance is None, cast("float", norm.momentum)
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    if not (training and biased) or variance is None:
        return functional.batch_norm(input, mean, variance, weight, bias, training, momentum, norm.eps)
    # The native function adds momentum times the unbiased variance to its argument and saves the argument for the
    # gradient: the buffer itself could not be changed again afterwards.
    added = torch.zeros_like(variance)
    output = functional.batch_norm(input, mean, added, weight, bias, training, momentum, norm.eps)
    count = input.numel() // input.shape[1]
    variance.mul_(1 - momentum).add_(added, alpha=(count - 1) / count)
    return output


class Unsynchronized(nn.Module):
    """A batch normalization that ``SyncBatchNorm`` cannot compute: its conversion is refused with the layer's name."""

    layer_name = ""
    """The node's name, set by the compiler."""
    why: ClassVar[str]

    @property
    def num_features(self) -> int:
        """The number of channels, which the conversion reads first."""
        if sys._getframe(1).f_code is _CONVERSION:  # pyright: ignore[reportPrivateUsage]
            raise BackendError(Problem(f"cannot become a SyncBatchNorm, {self.why}", self.layer_name))
        return self._num_features

    @num_features.setter
    def num_features(self, value: int) -> None:
        self._num_features = value


_CONVERSION = nn.SyncBatchNorm.convert_sync_batchnorm.__func__.__code__  # pyright: ignore


class _Biased(Unsynchronized):
    why = (
        "which keeps the unbiased running variance, and this layer the biased one; build the model with"
        " exact_statistics=False, which keeps the unbiased one here too"
    )

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to the same."""
        if not self.training or cast("AnyBatchNorm", self).momentum is None:
            return cast("Tensor", super().forward(input))
        return _batch_norm(cast("AnyBatchNorm", self), input, biased=True)


class BiasedBatchNorm2d(_Biased, nn.BatchNorm2d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Batch normalization that keeps the biased running variance, divided by n as in Keras, not by n-1."""


class BiasedBatchNorm1d(_Biased, nn.BatchNorm1d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``BiasedBatchNorm2d`` for vectors and rows."""


class BiasedBatchNorm3d(_Biased, nn.BatchNorm3d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``BiasedBatchNorm2d`` for values of four axes."""


class PositionBatchNorm2d(Unsynchronized, nn.BatchNorm2d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Batch normalization over the batch only: statistics, scale and offset are (C, H, W)."""

    why = (
        "which has one statistic for each channel, and this layer one for each position; convert only the modules"
        " beside it, and keep this layer's statistics those of each process"
    )

    def __init__(self, *arguments: Any, biased: bool, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.biased = biased

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        # The native function has one statistic per channel: here every position is a channel.
        return _batch_norm(self, input.flatten(1), biased=self.biased).reshape(input.shape)


class OffsetGroupNorm(nn.GroupNorm):
    """Group normalization with an offset and no scale, for which the native function has no gradient."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to the same."""
        return torch.group_norm(input, self.num_groups, eps=self.eps) + _by_channel(self.bias, input.ndim - 2)


class ChannelNorm(nn.GroupNorm):
    """Group normalization of single channels; the native layer rejects a channel of one value."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to the same."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class AxisLayerNorm(nn.LayerNorm):
    """Layer normalization over an axis that is not the last, counted without the batch."""

    def __init__(self, *arguments: Any, axis: int, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.axis = axis

    def forward(self, input: Tensor) -> Tensor:
        """(N, ...) to the same."""
        return super().forward(input.movedim(self.axis + 1, -1)).movedim(-1, self.axis + 1)

    def extra_repr(self) -> str:
        """The native line, and the axis."""
        return f"{super().extra_repr()}, axis={self.axis}"


class EvoNormS0(nn.GroupNorm):
    """EvoNorm-S0: x · sigmoid(v · x) over the standard deviation of x in its group of channels, then scale and offset.

    ``v``, ``weight`` and ``bias`` are (C,); the variance is divided by n.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.v = nn.Parameter(torch.ones_like(self.weight))

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        grouped = cast("Tensor", input.unflatten(1, (self.num_groups, -1)))
        # Not var, which sums sequentially and loses two digits over a large map.
        centered = grouped - grouped.mean((2, 3, 4), keepdim=True)
        variance = centered.square().mean((2, 3, 4), keepdim=True)
        normal = (grouped * torch.rsqrt(variance + self.eps)).flatten(1, 2)
        gate = torch.sigmoid(_by_channel(self.v) * input)
        return normal * gate * _by_channel(self.weight) + _by_channel(self.bias)


class FilterResponseNorm(nn.Module):
    """Division of each channel by its root mean square, then scale and offset, all (C,).

    With ``threshold`` the larger of that and ``tau`` is the output: a thresholded linear unit.
    """

    tau: nn.Parameter | None

    def __init__(self, channels: int, *, epsilon: float, threshold: bool, **settings: Any) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels, **settings))
        self.bias = nn.Parameter(torch.zeros(channels, **settings))
        self.register_parameter("tau", nn.Parameter(torch.zeros(channels, **settings)) if threshold else None)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        scale = torch.rsqrt(input.square().mean((2, 3), keepdim=True) + self.epsilon)
        output = input * scale * _by_channel(self.weight) + _by_channel(self.bias)
        return output if self.tau is None else torch.maximum(output, _by_channel(self.tau))

    def extra_repr(self) -> str:
        """Channels, epsilon, and whether a threshold follows."""
        return f"{len(self.weight)}, epsilon={self.epsilon}, threshold={self.tau is not None}"


def _by_channel(parameter: Tensor, positions: int = 2) -> Tensor:
    """(C,) as (C, 1, 1), or with another number of axes for positions."""
    return parameter.reshape(-1, *[1] * positions)


# ---------------------------------------------------------------------------------------------------------------
# Resizing, activations and regularization


def resize_nearest(input: Tensor, size: Sequence[int], *, centered: bool) -> Tensor:
    """(N, C, H, W) to (N, C, *size): the nearest rows and columns by exact arithmetic."""
    rows, columns = (
        _nearest(input.shape[axis + 2], size[axis], centered=centered, device=input.device) for axis in (0, 1)
    )
    return input.index_select(2, rows).index_select(3, columns)


def _nearest(before: int, after: int, *, centered: bool, device: torch.device) -> Tensor:
    positions = torch.arange(after, device=device)
    if centered:
        return (2 * positions + 1) * before // (2 * after)
    return positions * before // after


class ExactHardsigmoid(nn.Hardsigmoid):
    """Hardsigmoid whose gradient in float64 is not that of a slope rounded to float32, as PyTorch's kernel has it."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, ...) to the same."""
        return functional.relu6(input + 3) / 6


class StochasticDepth(nn.Module):
    """In training, zeroes an image with probability ``rate`` and divides the others by 1 - ``rate``."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, input: Tensor) -> Tensor:
        """(N, ...) to the same."""
        if not self.training:
            return input
        kept = input.new_empty(input.shape[0], *(1 for _ in input.shape[1:])).bernoulli_(1 - self.rate)
        return input * (kept / (1 - self.rate))

    def extra_repr(self) -> str:
        """The rate."""
        return f"rate={self.rate}"
