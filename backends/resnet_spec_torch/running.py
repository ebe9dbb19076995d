"""What is done with a model besides writing it: run it whole or a node at a time, differentiate it, train it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_spec.backends import Gradients
from resnet_spec.optimizers import SGD, AdamW, Optimizer
from resnet_spec_torch import forwards
from resnet_spec_torch.emitters import EXPRESSIONS
from resnet_spec_torch.parameters import from_numpy, tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backends import Batch
    from resnet_spec.graph import Graph, Node


def batch_for(model: nn.Module, images: NDArray[Any]) -> Tensor:
    """Images (N, *input) in the dtype and on the device of a model's parameters."""
    batch = from_numpy(np.require(images, requirements=["C", "W"]))
    parameter = next(model.parameters(), batch)
    return batch.to(parameter.device, parameter.dtype)


def outputs(model: nn.Module, batch: Tensor) -> list[Tensor]:
    """A model's outputs in the graph's order."""
    output: Tensor | list[Tensor] | dict[str, Tensor] = model(batch)
    return [output] if isinstance(output, Tensor) else list(output.values() if isinstance(output, dict) else output)


def apply(model: nn.Module, node: Node, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One node's value, by the model's layer, or by the expression that stands in its ``forward``."""
    values = [batch_for(model, value) for value in inputs]
    with torch.no_grad():
        if node.operation.op in EXPRESSIONS:
            value = _function(EXPRESSIONS[node.operation.op](node.operation, *_names(len(values))), len(values))(
                *values
            )
        else:
            value = model.get_submodule(node.layer)(*values)
    return value.cpu().numpy()


def _names(count: int) -> list[str]:
    return [f"x{index}" for index in range(count)]


@cache
def _function(expression: str, arguments: int) -> Callable[..., Tensor]:
    # The emitters' own words, and numbers that the graph has checked.
    return eval(f"lambda {', '.join(_names(arguments))}: {expression}", forwards.__dict__)  # noqa: S307


def gradients(model: nn.Module, graph: Graph, images: NDArray[Any], targets: NDArray[Any]) -> Gradients:
    """The loss of a model in the mode it is in, and its gradients to each trainable parameter and to the images."""
    held = {name: tensor for name, tensor in tensors(model, graph).items() if tensor.requires_grad}
    batch = batch_for(model, images).detach().requires_grad_()
    loss = _loss(model, batch, targets)
    found = torch.autograd.grad(loss, [*held.values(), batch], allow_unused=True, materialize_grads=True)
    arrays = [gradient.cpu().numpy() for gradient in found]
    return Gradients(loss.item(), dict(zip(held, arrays, strict=False)), arrays[-1])


def train(model: nn.Module, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
    """Steps of the native optimiser, whose formulas are those of ``resnet_spec.optimizers``."""
    native = _native([tensor for tensor in tensors(model, graph).values() if tensor.requires_grad], optimizer)
    losses: list[float] = []
    for images, targets in batches:
        native.zero_grad()
        loss = _loss(model, batch_for(model, images), targets)
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        native.step()  # pyright: ignore[reportUnknownMemberType]
        losses.append(loss.item())
    return losses


def _loss(model: nn.Module, batch: Tensor, targets: NDArray[Any]) -> Tensor:
    return (outputs(model, batch)[-1] - batch_for(model, targets)).square().mean() / 2


def _native(parameters: list[Tensor], optimizer: Optimizer) -> torch.optim.Optimizer:
    match optimizer:
        case SGD():
            return torch.optim.SGD(
                parameters,
                lr=optimizer.learning_rate,
                momentum=optimizer.momentum,
                weight_decay=optimizer.weight_decay,
                nesterov=optimizer.nesterov,
            )
        case AdamW():
            return torch.optim.AdamW(
                parameters,
                lr=optimizer.learning_rate,
                betas=(optimizer.beta1, optimizer.beta2),
                eps=optimizer.epsilon,
                weight_decay=optimizer.weight_decay,
            )
