"""Sums, products, differences, maxima and concatenations as Keras layers."""

from __future__ import annotations

from math import prod
from typing import Any

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps, keras_axis
from resnet_spec_keras.emitting.functions import Function
from resnet_spec_keras.framework import keras
from resnet_spec_keras.layers import BroadcastAdd


@EMITTERS.register("add")
def _add(op: ops.Add, context: LayerContext) -> Steps:
    """Keras takes a second term that has one axis of more than one element for a bias of the channels.

    For one image of a fixed size its sum is then wrong where the axis is another one, and the first term has as many
    rows or channels. It is right if the second term has the shape of the sum, so that the largest comes last.
    """
    # The compiler passes the terms from the last to the first.
    orders = {_growing(shapes[::-1]) for shapes in context.joined}
    order = orders.pop()
    if orders or order is None:
        return (BroadcastAdd(**context.common),)
    add = keras.layers.Add(**context.common)
    if order == tuple(range(len(order))):
        return (add,)
    return (lambda values: add([values[index] for index in order]),)


def _growing(shapes: tuple[Shape, ...]) -> tuple[int, ...] | None:
    """Return an order of terms in which each has the shape of the sum until then, or None."""
    order = tuple(sorted(range(len(shapes)), key=lambda index: prod(shapes[index])))
    total = shapes[order[0]]
    for index in order[1:]:
        total = tuple(map(max, total, shapes[index]))
        if total != shapes[index]:
            return None
    return order


@EMITTERS.register("multiply")
def _multiply(op: ops.Multiply, context: LayerContext) -> Steps:
    if op.factor == 1:
        return (keras.layers.Multiply(**context.common),)
    multiply = keras.layers.Multiply(**context.helper("product"))

    def product(values: Any) -> Any:
        return multiply(values) if isinstance(values, list) else values

    # Not Rescaling, which rounds its number to float32 whatever the dtype.
    return product, Function(context, lambda value: value * op.factor)


@EMITTERS.register("subtract")
def _subtract(op: ops.Subtract, context: LayerContext) -> Steps:
    return (keras.layers.Subtract(**context.common),)


@EMITTERS.register("maximum")
def _maximum(op: ops.Maximum, context: LayerContext) -> Steps:
    return (keras.layers.Maximum(**context.common),)


@EMITTERS.register("concat")
def _concat(op: ops.Concat, context: LayerContext) -> Steps:
    return (keras.layers.Concatenate(axis=keras_axis(op.axis), **context.common),)
