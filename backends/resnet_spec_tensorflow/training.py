"""Gradients by TensorFlow's tape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_spec_tensorflow.framework import tf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def differentiate(
    model: Any, batch: Any, variables: Sequence[Any], loss: Callable[[Any], Any]
) -> tuple[Any, list[Any]]:
    """Return the loss in training mode and its gradients; see ``resnet_spec_keras.training.Differentiate``."""
    sources = [*(variable.value for variable in variables), batch]
    with tf.GradientTape() as tape:
        tape.watch(batch)
        value = loss(model(batch, training=True))
    return value, tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
