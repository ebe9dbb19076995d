"""Linear layers as Keras layers, and products of two values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resnet_spec import operations as ops
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps
from resnet_spec_keras.emitting.functions import Function
from resnet_spec_keras.framework import keras


@EMITTERS.register("linear")
def _linear(op: ops.Linear, context: LayerContext) -> Steps:
    dense = context.layer(keras.layers.Dense)(
        op.features, use_bias=op.bias, kernel_initializer="zeros", **context.common
    )
    if context.rank == 1:
        return (dense,)
    # The first axis, which is the last here, before the layer, and back.
    first = keras.layers.Permute((context.rank, *range(1, context.rank)), **context.helper("first"))
    return first, dense, keras.layers.Permute((*range(2, context.rank + 1), 1), **context.helper("last"))


@EMITTERS.register("matmul")
def _matmul(op: ops.MatMul, context: LayerContext) -> Steps:
    def product(values: Any) -> Any:
        return keras.ops.einsum(_subscripts(op, *(value.shape for value in values)), *values)

    if op.factor == 1:
        return (Function(context, product),)
    before = replace(context, name=context.helper("product")["name"])
    return Function(before, product), Function(context, lambda value: value * op.factor)


def _subscripts(op: ops.MatMul, first: Any, second: Any) -> str:
    """Return the product as subscripts of values with the first axis last; a size of 1 that broadcasts is summed."""
    leading = "fgh"[: len(first) - 3]
    # In the order of the graph's axes.
    sizes = [((shape[-1], *shape[1:-1])) for shape in (first, second)]
    one, other = list(leading), list(leading)
    for index, (left, right) in enumerate(zip(*sizes, strict=True)):
        if index < len(leading) and left != right and 1 in (left, right):
            (one if left == 1 else other)[index] = leading[index].upper()
    result = [a if a.islower() else b for a, b in zip(one, other, strict=True)]
    one += "km" if op.transpose_first else "mk"
    other += "nk" if op.transpose_second else "kn"
    result += "mn"
    a, b, c = ("z" + "".join((*axes[1:], axes[0])) for axes in (one, other, result))
    return f"{a},{b}->{c}"
