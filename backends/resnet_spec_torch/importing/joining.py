"""Sums, products and concatenations, and learned values."""

from __future__ import annotations

from typing import Any

from resnet_spec.backend import Value
from resnet_spec.operations import FilterResponseNorm, MatMul
from resnet_spec_torch.importing.call import CALLS, Array, Call, number

_WORDS = {"add": "add", "mul": "multiply", "sub": "subtract", "maximum": "maximum"}


@CALLS.register("aten.add.Tensor", "aten.mul.Tensor", "aten.sub.Tensor", "aten.maximum")
def _join(call: Call) -> Value | None:
    word = _WORDS[call.function.split(".")[1]]
    one, other = call["self"], call["other"]
    if call.arguments.get("alpha", 1) != 1:
        return call.refuse("adds a multiple")
    if one is None or other is None:
        return None
    constants = [value for value in (one, other) if not isinstance(value, Value)]
    if not constants:
        return call.add(word, one, other)
    constant = constants[0]
    if isinstance(constant, Array) and word == "maximum":
        return _threshold(call, one if isinstance(one, Value) else other, constant)
    if isinstance(constant, Array) and word in ("add", "multiply"):
        return _learned(call, one if isinstance(one, Value) else other, constant, word)
    if number(constant) and constant == {"add": 0, "multiply": 1, "subtract": 0}.get(word):
        return one if isinstance(one, Value) else other
    if isinstance(constant, int | float) and word == "multiply":
        return _times(call, one if isinstance(one, Value) else other, float(constant))
    return call.refuse(f"has a constant as an operand of {word}, which no operation does")


@CALLS.register("aten.div.Tensor")
def _divide(call: Call) -> Value | None:
    if not number(call["other"]) or not call["other"]:
        return call.refuse("divides by a value, which no operation does")
    return _times(call, call.value(), 1 / call["other"])


def _times(call: Call, x: Value | None, factor: float) -> Value | None:
    product = call.builder.draft(x) if call.alone else None
    if x and product and isinstance(product.operation, MatMul) and product.operation.factor == 1 and factor > 0:
        return call.builder.replace(x, product.inputs, factor=factor)
    return call.add("multiply", x, factor=factor)


def _learned(call: Call, x: Any, array: Array, word: str) -> Value | None:
    if not array.trainable:
        return call.refuse(f"reads the buffer {array.name!r}, a constant, which no operation does")
    sizes = list(array.tensor.shape)
    while sizes and sizes[0] == 1 and len(sizes) > len(x.shape):
        sizes.pop(0)
    if array.tensor.numel() == 1:
        shape, sizes = "scalar", []
    elif tuple(sizes) == x.shape:
        shape = "map" if len(x.shape) > 1 else "channels"
    elif sizes == [x.shape[0]] + [1] * (len(x.shape) - 1):
        shape, sizes = "channels", [x.shape[0]]
    else:
        return call.refuse(f"joins {list(x.shape)} with a parameter {list(array.tensor.shape)}")
    op = {"add": "offset", "multiply": "scale"}[word]
    value = call.builder.add(op, [x], array.name, layer=True, where=call.where, shape=shape)
    call.arrays[array.name] = array._replace(tensor=array.tensor.reshape(sizes))
    return value


def _threshold(call: Call, x: Value, tau: Array) -> Value | None:
    """The threshold of a filter response normalization."""
    norm = call.builder.draft(x)
    if norm is None or not isinstance(norm.operation, FilterResponseNorm) or norm.calls is not None:
        return call.refuse("takes the maximum of a value and a parameter, which only filter_response_norm does")
    shape = [x.shape[0]] + [1] * (len(x.shape) - 1)
    sizes = [*tau.tensor.shape]
    sizes = sizes[1:] if len(sizes) == len(shape) + 1 and sizes[0] == 1 else sizes
    if norm.operation.threshold or not call.alone or not tau.trainable or sizes != shape:
        return call.refuse(f"takes the maximum of {list(x.shape)} and a parameter {list(tau.tensor.shape)}")
    call.arrays[f"{norm.name}.tau"] = tau._replace(tensor=tau.tensor.reshape(-1))
    return call.builder.replace(x, norm.inputs, threshold=True)


@CALLS.register("aten.cat")
def _concat(call: Call) -> Value | None:
    values = call["tensors"]
    if any(value is not None and not isinstance(value, Value) for value in values):
        return call.refuse("concatenates a constant")
    axis = call["dim"] % (len(call.shape) + 1) - 1
    if axis < 0:
        return call.refuse("concatenates batches")
    return values[0] if len(values) == 1 else call.add("concat", *values, axis=axis)


@CALLS.register("aten.stack")
def _stack(call: Call) -> Value | None:
    values = call["tensors"]
    axis = call["dim"] % (len(call.shape) + 1) - 1
    if axis < 0 or any(not isinstance(value, Value) for value in values):
        return call.refuse("stacks constants, or along the batch")
    shape = [*call.shape[:axis], 1, *call.shape[axis + 1 :]]
    rows = [call.add("reshape", value, shape=shape) for value in values]
    return call.add("concat", *rows, axis=axis)
