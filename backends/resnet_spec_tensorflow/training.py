"""Gradients and training steps; Keras' optimizers are adjusted to ``resnet_spec.backend.optimizers``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_spec.backend.optimizers import SGD, AdamW
from resnet_spec.backend.protocol import Gradients
from resnet_spec_tensorflow.execution import channels_first, channels_last, outputs, quiet
from resnet_spec_tensorflow.framework import keras, tf
from resnet_spec_tensorflow.parameters import laid_out, variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.backend.protocol import Batch
    from resnet_spec.graph import Graph


def gradients(model: Any, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> Gradients:
    """Return the loss in training mode and the gradients of trainable parameters and images, channels first."""
    sources = [variable.value for variable in _trainable(model, graph).values()]
    batch = _tensor(model, images)
    with quiet():
        loss, found = _differentiated(model, batch, targets, [*sources, batch])
    arrays = {p.name: laid_out(p, g.numpy()) for p, g in zip(_parameters(graph), found, strict=False)}
    return Gradients(float(loss), arrays, channels_first(found[-1]))


def train(model: Any, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
    """Take a step of a Keras optimizer per batch; return the loss before each step."""
    parameters = list(_trainable(model, graph).values())
    values = [variable.value for variable in parameters]
    native = _native(optimizer)
    native.build(parameters)
    losses: list[float] = []
    with quiet():
        for step, (images, targets) in enumerate(batches, start=1):
            batch = _tensor(model, images)
            loss, found = _differentiated(model, batch, targets, values)
            native.learning_rate = optimizer.rate(step)
            match optimizer:
                case SGD():
                    # Keras' own weight decay is decoupled from the gradient; coupled, it is L2 regularization's.
                    found = [g + optimizer.weight_decay * w for g, w in zip(found, values, strict=True)]
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


def _trainable(model: Any, graph: Graph) -> dict[str, Any]:
    parameters = variables(model, graph)
    return {parameter.name: parameters[parameter.name] for parameter in _parameters(graph)}


def _tensor(model: Any, array: NDArray[Any]) -> Any:
    # The input's own dtype: the model's policy is the global one, whatever its layers have.
    return tf.convert_to_tensor(channels_last(array).astype(model.inputs[0].dtype))


def _differentiated(
    model: Any, batch: Any, targets: Sequence[NDArray[Any]], sources: Sequence[Any]
) -> tuple[Any, list[Any]]:
    """Return the loss in training mode and its gradients, zeros for a source that it does not depend on."""
    with tf.GradientTape() as tape:
        tape.watch(batch)
        pairs = zip(outputs(model, batch, training=True), targets, strict=True)
        loss = tf.add_n([tf.reduce_mean(tf.square(value - _tensor(model, target))) / 2 for value, target in pairs])
    return loss, tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)


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
