"""Writes a model to a file one tensor at a time: ONNX's own writer needs twice the size of the weights.

A file is a protobuf message: fields one after another, each a key, a length and bytes. Protobuf's library serializes
the skeleton, and each tensor's bytes are written after its header.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from google.protobuf.message import Message
from onnx import GraphProto, ModelProto, TensorProto, checker, helper

from resnet_spec.errors import OutputError, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

AnyMessage = TypeVar("AnyMessage", bound=Message)

MAX_BYTES = 2**31 - 1
"""The largest message that protobuf reads."""


def write_model(skeleton: ModelProto, arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write a model without data and the arrays of its initializers, converted to the initializers' types.

    Raises OutputError if ONNX's checker rejects the model, the file would exceed protobuf's limit of 2 GiB, or a value
    overflows the type it is stored in.
    """
    check(skeleton)
    graph = _without(skeleton.graph, "initializer").SerializeToString(deterministic=True)
    headers = [_header(tensor) for tensor in skeleton.graph.initializer]
    size = len(graph) + sum(len(header) + _size(tensor) for header, tensor in headers)
    model = _without(skeleton, "graph").SerializeToString(deterministic=True) + _key(ModelProto, "graph", size)
    if len(model) + size > MAX_BYTES:
        raise OutputError(
            f"{path.name}: would be {(len(model) + size) / 2**30:.1f} GiB, but an ONNX file holds 2 GiB at most"
        )
    with path.open("wb") as file:
        file.write(model)
        file.write(graph)
        for header, tensor in headers:
            file.write(header)
            file.write(_data(tensor, arrays[tensor.name]))


def _header(tensor: TensorProto) -> tuple[bytes, TensorProto]:
    """Return the bytes before a tensor's data, and the tensor."""
    start = tensor.SerializeToString(deterministic=True) + _key(TensorProto, "raw_data", _size(tensor))
    return _key(GraphProto, "initializer", len(start) + _size(tensor)) + start, tensor


def _size(tensor: TensorProto) -> int:
    return prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _data(tensor: TensorProto, array: NDArray[Any]) -> memoryview:
    stored = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    with np.errstate(over="ignore"):
        data = array.astype(stored, copy=False)
    if data is not array and np.isfinite(array).all() and not np.isfinite(data).all():
        raise OutputError(Problem(f"has values too large for {stored}", tensor.name))
    return little_endian(data).data


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array in ONNX's byte order: the array itself on most machines."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _key(message: type[Message], name: str, length: int) -> bytes:
    """Return the bytes before a field's value: its number and wire type, and the length of the value."""
    return _varint(message.DESCRIPTOR.fields_by_name[name].number << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    """Encode an integer in base 128: seven bits a byte, the lowest first, and a bit that says whether more follow."""
    digits: list[int] = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def _without(message: AnyMessage, name: str) -> AnyMessage:
    copy = type(message)()
    copy.CopyFrom(message)
    copy.ClearField(name)
    return copy


def check(skeleton: ModelProto) -> None:
    """Run ONNX's checker on a model without data; raises OutputError if it rejects the model."""
    try:
        checker.check_model(with_parameters_as_inputs(skeleton), full_check=True)  # pyright: ignore[reportUnknownMemberType]
    except Exception as error:
        raise OutputError(f"ONNX's checker rejects the model: {str(error).strip()}") from None


def with_parameters_as_inputs(skeleton: ModelProto) -> ModelProto:
    """Return the model with inputs in place of its initializers, so that it is valid without their data."""
    model = ModelProto()
    model.CopyFrom(skeleton)
    for tensor in skeleton.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model.graph.ClearField("initializer")
    return model
