"""An ONNX file taken apart: the model without its weights' bytes, and the weights, each read once and straight.

A file is a protobuf message: fields one after another, each with a key and, but for numbers, its length. Protobuf's
library would hold all of it twice, so it is given everything but the raw bytes of initializers, which stay in the file.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError, Message
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

from resnet_spec.errors import Problem, WeightsError
from resnet_spec.weights.formats.detection import inside

if TYPE_CHECKING:
    from numpy.typing import NDArray

STORED: Mapping[int, str] = {
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
"""How each type that is read lies in raw bytes; bfloat16 is the upper half of a float32."""

REALS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)

MAX_FIELDS = 2**22
"""Fields that are walked through, which takes seconds for more."""


@dataclass(frozen=True)
class Contents:
    """A model whose initializers have no raw data, and their arrays by name.

    ``widened`` names those that the file has as bfloat16, ``unread`` those of a type that is not read.
    """

    model: ModelProto
    arrays: dict[str, NDArray[Any]]
    widened: frozenset[str]
    unread: tuple[str, ...]

    @property
    def graph(self) -> GraphProto:
        """The model's main graph."""
        return self.model.graph


def read_contents(path: Path) -> Contents:
    """Take a file apart; raises WeightsError where it is broken, or its data are not whole or lie out of its folder."""
    try:
        with path.open("rb") as file:
            model, places = _skeleton(file)
            return _contents(path, file, model, places)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    except BrokenError as error:
        raise WeightsError(f"{path}: is not a whole ONNX file ({error})") from None


class BrokenError(Exception):
    """A file, or a part of one, is not whole."""


_Place: TypeAlias = tuple[int, int]
"""Where bytes begin and end in the file."""


# ---------------------------------------------------------------------------------------------------------------
# The message


class _Field(NamedTuple):
    """A field of a message: its number and where it, its value and the next one begin; ``nested`` has a length."""

    number: int
    start: int
    value: int
    end: int
    nested: bool


class _Walk:
    """The bytes of a file, walked through field by field."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.left = MAX_FIELDS

    def fields(self, start: int, end: int) -> Iterator[_Field]:
        while start < end:
            self.left -= 1
            if self.left < 0:
                raise BrokenError(f"it has more than {MAX_FIELDS} fields")
            key, value = self._number(start, end)
            kind, length = key & 7, 0
            if kind == 0:
                _, after = self._number(value, end)
            elif kind == 2:
                length, value = self._number(value, end)
                after = value + length
            elif kind in (1, 5):
                after = value + (8 if kind == 1 else 4)
            else:
                raise BrokenError(f"no field begins at byte {start}")
            if after > end:
                raise BrokenError(f"it ends at byte {end}, amid a field of {after - start} bytes")
            yield _Field(key >> 3, start, value, after, kind == 2)
            start = after

    def _number(self, start: int, end: int) -> tuple[int, int]:
        value = 0
        for place, byte in enumerate(self.data[start : min(start + 10, end)]):
            value |= (byte & 127) << 7 * place
            if byte < 128:
                return value, start + place + 1
        raise BrokenError(f"no number begins at byte {start}")


def _skeleton(file: Any) -> tuple[ModelProto, list[_Place | None]]:
    """The model without its initializers' raw bytes, and for each initializer where those are."""
    try:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise BrokenError("it is empty") from None
    model = ModelProto()
    try:
        with data:
            walk = _Walk(data)
            graphs = _split(walk, walk.fields(0, len(data)), model, "graph")
            model.graph.SetInParent()
            parts = [_split(walk, walk.fields(*span), model.graph, "initializer") for span in graphs]
            places = [_tensor(walk, span, model.graph.initializer.add()) for spans in parts for span in spans]
    except DecodeError as error:
        raise BrokenError(str(error)) from None
    if not graphs:
        raise BrokenError("it has no graph")
    return model, places


def _tensor(walk: _Walk, span: _Place, tensor: TensorProto) -> _Place | None:
    # Of a field that is there twice, the last one counts.
    return next(reversed(_split(walk, walk.fields(*span), tensor, "raw_data")), None)


def _split(walk: _Walk, fields: Iterable[_Field], message: Message, name: str) -> list[_Place]:
    """Read the fields of a message, but for those of one name; where those begin and end."""
    number = message.DESCRIPTOR.fields_by_name[name].number
    pieces: list[bytes] = []
    places: list[_Place] = []
    for field in fields:
        if field.number == number and field.nested:
            places.append((field.value, field.end))
        else:
            pieces.append(walk.data[field.start : field.end])
    message.MergeFromString(b"".join(pieces))
    return places


# ---------------------------------------------------------------------------------------------------------------
# The tensors


def _contents(path: Path, file: Any, model: ModelProto, places: Sequence[_Place | None]) -> Contents:
    _check_names(model)
    arrays: dict[str, NDArray[Any]] = {}
    unread: list[str] = []
    for place, tensor in zip(places, model.graph.initializer, strict=True):
        name = tensor.name
        if name in arrays or name in unread:
            raise BrokenError(f"two initializers are called {name!r}")
        if tensor.data_type not in STORED:
            unread.append(name)
            continue
        if any(dimension < 0 for dimension in tensor.dims):
            raise BrokenError(f"{name!r} has the shape {list(tensor.dims)}")
        if tensor.data_location == TensorProto.EXTERNAL:
            arrays[name] = _external(path, name, tensor)
        elif place is not None:
            arrays[name] = _raw(file, name, tensor, place)
        else:
            arrays[name] = typed(tensor)
    widened = frozenset(t.name for t in model.graph.initializer if t.data_type == TensorProto.BFLOAT16)
    return Contents(model, arrays, widened, tuple(unread))


def _check_names(model: ModelProto) -> None:
    """Raise BrokenError where a name is not UTF-8, which protobuf's library gives as bytes."""
    graph = model.graph
    named = (*graph.initializer, *graph.input, *graph.output)
    names: list[Any] = [value.name for value in named]
    names += [name for node in graph.node for name in (node.name, node.op_type, node.domain, *node.input, *node.output)]
    names += [word for entry in model.metadata_props for word in (entry.key, entry.value)]
    if not all(isinstance(name, str) for name in names):
        raise BrokenError("a name is no text")


def _raw(file: Any, name: str, tensor: TensorProto, place: _Place) -> NDArray[Any]:
    start, length = place[0], place[1] - place[0]
    dtype = np.dtype(STORED[tensor.data_type])
    if prod(tensor.dims) * dtype.itemsize != length:
        raise BrokenError(f"{name!r} has {length} bytes, and its shape {list(tensor.dims)} asks for others")
    try:
        array = np.empty(tuple(tensor.dims), dtype)
    except ValueError as error:
        raise BrokenError(f"{name!r}: {error}") from None
    file.seek(start)
    if length and file.readinto(array.reshape(-1).view(np.uint8).data) != length:
        raise BrokenError(f"it ends amid {name!r}")
    return _widened(array, tensor.data_type)


def _widened(array: NDArray[Any], kind: int) -> NDArray[Any]:
    return (array.astype(np.uint32) << 16).view(np.float32) if kind == TensorProto.BFLOAT16 else array


def typed(tensor: TensorProto) -> NDArray[Any]:
    """A small tensor that lies in its message; raises ValueError where its data do not fill its shape."""
    if tensor.data_type not in STORED or tensor.data_location == TensorProto.EXTERNAL:
        raise BrokenError(f"{tensor.name!r} is of a type that is not read here, or lies elsewhere")
    try:
        array: NDArray[Any] = numpy_helper.to_array(tensor)
    # Each type lies in another list, which fails in its own way where it is too short.
    except Exception as error:
        raise BrokenError(f"{tensor.name!r}: {error}") from None
    return array.astype(np.float32) if tensor.data_type == TensorProto.BFLOAT16 else array


def _external(path: Path, name: str, tensor: TensorProto) -> NDArray[Any]:
    """A tensor whose bytes lie in another file of the model's folder."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    location = said.get("location", "")
    try:
        place = path.parent / location
        if not location or not inside(path.parent, place):
            raise WeightsError(Problem(f"refused: its data lie outside the folder ({location!r})", f"{path}: {name}"))
        size = prod(tensor.dims) * np.dtype(STORED[tensor.data_type]).itemsize
        start, length = int(said.get("offset", 0)), int(said.get("length", size))
        with place.open("rb") as file:
            held = file.seek(0, 2)
            if start < 0 or length != size or start + length > held:
                wanted = f"{size} bytes at byte {start}"
                raise WeightsError(Problem(f"its data ({wanted} of {location}) are not there", f"{path}: {name}"))
            return _raw(file, name, tensor, (start, start + length))
    except ValueError as error:
        raise BrokenError(f"{name!r}: {error}") from None
    except OSError as error:
        raise WeightsError(
            Problem(f"its data ({location}) cannot be read ({error.strerror})", f"{path}: {name}")
        ) from None
