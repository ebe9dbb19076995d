"""Writing a model to a file, one tensor at a time: ONNX's own writer holds all of them twice.

A file is a protobuf message: fields one after another, each with a key, its length and its bytes. The skeleton is
serialised by protobuf's library, and the tensors' bytes are put in their place behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, checker, helper

from resnet_spec.errors import OutputError, Problem
from resnet_spec_onnx.model import little_endian

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 2**31 - 1
"""Bytes that protobuf reads in one message."""


def write_model(skeleton: ModelProto, arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write a model whose initializers have no data yet, with the arrays of their names in their types.

    Raises OutputError, before anything is written, where ONNX's checker refuses the model, the file would be larger
    than protobuf allows, or a value is too large for the type that it is stored in.
    """
    check(skeleton)
    graph = GraphProto()
    graph.CopyFrom(skeleton.graph)
    tensors = list(skeleton.graph.initializer)
    del graph.initializer[:]
    around = ModelProto()
    around.CopyFrom(skeleton)
    around.ClearField("graph")
    content = graph.SerializeToString(deterministic=True)
    heads = [_head(tensor) for tensor in tensors]
    size = len(content) + sum(map(len, heads)) + sum(map(_size, tensors))
    start = around.SerializeToString(deterministic=True) + _key(ModelProto, "graph", size)
    if len(start) + size > LARGEST:
        raise OutputError(f"{path}: would be {(len(start) + size) / 2**30:.1f} GiB, and an ONNX file holds 2 GiB at most")
    _check_range(tensors, arrays)
    with path.open("wb") as file:
        file.write(start + content)
        for tensor, head in zip(tensors, heads, strict=True):
            file.write(head)
            _write_data(file, arrays[tensor.name], _dtype(tensor))


def check(skeleton: ModelProto) -> None:
    """Have ONNX's checker look at a model whose initializers have no data; raises OutputError where it is wrong."""
    try:
        checker.check_model(with_parameters_as_inputs(skeleton), full_check=True)
    except Exception as error:
        raise OutputError(f"ONNX's checker refuses the model: {str(error).strip()}") from None


def with_parameters_as_inputs(skeleton: ModelProto) -> ModelProto:
    """The model with inputs in the place of initializers, so that it is whole without their data."""
    model = ModelProto()
    model.CopyFrom(skeleton)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del model.graph.initializer[:]
    return model
