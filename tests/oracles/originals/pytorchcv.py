"""pytorchcv's own models."""

from __future__ import annotations

from importlib.metadata import version

from torch import nn

from ..torchvision_original import models
from .torch_network import TorchNetwork

# pytorchcv imports torchvision, whose operators must be registered first.
models()

from pytorchcv.model_provider import get_model  # noqa: E402


class Network(TorchNetwork):
    """``get_model(name)`` for images of any size: its last pool has a window of 7×7, the whole map at 224×224."""

    version = f"pytorchcv {version('pytorchcv')}"

    def build(self, name: str) -> nn.Module:
        model = get_model(name)
        model.features.final_pool = nn.AdaptiveAvgPool2d(1)
        return model
