"""Constants of a file, and what its nodes make of them: ONNX's own reference computes it, where it is small.

Weights are passed on as they stand through whatever only lays them out otherwise; they are not copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import NodeProto

from resnet_spec_onnx.reading.contents import REALS, BrokenError, typed

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Constant:
    """An array, and the names that a weight had in the file; what was worked out has those of all it is made from."""

    array: NDArray[Any]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unknown:
    """A constant that was not worked out, and why: an error only where something compared depends on it."""

    reason: str


LARGEST = 2**16
"""Elements of what is worked out: sizes, pads, a number for each channel."""

LAYOUTS = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"})
"""Operations that lay their first input out otherwise, however large it is."""

WORKED_OUT = frozenset(
    [
        "Abs",
        "Add",
        "Cast",
        "Ceil",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Equal",
        "Floor",
        "Gather",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Reciprocal",
        "Shape",
        "Slice",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Where",
    ]
)
"""Operations whose result is no larger than their inputs together, or what those broadcast to, or say as a shape."""


def evaluate(node: NodeProto, inputs: Sequence[Constant | Unknown | None], opset: int) -> Constant | Unknown:
    """What a node gives for constants; unknown where that is too large or of another kind than exporters need."""
    source = f"{node.output[0]!r} ({node.op_type})" if node.output else node.op_type
    if node.op_type == "Constant":
        return _constant(node, source)
    unknown = next((value for value in inputs if isinstance(value, Unknown)), None)
    if unknown is not None:
        return unknown
    known = [value for value in inputs if isinstance(value, Constant)]
    if node.op_type == "Identity" and known:
        # Where an exporter finds two weights equal, it keeps one, and gives the other's name to a copy.
        return Constant(known[0].array, (node.output[0],) if known[0].names else ())
    if known and (_only_widens(node, known[0]) or node.op_type == "Dropout"):
        return known[0]
    if node.op_type not in LAYOUTS and (node.op_type not in WORKED_OUT or not _is_small(node, known)):
        return Unknown(f"{source} is not worked out")
    arrays = [value.array if isinstance(value, Constant) else None for value in inputs]
    array = _run(node, arrays, opset)
    names = known[:1] if node.op_type in LAYOUTS else known
    if array is None:
        return Unknown(f"{source} cannot be worked out")
    return Constant(array, tuple(dict.fromkeys(name for value in names for name in value.names)))


def _constant(node: NodeProto, source: str) -> Constant | Unknown:
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.HasField("t"):
            try:
                return Constant(typed(attribute.t), (node.output[0],))
            except BrokenError as error:
                return Unknown(f"{source}: {error}")
        if attribute.name in ("value_int", "value_ints"):
            numbers = list(attribute.ints) if attribute.name == "value_ints" else attribute.i
            return Constant(np.array(numbers, np.int64))
        if attribute.name in ("value_float", "value_floats"):
            reals = list(attribute.floats) if attribute.name == "value_floats" else attribute.f
            return Constant(np.array(reals, np.float32))
    return Unknown(f"{source} is of a kind that is not read")


def _only_widens(node: NodeProto, value: Constant) -> bool:
    """Whether a node changes the precision of a weight, which is taken as it is stored."""
    to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), None)
    return node.op_type == "Cast" and value.array.dtype.kind == "f" and to in REALS


def _is_small(node: NodeProto, values: Sequence[Constant]) -> bool:
    arrays = [value.array for value in values]
    if node.op_type == "ConstantOfShape":
        return all(0 <= prod(int(size) for size in array.reshape(-1)[:8]) <= LARGEST for array in arrays)
    if node.op_type == "Gather" and len(arrays) == 2:
        return arrays[0].size * arrays[1].size <= LARGEST
    try:
        size = prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    except ValueError:
        size = sum(array.size for array in arrays)
    return size <= LARGEST and sum(array.size for array in arrays) <= LARGEST


def _run(node: NodeProto, arrays: Sequence[NDArray[Any] | None], opset: int) -> NDArray[Any] | None:
    # Imported late: it takes longer than all the rest, and many a file needs none of it.
    from onnx.reference import ReferenceEvaluator

    inputs = {name: array for name, array in zip(node.input, arrays, strict=True) if name and array is not None}
    try:
        with np.errstate(all="ignore"):
            evaluator: Any = ReferenceEvaluator(node, opsets={"": opset})
            array: Any = np.asarray(evaluator.run(None, inputs)[0])
    # Whatever a wrong node makes it raise.
    except Exception:
        return None
    return array if array.dtype.kind in "fiub" else None
