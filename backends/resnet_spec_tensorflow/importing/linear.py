"""Reads linear layers, and products of two values."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from resnet_spec_tensorflow.importing.activation import activated
from resnet_spec_tensorflow.importing.convolution import quantized
from resnet_spec_tensorflow.importing.graph_def import Constant, GraphNode
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor, identity, key_of, weight


@READERS.register("layers.Dense")
def _dense(context: Context) -> Tensor | None:
    layer = context.layer
    if quantized(context):
        return None
    kernel = weight(layer.kernel, (1, 0))
    tensor = context.tensor
    if tensor.order is not None:
        # The value's element order[i] is Keras' element i.
        permuted = kernel.copy()
        permuted[:, tensor.order] = kernel
        kernel = permuted
        context.remark("kernels whose columns are in channels-first order, since a map is flattened before them")
        tensor = tensor._replace(order=None)
    last = _last(context, tensor)
    added = last and context.add(
        "linear",
        last.value,
        last.axes,
        arrays={"weight": kernel} | ({"bias": weight(layer.bias)} if layer.use_bias else {}),
        features=layer.units,
        bias=layer.use_bias,
    )
    return activated(context, added, layer.activation)


def _last(context: Context, tensor: Tensor) -> Tensor | None:
    """The tensor with its last axis as the value's last."""
    if tensor.axes[-1] == len(tensor.axes) - 1:
        return tensor
    axes = identity(len(tensor.axes))
    value = context.arranged(tensor, axes)
    return value and Tensor(value, axes)


@READERS.register("ops.Matmul")
def _matmul(context: Context) -> Tensor | None:
    if len(context.tensors) != 2:
        return context.problem("multiplies by a matrix that is not a layer's; use a Dense layer")
    ranks = {len(tensor.axes) for tensor in context.tensors}
    if len(ranks) > 1:
        return context.problem("multiplies values of different ranks")
    axes = identity(ranks.pop())
    first, second = (context.arranged(tensor, axes) for tensor in context.tensors)
    return first and second and context.add("matmul", [first, second], axes, **_factor(context))


def _factor(context: Context) -> dict[str, Any]:
    """The factor of a product, which is a constant that only multiplies or divides it next."""
    later = context.only_reader
    key = later and key_of(later.operation)
    if later is None or key not in FACTORS:
        return {}
    given = later.operation.values if isinstance(later.operation, GraphNode) else (*later.args, *later.kwargs.values())
    numbers = [number for number in map(_number, given) if number is not None]
    divides = not key.endswith("Mul") and key != "ops.Multiply"
    if len(numbers) != 1 or (divides and (_number(given[0]) is not None or not numbers[0])):
        return {}
    context.absorb(later)
    return {"factor": float(1 / numbers[0] if divides else numbers[0])}


def _number(value: Any) -> float | None:
    if isinstance(value, Constant) and value.array.size == 1:
        # The number that is this one in float32.
        return float(str(np.float32(value.array.reshape(-1)[0])))
    return value if isinstance(value, int | float) else None


FACTORS = ("ops.Multiply", "ops.Divide", "ops.TrueDivide", "tf.Mul", "tf.RealDiv")

EINSUM = re.compile(r"(\w+),(\w+)->(\w+)")


@READERS.register("ops.Einsum", "tf.Einsum")
def _einsum(context: Context) -> Tensor | None:
    """A product of matrices at each position of common axes, the batch among them."""
    subscripts = _subscripts(context)
    found = EINSUM.fullmatch(subscripts.replace(" ", ""))
    if found is None or len(context.tensors) != 2:
        return context.problem(f"computes {subscripts!r}; only products of two tensors can be read")
    one, other, result = found.groups()
    # An axis in capitals has a size of 1 and is summed, as the backend writes an axis that broadcasts.
    texts = [_joined(one, other, result), _joined(other, one, result)]
    if one[0] != other[0] or one[0] != result[0] or any(len({*text}) < len(text) for text in (*texts, result)):
        return context.problem(f"computes {subscripts!r}, which is not a product of matrices")
    return _product(context, texts, result[1:])


def _subscripts(context: Context) -> str:
    node: Any = context.layer
    return str(node.attribute("equation", "") if isinstance(node, GraphNode) else node.subscripts)


def _joined(text: str, other: str, result: str) -> str:
    """The axes of an operand without the batch, one that broadcasts under its name in the result."""
    return "".join(axis.lower() if axis not in result + other else axis for axis in text[1:])


def _product(context: Context, texts: list[str], result: str) -> Tensor | None:
    one, other = texts
    inner = [axis for axis in one if axis in other and axis not in result]
    rows = [axis for axis in result if axis in one and axis not in other]
    columns = [axis for axis in result if axis in other and axis not in one]
    leading = [axis for axis in result if axis in one and axis in other]
    known = {*inner, *rows, *columns, *leading}
    if [len(inner), len(rows), len(columns)] != [1, 1, 1] or {*one, *other, *result} != known:
        return context.problem(f"computes {_subscripts(context)!r}, which is not a product of matrices")
    places = [dict(zip(text, tensor.axes, strict=True)) for text, tensor in zip(texts, context.tensors, strict=True)]
    # In the order that they have already.
    leading.sort(key=places[0].__getitem__)
    values: list[Any] = []
    flips: list[bool] = []
    for text, tensor, place, pair in zip(texts, context.tensors, places, (rows + inner, inner + columns), strict=True):
        flip = place[pair[0]] > place[pair[1]]
        wanted = [*leading, *(reversed(pair) if flip else pair)]
        values.append(context.arranged(tensor, tuple(map(wanted.index, text))))
        flips.append(flip)
    if None in values:
        return None
    final = [*leading, *rows, *columns]
    axes = tuple(map(final.index, result))
    turned = {"transpose_first": flips[0], "transpose_second": flips[1]}
    return context.add("matmul", values, axes, **turned, **_factor(context))
