"""Splits an ONNX file into the model without its weights' bytes and the weights, each read once into its array.

A file is a protobuf message: fields one after another, each a key and, except for numbers, a length. Protobuf's library
would hold everything twice, so it is given everything except the raw bytes of initializers, which stay in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError, Message
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

from resnet_spec.backend.checkpoint import widen_bfloat16
from resnet_spec.errors import Problem, WeightsError
from resnet_spec.weights.formats.detection import inside

if TYPE_CHECKING:
    from numpy.typing import NDArray

RAW_TYPES: Mapping[int, str] = {
    TensorProto.FLOAT: "<f4",
    TensorProto.DOUBLE: "<f8",
    TensorProto.FLOAT16: "<f2",
    TensorProto.BFLOAT16: "<u2",
    TensorProto.INT64: "<i8",
    TensorProto.INT32: "<i4",
    TensorProto.INT16: "<i2",
    TensorProto.INT8: "i1",
    TensorProto.UINT8: "u1",
    TensorProto.BOOL: "?",
}
"""NumPy's type of the raw bytes of each supported type; bfloat16 is the upper half of a float32."""

FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)

MAX_FIELDS = 2**22
"""The most fields of a file; walking through more would take minutes."""


@dataclass(frozen=True)
class Contents:
    """A model whose initializers have no raw data, and their arrays by name.

    ``widened`` names the arrays that the file has as bfloat16, ``unsupported`` those of a type that is not read.
    """

    model: ModelProto
    arrays: dict[str, NDArray[Any]]
    widened: frozenset[str]
    unsupported: tuple[str, ...]

    @property
    def graph(self) -> GraphProto:
        """The model's main graph."""
        return self.model.graph


def read_contents(path: Path) -> Contents:
    """Take a file apart; raises WeightsError if it is invalid, or its data are incomplete or outside its folder."""
    try:
        with path.open("rb") as file:
            model, spans = _skeleton(file)
            return _contents(path, file, model, spans)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    except InvalidFileError as error:
        raise WeightsError(f"{path}: is not a complete ONNX file ({error})") from None


class InvalidFileError(Exception):
    """A file, or a part of one, is invalid or incomplete."""


_Span: TypeAlias = tuple[int, int]
"""Where bytes begin and end in the file."""


# ---------------------------------------------------------------------------------------------------------------
# The message


class _Field(NamedTuple):
    """A field of a message: its number, where it and its value begin, where it ends, and whether it has a length."""

    number: int
    start: int
    value: int
    end: int
    has_length: bool


class _Walk:
    """Goes through a file field by field. It reads and does not map: a file may change meanwhile."""

    def __init__(self, file: BufferedReader) -> None:
        self.file = file
        self.size = file.seek(0, 2)
        self.remaining_fields = MAX_FIELDS

    def read(self, start: int, end: int) -> bytes:
        self.file.seek(start)
        data = self.file.read(end - start)
        if len(data) < end - start:
            raise InvalidFileError(f"it ends at byte {start + len(data)}")
        return data

    def fields(self, start: int, end: int) -> Iterator[_Field]:
        while start < end:
            self.remaining_fields -= 1
            if self.remaining_fields < 0:
                raise InvalidFileError(f"it has more than {MAX_FIELDS} fields")
            key, value = self._varint(start, end)
            wire_type, length = key & 7, 0
            if wire_type == 0:
                _, after = self._varint(value, end)
            elif wire_type == 2:
                length, value = self._varint(value, end)
                after = value + length
            elif wire_type in (1, 5):
                after = value + (8 if wire_type == 1 else 4)
            else:
                raise InvalidFileError(f"no field begins at byte {start}")
            if after > end:
                raise InvalidFileError(f"it ends at byte {end}, inside a field of {after - start} bytes")
            yield _Field(key >> 3, start, value, after, wire_type == 2)
            start = after

    def _varint(self, start: int, end: int) -> tuple[int, int]:
        value = 0
        for index, byte in enumerate(self.read(start, min(start + 10, end))):
            value |= (byte & 127) << 7 * index
            if byte < 128:
                return value, start + index + 1
        raise InvalidFileError(f"no number begins at byte {start}")


def _skeleton(file: BufferedReader) -> tuple[ModelProto, list[_Span | None]]:
    """Return the model without its initializers' raw bytes, and the span of those for each initializer."""
    walk = _Walk(file)
    if not walk.size:
        raise InvalidFileError("it is empty")
    model = ModelProto()
    try:
        graphs = _parse_except(walk, walk.fields(0, walk.size), model, "graph")
        model.graph.SetInParent()
        tensors = [_parse_except(walk, walk.fields(*span), model.graph, "initializer") for span in graphs]
        spans = [_parse_tensor(walk, span, model.graph.initializer.add()) for parts in tensors for span in parts]
    except DecodeError as error:
        raise InvalidFileError(str(error)) from None
    if not graphs:
        raise InvalidFileError("it has no graph")
    return model, spans


def _parse_tensor(walk: _Walk, span: _Span, tensor: TensorProto) -> _Span | None:
    # In protobuf the last of two fields of one number counts.
    return next(reversed(_parse_except(walk, walk.fields(*span), tensor, "raw_data")), None)


def _parse_except(walk: _Walk, fields: Iterable[_Field], message: Message, name: str) -> list[_Span]:
    """Parse fields into a message, except those of one name; return the spans of those."""
    number = message.DESCRIPTOR.fields_by_name[name].number
    pieces: list[bytes] = []
    spans: list[_Span] = []
    for field in fields:
        if field.number == number and field.has_length:
            spans.append((field.value, field.end))
        else:
            pieces.append(walk.read(field.start, field.end))
    message.MergeFromString(b"".join(pieces))
    return spans


# ---------------------------------------------------------------------------------------------------------------
# The tensors


def _contents(path: Path, file: BufferedReader, model: ModelProto, spans: Sequence[_Span | None]) -> Contents:
    _check_names(model)
    arrays: dict[str, NDArray[Any]] = {}
    unsupported: list[str] = []
    for span, tensor in zip(spans, model.graph.initializer, strict=True):
        name = tensor.name
        if name in arrays or name in unsupported:
            raise InvalidFileError(f"two initializers are named {name!r}")
        if tensor.data_type not in RAW_TYPES:
            unsupported.append(name)
            continue
        if any(dimension < 0 for dimension in tensor.dims):
            raise InvalidFileError(f"{name!r} has the shape {list(tensor.dims)}")
        if tensor.data_location == TensorProto.EXTERNAL:
            arrays[name] = _external_array(path, name, tensor)
        elif span is not None:
            arrays[name] = _raw_array(file, name, tensor, span)
        else:
            arrays[name] = array_of(tensor)
    widened = frozenset(t.name for t in model.graph.initializer if t.data_type == TensorProto.BFLOAT16)
    return Contents(model, arrays, widened, tuple(unsupported))


def _check_names(model: ModelProto) -> None:
    """Raise InvalidFileError for a name that is not UTF-8, which protobuf's library returns as bytes."""
    graph = model.graph
    named = (*graph.initializer, *graph.input, *graph.output)
    names: list[Any] = [value.name for value in named]
    names += [name for node in graph.node for name in (node.name, node.op_type, node.domain, *node.input, *node.output)]
    names += [text for entry in model.metadata_props for text in (entry.key, entry.value)]
    if not all(isinstance(name, str) for name in names):
        raise InvalidFileError("a name is not valid UTF-8")


def _byte_count(tensor: TensorProto) -> int:
    return prod(tensor.dims) * np.dtype(RAW_TYPES[tensor.data_type]).itemsize


def _raw_array(file: BufferedReader, name: str, tensor: TensorProto, span: _Span) -> NDArray[Any]:
    start, length = span[0], span[1] - span[0]
    if _byte_count(tensor) != length:
        raise InvalidFileError(f"{name!r} has {length} bytes, but its shape {list(tensor.dims)} needs another number")
    try:
        array = np.empty(tuple(tensor.dims), RAW_TYPES[tensor.data_type])
    except ValueError as error:
        raise InvalidFileError(f"{name!r}: {error}") from None
    file.seek(start)
    if length and file.readinto(array.reshape(-1).view(np.uint8).data) != length:
        raise InvalidFileError(f"it ends inside {name!r}")
    return widen_bfloat16(array) if tensor.data_type == TensorProto.BFLOAT16 else array


def array_of(tensor: TensorProto) -> NDArray[Any]:
    """Return a small tensor that was parsed whole; raises InvalidFileError if its data do not fit its shape."""
    if tensor.data_type not in RAW_TYPES or tensor.data_location == TensorProto.EXTERNAL:
        raise InvalidFileError(f"{tensor.name!r} has a type that is not supported, or external data")
    try:
        array: NDArray[Any] = numpy_helper.to_array(tensor)
    # Each type is in another list, and each of those fails in its own way if it is too short.
    except Exception as error:
        raise InvalidFileError(f"{tensor.name!r}: {error}") from None
    return widen_bfloat16(array) if tensor.data_type == TensorProto.BFLOAT16 else array


def _external_array(path: Path, name: str, tensor: TensorProto) -> NDArray[Any]:
    """Read a tensor whose bytes are in another file of the model's folder."""
    settings = {entry.key: entry.value for entry in tensor.external_data}
    location = settings.get("location", "")
    where = f"{path}: {name}"
    try:
        data_path = path.parent / location
        if not location or not inside(path.parent, data_path):
            raise WeightsError(Problem(f"refused: its data file {location!r} is outside the model's folder", where))
        size = _byte_count(tensor)
        start, length = int(settings.get("offset", 0)), int(settings.get("length", size))
        with data_path.open("rb") as file:
            available = file.seek(0, 2)
            if start < 0 or length != size or start + length > available:
                raise WeightsError(
                    Problem(f"its data ({size} bytes at byte {start} of {location}) are incomplete", where)
                )
            return _raw_array(file, name, tensor, (start, start + length))
    except ValueError as error:
        raise InvalidFileError(f"{name!r}: {error}") from None
    except OSError as error:
        raise WeightsError(Problem(f"its data file {location} cannot be read ({error.strerror})", where)) from None
