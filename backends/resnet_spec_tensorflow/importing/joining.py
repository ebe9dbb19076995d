"""Reads sums, products, differences, maxima and concatenations, of tensors or with constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.importing.calls import Ref, as_list
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor, weight
from resnet_spec_tensorflow.importing.reshaping import reshaped

ROUNDING = 1e-6
"""How far a constant in float32 may be from a sixth, relative to it."""

LAYERS = {
    "Add": "add",
    "BroadcastAdd": "add",
    "Multiply": "multiply",
    "Subtract": "subtract",
    "Maximum": "maximum",
}


@READERS.register(*(f"{'own' if name == 'BroadcastAdd' else 'layers'}.{name}" for name in LAYERS))
def _join_layer(context: Context) -> Tensor | None:
    op = LAYERS[type(context.layer).__name__]
    if len(context.tensors) == 1:
        return context.tensor
    # Keras adds axes of size 1 behind the batch to inputs of fewer axes.
    rank = max(len(tensor.axes) for tensor in context.tensors)
    widened = [reshaped(context, x, (1,) * (rank - len(x.axes)) + x.shape) for x in context.tensors]
    return None if None in widened else _join(context, op, [tensor for tensor in widened if tensor is not None])


def _join(context: Context, op: str, tensors: list[Tensor]) -> Tensor | None:
    found = context.alike(tensors)
    return found and context.add(op, *found)


@READERS.register("layers.Average")
def _average(context: Context) -> Tensor | None:
    total = _join(context, "add", context.tensors)
    if total is None:
        return None
    inner = Context(context.reader, context.call, [total])
    return inner.constants([("scale", np.asarray(1 / len(context.tensors)))])


@READERS.register("layers.Concatenate", "ops.Concatenate")
def _concatenate(context: Context) -> Tensor | None:
    found = context.alike(context.tensors)
    if found is None:
        return None
    values, axes = found
    axis = context.axis(context.layer.axis, Tensor(values[0], axes))
    return None if axis is None else context.add("concat", values, axes, axis=axis)


BINARY = {
    "Add": "add",
    "Multiply": "multiply",
    "Subtract": "subtract",
    "Maximum": "maximum",
    "Divide": "divide",
    "TrueDivide": "divide",
}


@READERS.register(*(f"ops.{name}" for name in BINARY))
def _binary(context: Context) -> Tensor | None:
    op = BINARY[type(context.layer).__name__]
    if len(context.tensors) == 2:
        ranks = {len(tensor.axes) for tensor in context.tensors}
        if op == "divide" or len(ranks) > 1:
            return context.problem("divides by a value" if op == "divide" else "combines values of different ranks")
        return _join(context, op, context.tensors)
    first, second = _operands(context)
    reverse = isinstance(second, Ref)
    constant = first if reverse else second
    array = _array(constant)
    if array is None:
        return context.problem("combines a tensor with what is neither a number nor an array")
    if op in ("multiply", "divide") and not reverse and (gate := hard_sigmoid(context, op, array)) is not None:
        return gate
    learned = isinstance(constant, keras.Variable) and constant.trainable
    if op == "maximum":
        return context.elementwise("relu") if not array.any() else context.problem("takes the maximum with a constant")
    if op == "divide":
        if reverse:
            return context.problem("divides a constant by a value")
        return context.constants([("scale", 1 / array)])
    if op == "subtract":
        # A learned number that is subtracted would be added, as another parameter.
        steps = [("scale", np.asarray(-1.0)), ("offset", array)] if reverse else [("offset", -array)]
        return context.constants(steps)
    return context.constants([("scale" if op == "multiply" else "offset", array)], learned=learned)


def hard_sigmoid(context: Context, op: str, array: Any) -> Tensor | None:
    """relu6(x + 3) / 6 as one operation, or None."""
    upper = context.reader.made(context.tensor.value)
    lower = upper and context.reader.made(upper.input)
    if upper is None or lower is None or (upper.op, lower.op, lower.fields.get("initial")) != ("relu6", "offset", 3.0):
        return None
    factor = 1 / array if op == "divide" else array
    if array.size != 1 or abs(float(factor.reshape(-1)[0]) * 6 - 1) > ROUNDING:
        return None
    return context.add("hard_sigmoid", lower.input, context.tensor.axes)


def _operands(context: Context) -> tuple[Any, Any]:
    values = [*context.call.args, *context.call.kwargs.values()]
    return values[0], values[1]


def _array(value: Any) -> Any:
    """A number, an array or a variable as an array, or None."""
    if isinstance(value, bool | int | float | np.ndarray | np.number):
        return np.asarray(value)
    if isinstance(value, keras.Variable) or hasattr(value, "numpy"):
        return weight(value)
    numbers = as_list(value)
    return np.asarray(numbers) if all(isinstance(number, int | float) for number in numbers) else None
