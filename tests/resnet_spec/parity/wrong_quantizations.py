"""A backend whose 8-bit kernels have one scale for all channels; the tests register it as a third party would."""

from __future__ import annotations

from typing import Any

from resnet_spec.graph import Graph
from resnet_spec.quantization import Quantization
from resnet_spec_torch import TorchBackend


class Pertensor(TorchBackend):
    name = "pertensor"

    def compile_quantized(self, graph: Graph, quantization: Quantization, **settings: Any) -> Any:
        kernels = {name: (max(scales),) * len(scales) for name, scales in quantization.kernels.items()}
        return super().compile_quantized(graph, quantization.model_copy(update={"kernels": kernels}), **settings)
