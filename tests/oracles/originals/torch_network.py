"""What the originals written in PyTorch share: arrays by a state_dict's keys, and the files it is saved as."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from resnet_spec import Graph

from ..original import Original

COUNTER = "num_batches_tracked"
"""What a state_dict holds beside a network's arrays."""


class TorchNetwork(Original):
    """A network whose state_dict has the graph's names for keys."""

    def __init__(self, graph: Graph, dtype: str) -> None:
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.model = self.build(graph.name.partition("/")[2]).to(self.dtype).eval()

    @abstractmethod
    def build(self, name: str) -> nn.Module:
        """The library's network of this name, with random weights."""

    def set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        # Strict but for the counters, which are added as they are.
        counters = {key: value for key, value in self.model.state_dict().items() if key.endswith(COUNTER)}
        self.model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()} | counters)

    def train(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        with torch.no_grad():
            self.model.train()(torch.from_numpy(images).to(self.dtype))
        self.model.eval()
        state = self.model.state_dict()
        return {key: value.numpy().copy() for key, value in state.items() if not key.endswith(COUNTER)}

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            return np.asarray(self.model(torch.from_numpy(images).to(self.dtype)).numpy())

    def save(self, folder: Path) -> list[Path]:
        pth, safetensors = folder / "weights.pth", folder / "weights.safetensors"
        torch.save(self.model.state_dict(), pth)
        save_file(self.model.state_dict(), safetensors)
        return [pth, safetensors]

    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
