"""Layers that torch does not have, as small subclasses of its own: names, weights and ``isinstance`` stay native."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_spec.errors import BackendError, Problem
from resnet_spec_torch.synchronization import is_synchronized, synchronized_batch_norm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.distributed import ProcessGroup


AnyBatchNorm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


# ---------------------------------------------------------------------------------------------------------------
# Pools


class GeMPool(nn.Module):
    """Generalized mean over all positions: mean(max(x, epsilon)^p)^(1/p), with a learned ``p``, (1,)."""

    def __init__(self, initial: float, epsilon: float, *, rank: int = 2, **settings: Any) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.positions = tuple(range(2, 2 + rank))
        self.p = nn.Parameter(torch.full((1,), initial, **settings))

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to one position."""
        powers = input.clamp(min=self.epsilon).pow(self.p)
        return powers.mean(self.positions, keepdim=True).pow(1 / self.p)

    def extra_repr(self) -> str:
        """The epsilon."""
        return f"epsilon={self.epsilon}"


# ---------------------------------------------------------------------------------------------------------------
# Normalization


class OwnBatchNorm(nn.Module):
    """Batch normalization with what PyTorch's own lacks: biased statistics, positions, the batch of all processes.

    ``SyncBatchNorm.convert_sync_batchnorm`` is refused with the layer's name where it would change what is computed.
    """

    layer_name = ""
    """The node's name, set by the compiler."""
    biased = False
    """Whether to keep the biased running variance, divided by n as in Keras, not by n-1."""
    synchronized = False
    """Whether the batch in training is that of all processes."""
    process_group: ProcessGroup | None = None
    """The processes of a synchronized layer; by default all."""

    @property
    def num_features(self) -> int:
        """The number of channels, which the conversion reads first."""
        if sys._getframe(1).f_code is _CONVERSION and (why := self._why()):  # pyright: ignore[reportPrivateUsage]
            remedy = "it is synchronized already" if self.synchronized else "build the model with synchronized=True"
            raise BackendError(Problem(f"cannot become a SyncBatchNorm, which {why}; {remedy}", self.layer_name))
        return self.__dict__["num_features"]

    @num_features.setter
    def num_features(self, value: int) -> None:
        # In the module's dictionary, from which PyTorch writes it in ``repr``.
        self.__dict__["num_features"] = value

    def _why(self) -> str | None:
        return "keeps the unbiased running variance, and this layer the biased one" if self.biased else None

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to the same."""
        return _batch_norm(self, input) if self.training else cast("Tensor", super().forward(input))

    def extra_repr(self) -> str:
        """The native line, and whether it is synchronized."""
        return super().extra_repr() + (", synchronized=True" if self.synchronized else "")


_CONVERSION = nn.SyncBatchNorm.convert_sync_batchnorm.__func__.__code__  # pyright: ignore


def _batch_norm(layer: OwnBatchNorm, input: Tensor) -> Tensor:
    """Normalize (N, features, ...) by a layer's arrays as vectors."""
    norm = cast("AnyBatchNorm", layer)
    mean, variance, weight, bias = (
        None if tensor is None else tensor.view(-1)
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    if norm.training and not norm.track_running_stats:
        mean = variance = None
    training, momentum = norm.training or variance is None, norm.momentum
    if training and variance is not None and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if momentum is None:
            # The average of all batches, as ``torch.optim.swa_utils.update_bn`` asks for.
            momentum = 1 / float(norm.num_batches_tracked)
    momentum = momentum or 0.0
    if norm.training and layer.synchronized and is_synchronized(layer.process_group):
        output, *moments = synchronized_batch_norm(input, weight, bias, norm.eps, layer.process_group)
        # The number of all values is looked at only where it may be 0: on an accelerator that is to wait for it.
        if mean is not None and variance is not None and (len(input) or moments[-1]):
            _move(mean, variance, momentum, *moments, biased=layer.biased)
        return output
    if not (training and layer.biased) or variance is None:
        return functional.batch_norm(input, mean, variance, weight, bias, training, momentum, norm.eps)
    # The native function adds momentum times the unbiased variance to its argument and saves the argument for the
    # gradient: the buffer itself could not be changed again afterwards.
    added = torch.zeros_like(variance)
    output = functional.batch_norm(input, mean, added, weight, bias, training, momentum, norm.eps)
    if count := input.numel() // input.shape[1]:
        variance.mul_(1 - momentum).add_(added, alpha=(count - 1) / count)
    return output


def _move(
    mean: Tensor, variance: Tensor, momentum: float, new_mean: Tensor, new: Tensor, count: Tensor, *, biased: bool
) -> None:
    """Move running statistics towards a batch's mean and biased variance."""
    mean.mul_(1 - momentum).add_(new_mean, alpha=momentum)
    variance.mul_(1 - momentum).add_(new if biased else new * (count / (count - 1)), alpha=momentum)


class BiasedBatchNorm2d(OwnBatchNorm, nn.BatchNorm2d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Batch normalization that keeps the biased running variance, divided by n as in Keras, not by n-1."""


class BiasedBatchNorm1d(OwnBatchNorm, nn.BatchNorm1d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``BiasedBatchNorm2d`` for vectors and rows."""


class BiasedBatchNorm3d(OwnBatchNorm, nn.BatchNorm3d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``BiasedBatchNorm2d`` for values of four axes."""


class SynchronizedBatchNorm2d(OwnBatchNorm, nn.BatchNorm2d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Batch normalization by the batch of all processes, which ``nn.SyncBatchNorm`` computes on accelerators only."""


class SynchronizedBatchNorm1d(OwnBatchNorm, nn.BatchNorm1d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``SynchronizedBatchNorm2d`` for vectors and rows."""


class SynchronizedBatchNorm3d(OwnBatchNorm, nn.BatchNorm3d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``SynchronizedBatchNorm2d`` for values of four axes."""


class PositionBatchNorm2d(OwnBatchNorm, nn.BatchNorm2d):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Batch normalization over the batch only: statistics, scale and offset are (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        # The native function has one statistic per channel: here every position is a channel.
        return _batch_norm(self, input.flatten(1)).reshape(input.shape)

    def _why(self) -> str:
        return "has one statistic for each channel, and this layer one for each position"


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

    ``v``, ``weight`` and ``bias`` are (C,); the variance is divided by n. Without ``gate`` there is no sigmoid and no
    ``v``.
    """

    v: nn.Parameter | None

    def __init__(self, *arguments: Any, rank: int = 2, gate: bool = True, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.rank = rank
        self.register_parameter("v", nn.Parameter(torch.ones_like(self.weight)) if gate else None)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to the same."""
        x, weight, bias = _widened(self, input, self.weight, self.bias)
        grouped = cast("Tensor", x.unflatten(1, (self.num_groups, -1)))
        axes = tuple(range(2, self.rank + 3))
        # Not var, which sums sequentially and loses two digits over a large map.
        centered = grouped - grouped.mean(axes, keepdim=True)
        variance = centered.square().mean(axes, keepdim=True)
        normal = (grouped * torch.rsqrt(variance + self.eps)).flatten(1, 2)
        if self.v is not None:
            normal = normal * torch.sigmoid(_by_channel(self.v, self.rank) * x)
        return _as(self, input, normal * _by_channel(weight, self.rank) + _by_channel(bias, self.rank))


class FilterResponseNorm(nn.Module):
    """Division of each channel by its root mean square, then scale and offset, all (C,).

    With ``threshold`` the larger of that and ``tau`` is the output: a thresholded linear unit.
    """

    tau: nn.Parameter | None

    def __init__(self, channels: int, *, epsilon: float, threshold: bool, rank: int = 2, **settings: Any) -> None:
        super().__init__()
        self.rank = rank
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels, **settings))
        self.bias = nn.Parameter(torch.zeros(channels, **settings))
        self.register_parameter("tau", nn.Parameter(torch.zeros(channels, **settings)) if threshold else None)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to the same."""
        x, weight, bias = _widened(self, input, self.weight, self.bias)
        scale = torch.rsqrt(x.square().mean(tuple(range(2, self.rank + 2)), keepdim=True) + self.epsilon)
        output = x * scale * _by_channel(weight, self.rank) + _by_channel(bias, self.rank)
        if self.tau is not None:
            output = torch.maximum(output, _by_channel(self.tau, self.rank))
        return _as(self, input, output)

    def extra_repr(self) -> str:
        """Channels, epsilon, and whether a threshold follows."""
        return f"{len(self.weight)}, epsilon={self.epsilon}, threshold={self.tau is not None}"


def is_half(layer: nn.Module) -> bool:
    """Whether a layer's weights are in half precision: its formula is then computed in float32, and rounded once.

    In float16 itself the gradient of a reciprocal root, its third power, overflows at roots below 0.025.
    """
    # Not its attribute, which fx replaces by a symbol without a dtype.
    weight = layer._parameters["weight"]  # pyright: ignore[reportPrivateUsage]
    return weight is not None and weight.dtype.itemsize < 4


def _widened(layer: nn.Module, *tensors: Tensor) -> Sequence[Tensor]:
    return [tensor.float() for tensor in tensors] if is_half(layer) else tensors


def _as(layer: nn.Module, input: Tensor, output: Tensor) -> Tensor:
    return output.to(input.dtype) if is_half(layer) else output


def _by_channel(parameter: Tensor, positions: int) -> Tensor:
    """(C,) with axes of size 1 for positions."""
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
