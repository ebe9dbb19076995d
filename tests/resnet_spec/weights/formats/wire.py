"""Writes protobuf messages field by field, for files of formats whose own libraries are not installed."""

from __future__ import annotations

import struct
from collections.abc import Iterable


def varint(value: int) -> bytes:
    """A number of variable length; a negative one as its two's complement of 64 bits."""
    value &= 2**64 - 1
    pieces = bytearray()
    while value > 127:
        pieces.append(value & 127 | 128)
        value >>= 7
    return bytes([*pieces, value])


def number(field: int, value: int) -> bytes:
    """A field that is a number."""
    return varint(field << 3) + varint(value)


def data(field: int, *content: bytes | str) -> bytes:
    """A field that is text, bytes or a message."""
    joined = b"".join(part.encode() if isinstance(part, str) else part for part in content)
    return varint(field << 3 | 2) + varint(len(joined)) + joined


def floats(field: int, values: Iterable[float]) -> bytes:
    """A repeated field of float32, of which each number is a field of its own, as before it was packed."""
    return b"".join(varint(field << 3 | 5) + struct.pack("<f", value) for value in values)
