"""Evaluates nodes whose inputs are all constants, with ONNX's reference implementation, if the result is small.

Weights pass unchanged, and without a copy, through nodes that only change their layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import NodeProto

from resnet_spec.weights.formats.binary import InvalidFileError
from resnet_spec_onnx.reading.protobuf import FLOAT_TYPES, array_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Constant:
    """An array, and the names in the file of the weights it was made from."""

    array: NDArray[Any]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unknown:
    """A constant that was not evaluated, and why: an error only if something that is compared depends on it."""

    reason: str


MAX_ELEMENTS = 2**16
"""The most elements of a result: sizes, pads, one number per channel."""

LAYOUT_OPS = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"})
"""Operations that change the layout of their first input, however large it is."""

EVALUATED_OPS = (
    {"Abs", "Cast", "Ceil", "Floor", "Neg", "Reciprocal", "Sqrt"}
    | {"Add", "Div", "Equal", "Max", "Min", "Mod", "Mul", "Sub", "Where"}
    | {"Concat", "ConstantOfShape", "Gather", "Range", "Shape", "Slice", "Squeeze"}
)
"""Operations whose result is no larger than their inputs together, than their broadcast shape, or than they state."""


def evaluate(node: NodeProto, inputs: Sequence[Constant | Unknown | None], opset: int) -> Constant | Unknown:
    """Return a node's value; unknown if it is too large or of a kind that exporters do not write."""
    source = f"{node.output[0]!r} ({node.op_type})" if node.output else node.op_type
    if node.op_type == "Constant":
        return _constant(node, source)
    unknown = next((value for value in inputs if isinstance(value, Unknown)), None)
    if unknown is not None:
        return unknown
    known = [value for value in inputs if isinstance(value, Constant)]
    if node.op_type == "Identity" and known:
        # An exporter that finds two equal weights keeps one of them, and an Identity has the other's name.
        return Constant(known[0].array, (node.output[0],) if known[0].names else ())
    if known and (_is_float_cast(node, known[0]) or node.op_type == "Dropout"):
        return known[0]
    if node.op_type not in LAYOUT_OPS and (node.op_type not in EVALUATED_OPS or not _is_small(node, known)):
        return Unknown(f"{source} is not evaluated")
    arrays = [value.array if isinstance(value, Constant) else None for value in inputs]
    array = _unsqueezed(node, arrays) if node.op_type == "Unsqueeze" else _run(node, arrays, opset)
    if array is None:
        return Unknown(f"{source} cannot be evaluated")
    origins = known[:1] if node.op_type in LAYOUT_OPS else known
    return Constant(array, tuple(dict.fromkeys(name for value in origins for name in value.names)))


def _constant(node: NodeProto, source: str) -> Constant | Unknown:
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.HasField("t"):
            try:
                return Constant(array_of(attribute.t), (node.output[0],))
            except InvalidFileError as error:
                return Unknown(f"{source}: {error}")
        if attribute.name in ("value_int", "value_ints"):
            integers = list(attribute.ints) if attribute.name == "value_ints" else attribute.i
            return Constant(np.array(integers, np.int64))
        if attribute.name in ("value_float", "value_floats"):
            reals = list(attribute.floats) if attribute.name == "value_floats" else attribute.f
            return Constant(np.array(reals, np.float32))
    return Unknown(f"{source} has a value of an unsupported kind")


def _is_float_cast(node: NodeProto, value: Constant) -> bool:
    """Whether a node changes the precision of a weight, which is read as it is stored."""
    to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), None)
    return node.op_type == "Cast" and value.array.dtype.kind == "f" and to in FLOAT_TYPES


def _is_small(node: NodeProto, values: Sequence[Constant]) -> bool:
    arrays = [value.array for value in values]
    if node.op_type == "ConstantOfShape":
        return all(0 <= prod(int(size) for size in array.reshape(-1)[:8]) <= MAX_ELEMENTS for array in arrays)
    if node.op_type == "Range":
        # Of whole numbers: between others there is room for any number of elements.
        return all(
            array.size == 1 and array.dtype.kind in "iu" and abs(int(array.item())) < MAX_ELEMENTS for array in arrays
        )
    if node.op_type == "Gather" and len(arrays) == 2:
        return arrays[0].size * arrays[1].size <= MAX_ELEMENTS
    try:
        size = prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    except ValueError:
        size = sum(array.size for array in arrays)
    return size <= MAX_ELEMENTS and sum(array.size for array in arrays) <= MAX_ELEMENTS


def _unsqueezed(node: NodeProto, arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Add axes of size 1: the reference implementation does not where they are an attribute, before opset 13."""
    array, *rest = arrays
    stated = next((attribute.ints for attribute in node.attribute if attribute.name == "axes"), None)
    axes = rest[0] if rest else stated
    if array is None or axes is None:
        return None
    try:
        return np.expand_dims(array, tuple(int(axis) for axis in axes))
    except (TypeError, ValueError):
        return None


def _run(node: NodeProto, arrays: Sequence[NDArray[Any] | None], opset: int) -> NDArray[Any] | None:
    # Imported late: it takes longer than everything else, and many files need none of it.
    from onnx.reference import ReferenceEvaluator

    inputs = {name: array for name, array in zip(node.input, arrays, strict=True) if name and array is not None}
    try:
        with np.errstate(all="ignore"):
            evaluator: Any = ReferenceEvaluator(node, opsets={"": opset})
            array: Any = np.asarray(evaluator.run(None, inputs)[0])
    # An invalid node can make it raise anything.
    except Exception:
        return None
    return array if array.dtype.kind in "fiub" else None
