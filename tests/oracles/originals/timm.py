"""timm's own models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from ..torchvision_original import models
from .torch_network import TorchNetwork

# timm imports torchvision, whose operators must be registered first.
models()

import timm  # noqa: E402


class Network(TorchNetwork):
    """``timm.create_model(name)``."""

    version = f"timm {timm.__version__}"

    def build(self, name: str) -> nn.Module:
        return timm.create_model(name, pretrained=False)

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        with pytest.MonkeyPatch.context() as patch:
            if self.dtype == torch.float64:
                # timm's EvoNorm and filter response norm compute in float32 for any input type.
                patch.setattr(torch.Tensor, "float", torch.Tensor.double)
            return super().logits(images)
