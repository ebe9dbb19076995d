"""Gradients and training steps; PyTorch's optimizers compute what ``resnet_spec.backend.optimizers`` says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from resnet_spec.backend.optimizers import SGD, AdamW, Optimizer
from resnet_spec.backend.protocol import Gradients
from resnet_spec_torch.execution import batch_for, outputs
from resnet_spec_torch.parameters import tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import Batch
    from resnet_spec.graph import Graph


def gradients(model: nn.Module, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> Gradients:
    """Return the loss in the model's current mode, and its gradients for each trainable parameter and the images."""
    parameters = _trainable(model, graph)
    batch = batch_for(model, images).detach().requires_grad_()
    loss, found = _differentiated(model, batch, targets, [*parameters.values(), batch])
    arrays = [gradient.cpu().numpy() for gradient in found]
    return Gradients(loss, dict(zip(parameters, arrays, strict=False)), arrays[-1])


def train(model: nn.Module, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
    """Take a step of the native optimizer per batch; return the loss before each step."""
    parameters = list(_trainable(model, graph).values())
    native = _native(parameters, optimizer)
    losses: list[float] = []
    for step, (images, targets) in enumerate(batches, start=1):
        native.param_groups[0]["lr"] = optimizer.rate(step)
        loss, found = _differentiated(model, batch_for(model, images), targets, parameters)
        for tensor, gradient in zip(parameters, found, strict=True):
            tensor.grad = gradient
        native.step()  # pyright: ignore[reportUnknownMemberType]
        losses.append(loss)
    return losses


def _trainable(model: nn.Module, graph: Graph) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors(model, graph).items() if tensor.requires_grad}


def _differentiated(
    model: nn.Module, batch: Tensor, targets: Sequence[NDArray[Any]], sources: Sequence[Tensor]
) -> tuple[float, tuple[Tensor, ...]]:
    """Return the loss and its gradients, zeros for a source that it does not depend on."""
    pairs = zip(outputs(model, batch), targets, strict=True)
    loss = torch.stack([(value - batch_for(model, target)).square().mean() / 2 for value, target in pairs]).sum()
    return loss.item(), torch.autograd.grad(loss, sources, allow_unused=True, materialize_grads=True)


def _native(parameters: list[Tensor], optimizer: Optimizer) -> torch.optim.Optimizer:
    match optimizer:
        case SGD():
            return torch.optim.SGD(
                parameters,
                momentum=optimizer.momentum,
                weight_decay=optimizer.weight_decay,
                # torch rejects Nesterov momentum without momentum, where it changes nothing.
                nesterov=optimizer.nesterov and optimizer.momentum > 0,
            )
        case AdamW():
            return torch.optim.AdamW(
                parameters,
                betas=(optimizer.beta1, optimizer.beta2),
                eps=optimizer.epsilon,
                weight_decay=optimizer.weight_decay,
            )
