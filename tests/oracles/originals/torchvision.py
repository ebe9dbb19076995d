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
    """A model of images, one of videos, one for segmentation with its auxiliary head, or a feature pyramid."""

    version = f"torchvision {version('torchvision')}"

    def build(self, name: str) -> nn.Module:
        if name.endswith("_fpn"):
            backbone = {"backbone_name": name.removesuffix("_fpn"), "weights": None, "trainable_layers": 5}
            utils = models().detection.backbone_utils
            return utils.resnet_fpn_backbone(**backbone, norm_layer=nn.BatchNorm2d)
        for module in (models(), models().video):
            if hasattr(module, name):
                return getattr(module, name)(weights=None)
        return getattr(models().segmentation, name)(weights=None, weights_backbone=None, aux_loss=True)

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            results = self.model(torch.from_numpy(images).to(self.dtype))
        if isinstance(results, dict):
            # The largest map of a pyramid is computed from all others.
            results = results["0" if "pool" in results else "out"]
        return np.asarray(results)
