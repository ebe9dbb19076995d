"""Writing a model to a file, one tensor at a time: ONNX's own writer holds all of them twice.

A file is a protobuf message: fields one after another, each with a key, its length and its bytes. The skeleton is
serialized by protobuf's library, and the tensors' bytes are put in their place behind it.
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
from resnet_spec_onnx.model import little_endian

if TYPE_CHECKING:
    from numpy.typing import NDArray

AnyMessage = TypeVar("AnyMessage", bound=Message)

LARGEST = 2**31 - 1
"""Bytes that protobuf reads in one message."""


def write_model(skeleton: ModelProto, arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write a model whose initializers have no data yet, with the arrays of their names, in their types.

    Raises OutputError where ONNX's checker refuses the model, the file would be larger than protobuf allows, or a
    value is too large for the type that it is stored in.
    """
    check(skeleton)
    graph = _without(skeleton.graph, "initializer").SerializeToString(deterministic=True)
    heads = [_head(tensor) for tensor in skeleton.graph.initializer]
    size = len(graph) + sum(len(head) + _bytes(tensor) for head, tensor in heads)
    model = _without(skeleton, "graph").SerializeToString(deterministic=True) + _key(ModelProto, "graph", size)
    if len(model) + size > LARGEST:
        raise OutputError(
            f"{path.name}: would be {(len(model) + size) / 2**30:.1f} GiB, and an ONNX file holds 2 GiB at most"
        )
    with path.open("wb") as file:
        file.write(model)
        file.write(graph)
        for head, tensor in heads:
            file.write(head)
            file.write(_data(tensor, arrays[tensor.name]))


def _head(tensor: TensorProto) -> tuple[bytes, TensorProto]:
    """What comes before a tensor's data, and the tensor."""
    start = tensor.SerializeToString(deterministic=True) + _key(TensorProto, "raw_data", _bytes(tensor))
    return _key(GraphProto, "initializer", len(start) + _bytes(tensor)) + start, tensor


def _bytes(tensor: TensorProto) -> int:
    return prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _data(tensor: TensorProto, array: NDArray[Any]) -> memoryview:
    stored = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    with np.errstate(over="ignore"):
        data = array.astype(stored, copy=False)
    if data is not array and np.isfinite(array).all() and not np.isfinite(data).all():
        raise OutputError(Problem(f"holds values that {stored} cannot", tensor.name))
    return little_endian(data).data


def _key(message: type[Message], name: str, length: int) -> bytes:
    """What comes before a field whose value has so many bytes: its number and kind, and the length."""
    return _varint(message.DESCRIPTOR.fields_by_name[name].number << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, and a bit that says whether more follow."""
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
    """Have ONNX's checker look at a model whose initializers have no data; raises OutputError where it is wrong."""
    try:
        checker.check_model(with_parameters_as_inputs(skeleton), full_check=True)  # pyright: ignore[reportUnknownMemberType]
    except Exception as error:
        raise OutputError(f"ONNX's checker refuses the model: {str(error).strip()}") from None


def with_parameters_as_inputs(skeleton: ModelProto) -> ModelProto:
    """The model with inputs in the place of initializers, so that it is whole without their data."""
    model = ModelProto()
    model.CopyFrom(skeleton)
    for tensor in skeleton.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model.graph.ClearField("initializer")
    return model
