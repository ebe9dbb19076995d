"""Walks through a protobuf message in a file, field by field, so that weights are read once, into their arrays.

A message is fields one after another, each a key and, except for numbers, a length. Protobuf's library would hold
everything twice, and must know every field in advance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

from resnet_spec.weights.formats.binary import BinaryFile, InvalidFileError, byte_count

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

MAX_FIELDS = 2**22
"""The most fields of a file; walking through more would take minutes."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""What the bytes of a field are, by the last three bits of its key."""

Span: TypeAlias = tuple[int, int]
"""Where bytes begin and end in the file."""


class Field(NamedTuple):
    """A field of a message.

    ``number`` and ``kind`` are from its key, ``start`` is where that begins, ``value`` where its value begins (without
    its length) and ``end`` where it ends; ``integer`` is its value if it is a number of variable length, else 0.
    """

    number: int
    kind: int
    start: int
    value: int
    end: int
    integer: int

    @property
    def span(self) -> Span:
        """Where its value is."""
        return self.value, self.end


class Walk(BinaryFile):
    """Goes through a message in a file; raises InvalidFileError where no message is."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.remaining_fields = MAX_FIELDS

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message between two places of the file."""
        while start < end:
            self.remaining_fields -= 1
            if self.remaining_fields < 0:
                raise InvalidFileError(f"it has more than {MAX_FIELDS} fields")
            key, value = self._varint(start, end)
            kind, integer = key & 7, 0
            if kind == VARINT:
                unsigned, after = self._varint(value, end)
                integer = _signed(unsigned)
            elif kind == BYTES:
                length, value = self._varint(value, end)
                after = value + length
            elif kind in (FIXED64, FIXED32):
                after = value + (8 if kind == FIXED64 else 4)
            else:
                raise InvalidFileError(f"no field begins at byte {start}")
            if after > end:
                raise InvalidFileError(f"it ends at byte {end}, inside a field of {after - start} bytes")
            yield Field(key >> 3, kind, start, value, after, integer)
            start = after

    def text(self, field: Field) -> str:
        """The text of a field; raises InvalidFileError if it is none."""
        try:
            return self.read(*field.span).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidFileError("a name is not valid UTF-8") from None

    def integers(self, field: Field) -> Iterator[int]:
        """The numbers of a repeated field, which has one of them or, packed, several."""
        if field.kind == VARINT:
            yield field.integer
            return
        start, end = field.span
        while start < end:
            self.remaining_fields -= 1
            if self.remaining_fields < 0:
                raise InvalidFileError(f"it has more than {MAX_FIELDS} fields")
            value, start = self._varint(start, end)
            yield _signed(value)

    def _varint(self, start: int, end: int) -> tuple[int, int]:
        value = 0
        for index, byte in enumerate(self.read(start, min(start + 10, end))):
            value |= (byte & 127) << 7 * index
            if byte < 128:
                return value, start + index + 1
        raise InvalidFileError(f"no number begins at byte {start}")


class Numbers:
    """The numbers of fixed size of a repeated field, packed in one piece or each a field."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self._span: Span | None = None
        self._data = bytearray()

    def add(self, field: Field) -> None:
        """Add what one field of the message has."""
        if field.kind == BYTES and self._span is None and not self._data:
            self._span = field.span
            return
        if self._span is not None:
            self._data += self.walk.read(*self._span)
            self._span = None
        self._data += self.walk.read(*field.span)

    def array(self, name: str, dtype: DTypeLike, shape: Sequence[int]) -> NDArray[Any]:
        """An array of a shape that has all of them, read at once if they are in one piece."""
        if self._span is not None:
            return self.walk.array(name, *self._span, dtype, shape)
        if byte_count(name, dtype, shape) != len(self._data):
            message = f"has {len(self._data)} bytes, but its shape {list(shape)} needs another number"
            raise InvalidFileError(f"{name!r} {message}")
        return self.vector(dtype).reshape(shape)

    def vector(self, dtype: DTypeLike) -> NDArray[Any]:
        """All of them, whatever their number."""
        import numpy as np

        return np.frombuffer(self._data if self._span is None else bytearray(self.walk.read(*self._span)), dtype)


def _signed(value: int) -> int:
    """A number of 64 bits; a negative one is written as its two's complement."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value
