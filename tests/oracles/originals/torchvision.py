"""torchvision's own models."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..torchvision_original import models
from .torch_network import TorchNetwork


class Network(TorchNetwork):
    """``torchvision.models.<name>()``, one of videos, or one for segmentation with its auxiliary head."""

    version = f"torchvision {version('torchvision')}"

    def build(self, name: str) -> nn.Module:
        for module in (models(), models().video):
            if hasattr(module, name):
                return getattr(module, name)(weights=None)
        return getattr(models().segmentation, name)(weights=None, weights_backbone=None, aux_loss=True)

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            results = self.model(torch.from_numpy(images).to(self.dtype))
        return np.asarray(results["out"] if isinstance(results, dict) else results)
