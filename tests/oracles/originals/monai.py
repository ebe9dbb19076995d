"""MONAI's own models."""

from __future__ import annotations

from importlib.metadata import version

import monai.networks.nets
from torch import nn

from .torch_network import TorchNetwork


class Network(TorchNetwork):
    """``monai.networks.nets.<name>()`` for volumes, with shortcuts of type A if the name ends in ``_a``."""

    version = f"MONAI {version('monai')}"

    def build(self, name: str) -> nn.Module:
        name, _, kind = name.partition("_")
        return getattr(monai.networks.nets, name)(
            n_input_channels=3, num_classes=400, shortcut_type=kind.upper() or "B"
        )
