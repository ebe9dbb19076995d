"""The few layers torch lacks, as small subclasses of its own, so that names, weights and ``isinstance`` stay native."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from resnet_spec.operations import Edges

_Pads: TypeAlias = tuple[int, int, int, int]

_INFINITY = float("inf")


def pads(edges: Edges) -> _Pads:
    """((top, bottom), (left, right)) in the order of ``torch.nn.functional.pad``: left, right, top, bottom."""
    return *edges[1], *edges[0]


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Rows before and after ``size`` rows under TensorFlow's ``same``.

    Written without a comparison, since ``size`` is symbolic while a model is exported or compiled; only a window
    narrower than its stride can need fewer than no rows.
    """
    window = dilation * (kernel - 1) + 1
    total = (size - 1) // stride * stride + window - size
    if window < stride:
        total = cast("int", torch.sym_max(total, 0))  # pyright: ignore[reportUnknownMemberType]
    return total // 2, total - total // 2


def _same_pads(
    input: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...] = (1, 1)
) -> _Pads:
    height, width = input.shape[2], input.shape[3]
    top, bottom = _same(height, kernel[0], stride[0], dilation[0])
    left, right = _same(width, kernel[1], stride[1], dilation[1])
    return left, right, top, bottom


class PaddedConv2d(nn.Conv2d):
    """A convolution whose zero padding differs between two opposite sides."""

    def __init__(self, *arguments: Any, edges: Edges, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.edges = edges

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, channels, H', W')."""
        return super().forward(functional.pad(input, pads(self.edges)))

    def extra_repr(self) -> str:
        """The native line, and the padding."""
        return f"{super().extra_repr()}, padding={self.edges}"


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's ``same`` padding, worked out from each input's own size."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, channels, ceil(H / stride), ceil(W / stride))."""
        return super().forward(functional.pad(input, _same_pads(input, self.kernel_size, self.stride, self.dilation)))

    def extra_repr(self) -> str:
        """The native line, and the padding."""
        return f"{super().extra_repr()}, padding='same'"


class PaddedMaxPool2d(nn.MaxPool2d):
    """A max pool whose padding, minus infinity, differs between two opposite sides."""

    def __init__(self, *arguments: Any, edges: Edges, **settings: Any) -> None:
        super().__init__(*arguments, **settings)  # pyright: ignore[reportUnknownMemberType]
        self.edges = edges

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H', W')."""
        return cast("Tensor", super().forward(functional.pad(input, pads(self.edges), value=-_INFINITY)))

    def extra_repr(self) -> str:
        """The native line with the padding in its place."""
        return super().extra_repr().replace("padding=0", f"padding={self.edges}")


class SameMaxPool2d(nn.MaxPool2d):
    """A max pool with TensorFlow's ``same`` padding (minus infinity), worked out from each input's own size."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride))."""
        kernel, stride = cast("tuple[int, ...]", self.kernel_size), cast("tuple[int, ...]", self.stride)
        return cast(
            "Tensor", super().forward(functional.pad(input, _same_pads(input, kernel, stride), value=-_INFINITY))
        )

    def extra_repr(self) -> str:
        """The native line with the padding in its place."""
        return super().extra_repr().replace("padding=0", "padding='same'")


class BiasedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that keeps the biased running variance, divided by n as in Keras, not by n-1."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        variance, counter, momentum = self.running_var, self.num_batches_tracked, self.momentum
        if not self.training or variance is None or counter is None or momentum is None:
            return super().forward(input)
        counter.add_(1)
        # The native function adds momentum times the unbiased variance to what it is given, and keeps that for the
        # gradient: the buffer itself, were it changed again afterwards, could not be.
        added = torch.zeros_like(variance)
        output = functional.batch_norm(
            input, self.running_mean, added, self.weight, self.bias, training=True, momentum=momentum, eps=self.eps
        )
        count = input.numel() // input.shape[1]
        variance.mul_(1 - momentum).add_(added, alpha=(count - 1) / count)
        return output
