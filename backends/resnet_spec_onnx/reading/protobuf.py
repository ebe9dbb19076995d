"""Splits an ONNX file into the model without its weights' bytes and the weights, each read once into its array.

Protobuf's library would hold everything twice, so it is given everything except the raw bytes of initializers, which
stay in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError, Message
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

from resnet_spec.backend.checkpoint import widen_bfloat16
from resnet_spec.errors import Problem, WeightsError
from resnet_spec.weights.formats.binary import BinaryFile, InvalidFileError, byte_count
from resnet_spec.weights.formats.detection import inside
from resnet_spec.weights.formats.protobuf import BYTES, Field, Span, Walk

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

MAX_PARTS = 2**18
"""The most nodes, values and other parts of a file; the deepest known networks have some thousands."""


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
            walk = Walk(file)
            model, spans = _skeleton(walk)
            return _contents(path, walk, model, spans)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    except InvalidFileError as error:
        raise WeightsError(f"{path}: is not a complete ONNX file ({error})") from None


# ---------------------------------------------------------------------------------------------------------------
# The message


def _skeleton(walk: Walk) -> tuple[ModelProto, list[Span | None]]:
    """Return the model without its initializers' raw bytes, and the span of those for each initializer."""
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


def _parse_tensor(walk: Walk, span: Span, tensor: TensorProto) -> Span | None:
    # In protobuf the last of two fields of one number counts.
    return next(reversed(_parse_except(walk, walk.fields(*span), tensor, "raw_data")), None)


def _parse_except(walk: Walk, fields: Iterable[Field], message: Message, name: str) -> list[Span]:
    """Parse fields into a message, except those of one name; return the spans of those."""
    number = message.DESCRIPTOR.fields_by_name[name].number
    pieces: list[bytes] = []
    spans: list[Span] = []
    for field in fields:
        if field.number == number and field.kind == BYTES:
            spans.append(field.span)
        else:
            pieces.append(walk.read(field.start, field.end))
            if len(pieces) > MAX_PARTS:
                raise InvalidFileError(f"it has more than {MAX_PARTS} nodes and values")
    message.MergeFromString(b"".join(pieces))
    return spans


# ---------------------------------------------------------------------------------------------------------------
# The tensors


def _contents(path: Path, file: BinaryFile, model: ModelProto, spans: Sequence[Span | None]) -> Contents:
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
        # A shape that no array has is refused before protobuf's library sees it.
        _byte_count(tensor)
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
    return byte_count(tensor.name, RAW_TYPES[tensor.data_type], tensor.dims)


def _raw_array(file: BinaryFile, name: str, tensor: TensorProto, span: Span) -> NDArray[Any]:
    array = file.array(name, *span, RAW_TYPES[tensor.data_type], tensor.dims)
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
        with data_path.open("rb") as content:
            file = BinaryFile(content)
            if start < 0 or length != size or start + length > file.size:
                raise WeightsError(
                    Problem(f"its data ({size} bytes at byte {start} of {location}) are incomplete", where)
                )
            return _raw_array(file, name, tensor, (start, start + length))
    except ValueError as error:
        raise InvalidFileError(f"{name!r}: {error}") from None
    except OSError as error:
        raise WeightsError(Problem(f"its data file {location} cannot be read ({error.strerror})", where)) from None
