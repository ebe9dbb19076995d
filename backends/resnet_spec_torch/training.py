"""Gradients and training steps; PyTorch's optimizers compute what ``resnet_spec.backend.optimizers`` says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from resnet_spec.backend.optimizers import SGD, AdamW, Optimizer
from resnet_spec.backend.protocol import Gradients
from resnet_spec.backend.training import LOSS_SCALE
from resnet_spec_torch.execution import batch_for, outputs
from resnet_spec_torch.parameters import tensors, to_numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import Batch
    from resnet_spec.graph import Graph


Differentiate: TypeAlias = Callable[
    [nn.Module, Tensor, Sequence["NDArray[Any]"], Sequence[Tensor]], tuple[float, Sequence[Tensor]]
]
"""From a model, a batch, targets and sources: the loss in the model's current mode, and its gradients.

They are zeros for a source that the loss does not depend on.
"""


def differentiate(
    model: nn.Module, batch: Tensor, targets: Sequence[NDArray[Any]], sources: Sequence[Tensor]
) -> tuple[float, Sequence[Tensor]]:
    """Return the loss and its gradients; see ``Differentiate``."""
    value = loss(model, batch, targets)
    found = torch.autograd.grad(value * LOSS_SCALE, sources, allow_unused=True, materialize_grads=True)
    return value.item(), [unscaled(gradient) for gradient in found]


def unscaled(gradient: Tensor) -> Tensor:
    """Return a gradient of the scaled loss without the scale, at least in float32."""
    return at_least_float32(gradient) / LOSS_SCALE


def loss(model: nn.Module, batch: Tensor, targets: Sequence[NDArray[Any]]) -> Tensor:
    """Return half the mean squared difference of each output from its target, summed.

    In half precision the loss is float32, as autocast has it.
    """
    values = [at_least_float32(value) for value in outputs(model, batch)]
    wanted = [torch.as_tensor(target).to(value) for value, target in zip(values, targets, strict=True)]
    terms = [(value - target).square().mean() / 2 for value, target in zip(values, wanted, strict=True)]
    return torch.stack(terms).sum()


def gradients(
    model: nn.Module,
    graph: Graph,
    images: NDArray[Any],
    targets: Sequence[NDArray[Any]],
    differentiate: Differentiate = differentiate,
) -> Gradients:
    """Return the loss in the model's current mode, and its gradients for each trainable parameter and the images."""
    parameters = _trainable(model, graph)
    batch = batch_for(model, images).detach().requires_grad_()
    value, found = differentiate(model, batch, targets, [*parameters.values(), batch])
    arrays = [to_numpy(gradient) for gradient in found]
    return Gradients(value, dict(zip(parameters, arrays, strict=False)), arrays[-1])


def train(
    model: nn.Module,
    graph: Graph,
    batches: Iterable[Batch],
    optimizer: Optimizer,
    differentiate: Differentiate = differentiate,
) -> list[float]:
    """Take a step of the native optimizer per batch; return the loss before each step."""
    parameters = list(_trainable(model, graph).values())
    native = _native(parameters, optimizer)
    losses: list[float] = []
    for step, (images, targets) in enumerate(batches, start=1):
        native.param_groups[0]["lr"] = optimizer.rate(step)
        value, found = differentiate(model, batch_for(model, images), targets, parameters)
        for tensor, gradient in zip(parameters, found, strict=True):
            tensor.grad = gradient.to(tensor.dtype)
        native.step()  # pyright: ignore[reportUnknownMemberType]
        losses.append(value)
    return losses


def _trainable(model: nn.Module, graph: Graph) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors(model, graph).items() if tensor.requires_grad}


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return half precision as float32, and any other as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


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
