"""What is done with a model besides writing it: run it whole or a node at a time, differentiate it, train it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_spec.backend.optimizers import SGD, AdamW, Optimizer
from resnet_spec.backend.protocol import Gradients
from resnet_spec_torch import forwards
from resnet_spec_torch.emitters import EXPRESSIONS
from resnet_spec_torch.parameters import from_numpy, tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import Batch
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


def gradients(model: nn.Module, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> Gradients:
    """The loss of a model in the mode it is in, and its gradients to each trainable parameter and to the images."""
    held = _trainable(model, graph)
    batch = batch_for(model, images).detach().requires_grad_()
    loss, found = _differentiated(model, batch, targets, [*held.values(), batch])
    arrays = [gradient.cpu().numpy() for gradient in found]
    return Gradients(loss, dict(zip(held, arrays, strict=False)), arrays[-1])


def train(model: nn.Module, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
    """Steps of the native optimizer, whose formulas are those of ``resnet_spec.backend.optimizers``."""
    held = list(_trainable(model, graph).values())
    native = _native(held, optimizer)
    losses: list[float] = []
    for step, (images, targets) in enumerate(batches, start=1):
        native.param_groups[0]["lr"] = optimizer.rate(step)
        loss, found = _differentiated(model, batch_for(model, images), targets, held)
        for tensor, gradient in zip(held, found, strict=True):
            tensor.grad = gradient
        native.step()  # pyright: ignore[reportUnknownMemberType]
        losses.append(loss)
    return losses


def _trainable(model: nn.Module, graph: Graph) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors(model, graph).items() if tensor.requires_grad}


def _differentiated(
    model: nn.Module, batch: Tensor, targets: Sequence[NDArray[Any]], sources: Sequence[Tensor]
) -> tuple[float, tuple[Tensor, ...]]:
    """The loss, and its gradients; zeros where it does not depend on a source."""
    pairs = zip(outputs(model, batch), targets, strict=True)
    loss = torch.stack([(value - batch_for(model, wanted)).square().mean() / 2 for value, wanted in pairs]).sum()
    return loss.item(), torch.autograd.grad(loss, sources, allow_unused=True, materialize_grads=True)


def _native(parameters: list[Tensor], optimizer: Optimizer) -> torch.optim.Optimizer:
    match optimizer:
        case SGD():
            return torch.optim.SGD(
                parameters,
                momentum=optimizer.momentum,
                weight_decay=optimizer.weight_decay,
                # Which it refuses without momentum, where it changes nothing.
                nesterov=optimizer.nesterov and optimizer.momentum > 0,
            )
        case AdamW():
            return torch.optim.AdamW(
                parameters,
                betas=(optimizer.beta1, optimizer.beta2),
                eps=optimizer.epsilon,
                weight_decay=optimizer.weight_decay,
            )
