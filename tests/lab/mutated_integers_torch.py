"""PyTorch whose 8-bit models have mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_spec.quantization.form import HIGH, KERNEL_HIGH, LOW
from resnet_spec_torch import TorchBackend
from tests.lab.mutated_integers import MutatedIntegers
from tests.lab.quantized_mutations import CONV, PADDED, RELU

Rounding = Callable[[Tensor, float, int], Tensor]


def _rounding(codes: Callable[[Tensor], Tensor], low: int = LOW) -> Rounding:
    def on_grid(value: Tensor, scale: float, zero_point: int) -> Tensor:
        return ((codes(value / scale) + zero_point).clamp(low, HIGH) - zero_point) * scale

    return on_grid


ROUNDINGS: Mapping[str, Rounding] = {
    "rounded_down": _rounding(torch.floor),
    "rounded_up": _rounding(lambda steps: torch.floor(steps + 0.5)),
    "narrow": _rounding(torch.round, -127),
}


def _rounded_down(layer: Any, weight: Tensor) -> Tensor:
    scale = layer.kernel_scale.to(weight.dtype).reshape(-1, 1, 1, 1)
    return torch.floor(weight / scale).clamp(-KERNEL_HIGH, KERNEL_HIGH) * scale


class Mutated(MutatedIntegers, TorchBackend):
    name = "integer_torch"

    def altered(self, model: Any, change: str) -> None:
        layer, padded = model.get_submodule(CONV), model.get_submodule(PADDED)
        grids = self.given.values
        match change:
            case "kernel_rounded_down":
                layer.rounded = lambda weight: _rounded_down(layer, weight)
            case "saturated":
                forward, scale = layer.forward, layer.kernel_scale.reshape(-1, 1, 1).float() * grids[RELU].scale
                layer.forward = lambda value: (forward(value) / scale).clamp(-(2**13), 2**13 - 1) * scale
            case "padded":
                forward, grid = padded.forward, grids["layer1.0.relu2"]
                padded.padding = (0, 0)
                edge = -grid.zero_point * grid.scale
                padded.forward = lambda value: forward(functional.pad(value, (1, 1, 1, 1), value=edge))
            case "wrong_input":
                forward, shift = layer.forward, 8 * grids[RELU].scale
                layer.forward = lambda value: forward(value + shift)
            case "no_relu" | "no_effect":
                parent = model.get_submodule("layer1.0" if change == "no_relu" else "layer1.1")
                parent.relu1 = nn.Identity()
            case _:
                pass

    def forward(self, model: Any, images: Any, *, training: bool = False) -> list[Any]:
        change = self.mutation.change if self.mutation and model is self.compiled else ""
        with ExitStack() as stack:
            if change in ROUNDINGS:
                stack.enter_context(patch("resnet_spec_torch.forward_namespace.on_grid", ROUNDINGS[change]))
            return super().forward(model, images, training=training)
