"""Gradients by JAX's transformation of the model as a function of its variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_spec_jax.framework import jax

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def differentiate(
    model: Any, batch: Any, variables: Sequence[Any], loss: Callable[[Any], Any]
) -> tuple[Any, list[Any]]:
    """Return the loss in training mode and its gradients; see ``resnet_spec_keras.training.Differentiate``."""
    state = [variable.value for variable in model.non_trainable_variables]

    def compute(values: list[Any], batch: Any) -> tuple[Any, Any]:
        outputs, after = model.stateless_call(values, state, batch, training=True)
        return loss(outputs), after

    trainable = model.trainable_variables
    values = [variable.value for variable in trainable]
    (value, after), (found, images) = jax.value_and_grad(compute, (0, 1), has_aux=True)(values, batch)
    for variable, moved in zip(model.non_trainable_variables, after, strict=True):
        variable.assign(moved)
    by_variable = {id(variable): gradient for variable, gradient in zip(trainable, found, strict=True)}
    return value, [*(by_variable[id(variable)] for variable in variables), images]
