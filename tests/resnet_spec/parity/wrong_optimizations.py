"""Backends whose optimized form is wrong on purpose: by a pass, by the backend's own change, or by rounding."""

from __future__ import annotations

from typing import Any

import torch

from resnet_spec.graph import Graph
from resnet_spec.optimization import Formula, Rewriting, fold_normalizations, pipeline
from resnet_spec_torch import TorchBackend


def fold_wrongly(graph: Graph) -> Rewriting:
    """Folding with a bias of layer1.0.conv2 that is wrong in the seventh digit."""
    found = fold_normalizations(graph)
    name = "layer1.0.conv2.bias"
    if name not in found.computed:
        return found
    formulas = dict(found.steps[-1])
    right = formulas[name]
    formulas[name] = Formula(right.sources, lambda *arrays: right.compute(*arrays) * (1 + 1e-7))
    return Rewriting(found.graph, (*found.steps[:-1], formulas), found.values)


class Folding(TorchBackend):
    """The pass that folds is wrong."""

    name = "folding"

    def __init__(self) -> None:
        super().__init__()
        passes = {rewrite.__name__: rewrite for rewrite in pipeline.PASSES}
        pipeline.PASSES = tuple((passes | {"fold_normalizations": fold_wrongly}).values())


class Finishing(TorchBackend):
    """The change that the backend makes itself is wrong."""

    name = "finishing"

    def finish(self, model: torch.nn.Module) -> None:
        super().finish(model)
        model.get_parameter("layer2.0.conv1.weight").data *= 1 + 1e-7


class Rounding(TorchBackend):
    """float32 kernels have half of their digits."""

    name = "rounding"

    def load(self, model: torch.nn.Module, graph: Graph, arrays: Any) -> None:
        super().load(model, graph, arrays)
        kernel = model.get_parameter("layer1.0.conv1.weight")
        if "layer1.0.conv1.bias" in arrays and kernel.dtype == torch.float32:
            kernel.data = kernel.data.bfloat16().float()
