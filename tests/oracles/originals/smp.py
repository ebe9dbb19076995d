"""The networks of segmentation-models-pytorch."""

from __future__ import annotations

from importlib.metadata import version

from torch import nn

from ..torchvision_original import models
from .torch_network import TorchNetwork

# It imports timm and torchvision, whose operators must be registered first.
models()

import segmentation_models_pytorch as smp  # noqa: E402

KINDS = {"unet": smp.Unet, "deeplabv3plus": smp.DeepLabV3Plus}


class Network(TorchNetwork):
    """A model by its kind and its encoder's name, such as ``unet_resnet34``."""

    version = f"segmentation-models-pytorch {version('segmentation-models-pytorch')}"

    def build(self, name: str) -> nn.Module:
        kind, _, encoder = name.partition("_")
        return KINDS[kind](encoder, encoder_weights=None)
