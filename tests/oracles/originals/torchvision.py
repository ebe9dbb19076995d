"""torchvision's own models."""

from __future__ import annotations

from importlib.metadata import version

from torch import nn

from ..torchvision_original import models
from .torch_network import TorchNetwork


class Network(TorchNetwork):
    """``torchvision.models.<name>()``."""

    version = f"torchvision {version('torchvision')}"

    def build(self, name: str) -> nn.Module:
        return getattr(models(), name)(weights=None)
