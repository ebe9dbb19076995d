"""8-bit models: values and kernels that are rounded to their grids as they are computed, and can be trained so.

The gradient passes a rounding straight through (Bengio et al. 2013), except where it limits a number. State_dicts are
those of float models.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_spec.quantization.form import HIGH, KERNEL_HIGH, LOW
from resnet_spec_torch.window_layers import PaddedConv1d, PaddedConv2d, PaddedConv3d

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resnet_spec.quantization import Grid

GRIDS: WeakKeyDictionary[nn.Module, Mapping[str, Grid]] = WeakKeyDictionary()
"""The grids of the values of each 8-bit model, by the names of their nodes."""


class _Rounding(torch.autograd.Function):
    """To scale · (code - zero_point), by the nearest code within limits; of two as near, the even one."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, scale: Any, zero_point: int, low: int, high: int) -> Tensor:
        codes = torch.round(input / scale) + zero_point
        ctx.save_for_backward((codes >= low) & (codes <= high))
        return (codes.clamp(low, high) - zero_point) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None, None


def on_grid(input: Tensor, scale: float, zero_point: int) -> Tensor:
    """Round a value to its grid; in an exported program by PT2E's operators, which runtimes compute in integers."""
    if torch.compiler.is_exporting() and input.dtype == torch.float32:
        # Unsigned codes, greater by 128, which is what oneDNN's kernels read on x86 processors.
        grid = scale, zero_point - LOW, 0, HIGH - LOW, torch.uint8
        codes = _decomposed().quantize_per_tensor.default(input, *grid)
        return cast("Tensor", _decomposed().dequantize_per_tensor.default(codes, *grid))
    return cast("Tensor", _Rounding.apply(input, scale, zero_point, LOW, HIGH))  # pyright: ignore[reportUnknownMemberType]


def _decomposed() -> Any:
    """Return the operators of PT2E, which importing this module registers."""
    import torch.ao.quantization.fx._decomposed  # pyright: ignore

    return torch.ops.quantized_decomposed


class _QuantizedKernel(nn.Module):
    """A layer whose ``weight``, (channels, ...), is rounded to multiples of a scale of each output channel."""

    kernel_scale: Tensor
    code_scales: Tensor
    code_zeros: Tensor

    def rounded(self, weight: Tensor) -> Tensor:
        """Return the kernel that the layer computes with, of a kernel in float or of codes."""
        if weight.dtype == torch.int8:
            limits = self.code_zeros, 0, -KERNEL_HIGH, KERNEL_HIGH, torch.int8
            return cast("Tensor", _decomposed().dequantize_per_channel.default(weight, self.code_scales, *limits))
        scale = self.kernel_scale.to(weight.dtype).reshape(-1, *[1] * (weight.ndim - 1))
        return cast("Tensor", _Rounding.apply(weight, scale, 0, -KERNEL_HIGH, KERNEL_HIGH))  # pyright: ignore


class _QuantizedConv(_QuantizedKernel):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return cast("Any", super())._conv_forward(input, self.rounded(weight), bias)


class QuantizedConv1d(_QuantizedConv, nn.Conv1d):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A convolution with a quantized kernel."""


class QuantizedConv2d(_QuantizedConv, nn.Conv2d):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A convolution with a quantized kernel."""


class QuantizedConv3d(_QuantizedConv, nn.Conv3d):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A convolution with a quantized kernel."""


class QuantizedPaddedConv1d(_QuantizedConv, PaddedConv1d):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A convolution with a quantized kernel and a padding that is not native."""


class QuantizedPaddedConv2d(_QuantizedConv, PaddedConv2d):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A convolution with a quantized kernel and a padding that is not native."""


class QuantizedPaddedConv3d(_QuantizedConv, PaddedConv3d):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A convolution with a quantized kernel and a padding that is not native."""


class QuantizedLinear(_QuantizedKernel, nn.Linear):
    """A linear layer with a quantized kernel."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., features) to (..., features of the output)."""
        return functional.linear(input, self.rounded(self.weight), self.bias)


_QUANTIZED: Mapping[type[nn.Module], type[_QuantizedKernel]] = {
    nn.Conv1d: QuantizedConv1d,
    nn.Conv2d: QuantizedConv2d,
    nn.Conv3d: QuantizedConv3d,
    PaddedConv1d: QuantizedPaddedConv1d,
    PaddedConv2d: QuantizedPaddedConv2d,
    PaddedConv3d: QuantizedPaddedConv3d,
    nn.Linear: QuantizedLinear,
}


def with_quantized_kernel(layer: nn.Module, scales: Sequence[float]) -> nn.Module:
    """Make a layer one whose kernel is rounded; its state_dict stays the same."""
    layer.__class__ = _QUANTIZED[type(layer)]
    layer.register_buffer("kernel_scale", torch.tensor(scales, dtype=torch.float64, device="cpu"), persistent=False)
    return layer


@contextmanager
def kernels_as_codes(model: nn.Module) -> Generator[None]:
    """Replace the quantized kernels of a float32 model by their codes in int8, as a file keeps them, for a while."""
    layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, _QuantizedKernel)]
    layers = [layer for layer in layers if layer.weight.dtype == torch.float32]
    # By the names that the spec gives them.
    held = [(layer, name, p) for layer in layers for name, p in layer._parameters.items() if p is layer.weight]
    try:
        for layer, name, weight in held:
            scales = layer.kernel_scale.to(weight.device)
            by_channel = scales.reshape(-1, *[1] * (weight.ndim - 1))
            codes = torch.round(weight.detach() / by_channel).clamp(-KERNEL_HIGH, KERNEL_HIGH).to(torch.int8)
            layer._parameters[name] = nn.Parameter(codes, requires_grad=False)
            layer.register_buffer("code_scales", scales.float())
            layer.register_buffer("code_zeros", torch.zeros_like(scales, dtype=torch.int64))
        yield
    finally:
        for layer, name, weight in held:
            layer._parameters[name] = weight
            for buffer in ("code_scales", "code_zeros"):
                layer._buffers.pop(buffer, None)
