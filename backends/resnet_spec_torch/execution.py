"""Runs a model, whole or a node at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_spec_torch import forward_namespace
from resnet_spec_torch.emitting import LAYERS, PARAMETERS, expression
from resnet_spec_torch.parameters import from_numpy, to_numpy
from resnet_spec_torch.quantization import GRIDS, on_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Node


def batch_for(model: nn.Module, images: NDArray[Any]) -> Tensor:
    """Return images (N, *input) in the dtype and on the device of a model's parameters."""
    batch = from_numpy(np.require(images, requirements=["C", "W"]))
    parameter = next(model.parameters(), batch)
    return batch.to(parameter.device, parameter.dtype)


def outputs(model: nn.Module, batch: Tensor) -> list[Tensor]:
    """Return a model's outputs in the graph's order."""
    return listed(model(batch))


def listed(output: Tensor | list[Tensor] | dict[str, Tensor]) -> list[Tensor]:
    """Return what a model returned as a list, in the graph's order."""
    return [output] if isinstance(output, Tensor) else list(output.values() if isinstance(output, dict) else output)


def apply(model: nn.Module, node: Node, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Compute one node's value by the model's layer, or by the expression in its ``forward``."""
    with torch.no_grad():
        value = _value(model, node, [batch_for(model, value) for value in inputs])
        grid = GRIDS.get(model, {}).get(node.name)
        return to_numpy(value if grid is None else on_grid(value, grid.scale, grid.zero_point))


def _value(model: nn.Module, node: Node, values: list[Tensor]) -> Tensor:
    operation = node.operation
    if operation.op in LAYERS:
        return model.get_submodule(node.layer)(*values)
    if operation.op in PARAMETERS:
        values.append(model.get_parameter(node.layer))
        text = PARAMETERS[operation.op](operation, node.shape, *_names(len(values)))
    else:
        text = expression(operation, node.shape, *_names(len(values)))
    return _function(text, len(values))(*values)


def _names(count: int) -> list[str]:
    return [f"x{index}" for index in range(count)]


@cache
def _function(expression: str, arguments: int) -> Callable[..., Tensor]:
    # The source consists of the emitters' own text and of numbers that the graph has checked.
    return eval(f"lambda {', '.join(_names(arguments))}: {expression}", forward_namespace.__dict__)  # noqa: S307
