"""The namespace that generated ``forward`` functions run in: torch, and two operations that save memory if possible.

Writing over a feature map is worth a tenth of ResNet-50's time for one image, but a forward hook may hold that map
(Grad-CAM does). So each call decides by the hooks that are registered. Nothing is overwritten while a model is traced,
exported or compiled: those tools plan memory themselves.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import _has_any_global_hook  # pyright: ignore

from resnet_spec_torch import layers, window_layers
from resnet_spec_torch.layers import resize_nearest
from resnet_spec_torch.quantization import on_grid

__all__ = ["accumulate", "activate", "functional", "on_grid", "resize_nearest", "torch"]

_WRITES_NEW_MEMORY = frozenset(
    {
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
        nn.Linear,
        nn.BatchNorm1d,
        nn.BatchNorm2d,
        nn.BatchNorm3d,
        nn.GroupNorm,
        nn.LayerNorm,
        nn.InstanceNorm1d,
        nn.InstanceNorm2d,
        nn.InstanceNorm3d,
        window_layers.PaddedConv1d,
        window_layers.PaddedConv2d,
        window_layers.PaddedConv3d,
        window_layers.StdConv2d,
        window_layers.PaddedStdConv2d,
        window_layers.CroppedConvTranspose1d,
        window_layers.CroppedConvTranspose2d,
        window_layers.CroppedConvTranspose3d,
        layers.BiasedBatchNorm1d,
        layers.BiasedBatchNorm2d,
        layers.BiasedBatchNorm3d,
        layers.SynchronizedBatchNorm1d,
        layers.SynchronizedBatchNorm2d,
        layers.SynchronizedBatchNorm3d,
        layers.PositionBatchNorm2d,
        layers.OffsetGroupNorm,
        layers.ChannelNorm,
        layers.AxisLayerNorm,
        layers.EvoNormS0,
        layers.FilterResponseNorm,
    }
)


def activate(relu: nn.Module, value: Tensor, producer: nn.Module | None = None) -> Tensor:
    """``relu(value)``, in place if only the caller holds ``value``; ``producer`` is the module that returned it."""
    if type(relu) is nn.ReLU and not _is_watched(relu) and _is_ours(value, producer):
        return value.relu_()
    return relu(value)


def accumulate(value: Tensor, other: Tensor, producer: nn.Module | None = None) -> Tensor:
    """``value + other``, in place if only the caller holds ``value``; ``producer`` is the module that returned it."""
    if _is_ours(value, producer) and value.dtype == other.dtype and value.is_same_size(other):
        return value.add_(other)
    return value + other


def _is_ours(value: Tensor, producer: nn.Module | None) -> bool:
    # A tracer's proxy, and the tensors that export and compile work with, are not plain tensors.
    if type(value) is not Tensor or _has_any_global_hook() or torch.compiler.is_compiling():
        return False
    return producer is None or (type(producer) in _WRITES_NEW_MEMORY and not _is_watched(producer))


def _is_watched(module: Any) -> bool:
    """Whether anything is called with a module's input or output, or in place of its ``forward``."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
    )
