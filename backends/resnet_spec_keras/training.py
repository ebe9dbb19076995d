"""Gradients and training steps; Keras' optimizers are adjusted to ``resnet_spec.backend.optimizers``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from resnet_spec.backend.optimizers import SGD, AdamW
from resnet_spec.backend.protocol import Gradients
from resnet_spec_keras.execution import channels_first, channels_last, listed, quiet
from resnet_spec_keras.framework import keras
from resnet_spec_keras.parameters import laid_out, variables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.backend.protocol import Batch
    from resnet_spec.graph import Graph

Loss: TypeAlias = Callable[[Any], Any]
"""The loss of what a model returned."""

Differentiate: TypeAlias = Callable[[Any, Any, Sequence[Any], Loss], tuple[Any, list[Any]]]
"""From a model, a batch, Keras' variables and the loss: the loss of the batch in training mode, and its gradients.

They are those with respect to the variables and then to the batch, with zeros where the loss does not depend on one.
"""


def gradients(
    differentiate: Differentiate, model: Any, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]
) -> Gradients:
    """Return the loss in training mode and the gradients of trainable parameters and images, channels first."""
    with quiet():
        loss, found = differentiate(model, _tensor(model, images), _trainable(model, graph), _loss(model, targets))
    arrays = {p.name: laid_out(p, np.asarray(g)) for p, g in zip(_parameters(graph), found, strict=False)}
    return Gradients(float(loss), arrays, channels_first(found[-1]))


def train(
    differentiate: Differentiate, model: Any, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer
) -> list[float]:
    """Take a step of a Keras optimizer per batch; return the loss before each step."""
    parameters = _trainable(model, graph)
    native = _native(optimizer)
    native.build(parameters)
    losses: list[float] = []
    with quiet():
        for step, (images, targets) in enumerate(batches, start=1):
            loss, found = differentiate(model, _tensor(model, images), parameters, _loss(model, targets))
            found = found[:-1]
            native.learning_rate = optimizer.rate(step)
            match optimizer:
                case SGD():
                    # Keras' own weight decay is decoupled from the gradient; coupled, it is L2 regularization's.
                    found = [g + optimizer.weight_decay * w.value for g, w in zip(found, parameters, strict=True)]
                    _rescale(native, optimizer, step)
                case AdamW():
                    # Keras adds its epsilon before the bias correction of the second moment.
                    native.epsilon = optimizer.epsilon * (1 - optimizer.beta2**step) ** 0.5
            native.apply(found, parameters)
            losses.append(float(loss))
    return losses


def _rescale(native: Any, optimizer: SGD, step: int) -> None:
    """Rescale Keras' momentum, which contains past learning rates, to this step's rate."""
    if step > 1 and optimizer.momentum:
        for momentum in native.momentums:
            momentum.assign(momentum * (optimizer.rate(step) / optimizer.rate(step - 1)))


def _parameters(graph: Graph) -> list[Any]:
    return [parameter for parameter in graph.parameters() if parameter.trainable]


def _trainable(model: Any, graph: Graph) -> list[Any]:
    parameters = variables(model, graph)
    return [parameters[parameter.name] for parameter in _parameters(graph)]


def _tensor(model: Any, array: NDArray[Any]) -> Any:
    # The input's own dtype: the model's policy is the global one, whatever its layers have.
    return keras.ops.convert_to_tensor(channels_last(array).astype(model.inputs[0].dtype))


def _loss(model: Any, targets: Sequence[NDArray[Any]]) -> Loss:
    def loss(outputs: Any) -> Any:
        pairs = zip(listed(outputs), targets, strict=True)
        return reduce(
            add, [keras.ops.mean(keras.ops.square(value - _tensor(model, target))) / 2 for value, target in pairs]
        )

    return loss


def _native(optimizer: Optimizer) -> Any:
    match optimizer:
        case SGD():
            return keras.optimizers.SGD(momentum=optimizer.momentum, nesterov=optimizer.nesterov)
        case AdamW():
            return keras.optimizers.AdamW(
                weight_decay=optimizer.weight_decay,
                beta_1=optimizer.beta1,
                beta_2=optimizer.beta2,
                epsilon=optimizer.epsilon,
            )
