"""Gradients and training steps; Keras' optimizers are adjusted to ``resnet_spec.backend.optimizers``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from resnet_spec.backend.optimizers import SGD, AdamW
from resnet_spec.backend.protocol import Gradients
from resnet_spec.backend.training import LOSS_SCALE
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
        batch, variables = tensor_for(model, images), trainable(model, graph)
        return channels_first_gradients(graph, *scaled(differentiate, model, batch, variables, for_keras(targets)))


def scaled(
    differentiate: Differentiate,
    model: Any,
    batch: Any,
    parameters: Sequence[Any],
    targets: Sequence[Any],
    share: float = 1.0,
) -> tuple[Any, list[Any]]:
    """Return a share of the loss and its gradients, for which the loss is scaled: small ones would be 0 in float16."""
    loss, found = differentiate(model, batch, parameters, loss_of(targets, share * LOSS_SCALE))
    return loss / LOSS_SCALE, [at_least_float32(gradient) / LOSS_SCALE for gradient in found]


def channels_first_gradients(graph: Graph, loss: Any, found: Sequence[Any]) -> Gradients:
    """Return the gradients of the trainable parameters, and last of the images, as the graph has their axes."""
    *gradients, of_images = [np.asarray(gradient) for gradient in found]
    arrays = {p.name: laid_out(p, gradient) for p, gradient in zip(_parameters(graph), gradients, strict=True)}
    return Gradients(float(loss), arrays, channels_first(of_images))


TakeStep: TypeAlias = Callable[[Any, Sequence["NDArray[Any]"]], Any]
"""Takes a step on a batch and targets, both as Keras takes them; returns the loss before it."""


def train(
    take_step: TakeStep, native: Any, model: Any, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer
) -> list[float]:
    """Take a step of a new Keras optimizer, ``native``, per batch; return the loss before each step."""
    losses: list[float] = []
    with quiet():
        for step, (images, targets) in enumerate(batches, start=1):
            native.learning_rate = optimizer.rate(step)
            match optimizer:
                case SGD():
                    _rescale(native, optimizer, step)
                case AdamW():
                    # Keras adds its epsilon before the bias correction of the second moment.
                    _set_epsilon(native, optimizer.epsilon * (1 - optimizer.beta2**step) ** 0.5)
            losses.append(float(take_step(tensor_for(model, images), for_keras(targets))))
    return losses


def take_step(
    differentiate: Differentiate,
    model: Any,
    parameters: Sequence[Any],
    native: Any,
    optimizer: Optimizer,
    batch: Any,
    targets: Sequence[Any],
    share: float = 1.0,
) -> Any:
    """Take a step, and return the loss. A replica's loss and decay are its ``share`` of those that are summed."""
    loss, (*gradients, _) = scaled(differentiate, model, batch, parameters, targets, share)
    if isinstance(optimizer, SGD):
        # Keras' own weight decay is decoupled from the gradient; coupled, it is L2 regularization's.
        decay = share * optimizer.weight_decay
        gradients = [g + decay * w.value for g, w in zip(gradients, parameters, strict=True)]
    native.apply(gradients, parameters)
    return loss


def _set_epsilon(native: Any, epsilon: float) -> None:
    """Set an optimizer's epsilon, which is a variable where the step is compiled once for all."""
    if isinstance(native.epsilon, keras.Variable):
        native.epsilon.assign(epsilon)
    else:
        native.epsilon = epsilon


def _rescale(native: Any, optimizer: SGD, step: int) -> None:
    """Rescale Keras' momentum, which contains past learning rates, to this step's rate."""
    if step > 1 and optimizer.momentum:
        for momentum in native.momentums:
            momentum.assign(momentum * (optimizer.rate(step) / optimizer.rate(step - 1)))


def _parameters(graph: Graph) -> list[Any]:
    return [parameter for parameter in graph.parameters() if parameter.trainable]


def trainable(model: Any, graph: Graph) -> list[Any]:
    """Return Keras' variables of the trainable parameters, in the graph's order."""
    parameters = variables(model, graph)
    return [parameters[parameter.name] for parameter in _parameters(graph)]


def tensor_for(model: Any, array: NDArray[Any]) -> Any:
    """Return a batch as a model takes it."""
    # The input's own dtype: the model's policy is the global one, whatever its layers have.
    return keras.ops.convert_to_tensor(channels_last(array).astype(model.inputs[0].dtype))


def for_keras(targets: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return targets channels last."""
    return [channels_last(target) for target in targets]


def loss_of(targets: Sequence[Any], scale: float) -> Loss:
    """Return half the mean squared difference of each output from its target, summed and scaled.

    In half precision it is float32, as Keras' own losses are.
    """

    def loss(outputs: Any) -> Any:
        values = [at_least_float32(value) for value in listed(outputs)]
        wanted = [keras.ops.cast(target, _dtype(value)) for value, target in zip(values, targets, strict=True)]
        pairs = zip(values, wanted, strict=True)
        return reduce(add, [keras.ops.mean(keras.ops.square(value - target)) / 2 for value, target in pairs]) * scale

    return loss


def at_least_float32(value: Any) -> Any:
    """Return half precision as float32, and any other as it is."""
    return value if _dtype(value) == "float64" else keras.ops.cast(value, "float32")


def _dtype(value: Any) -> str:
    return keras.backend.standardize_dtype(value.dtype)


def native_optimizer(optimizer: Optimizer, parameters: Sequence[Any]) -> Any:
    """Return a Keras optimizer of variables; ``train`` adjusts it at each step."""
    native = _native(optimizer)
    native.build(parameters)
    return native


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
