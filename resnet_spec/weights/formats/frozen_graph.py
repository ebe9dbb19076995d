"""A frozen TensorFlow graph (``.pb``): the constants among its nodes, read from protobuf; nothing is executed."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.checkpoint import Checkpoint, widen_bfloat16
from resnet_spec.errors import WeightsError
from resnet_spec.weights.formats.binary import InvalidFileError, byte_count, reporting
from resnet_spec.weights.formats.protobuf import BYTES, VARINT, Field, Numbers, Span, Walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

NODE = 1
"""The field of a graph that has its nodes."""

NAME, OPERATION, ATTRIBUTE = 1, 2, 5
"""Fields of a node."""

KEY, VALUE = 1, 2
"""Fields of an attribute."""

TENSOR, DIMENSION = 8, 2
"""Fields of an attribute's value and of a shape."""

DTYPE, SHAPE, CONTENT, HALVES = 1, 2, 4, 13
"""Fields of a tensor: its type, its shape, its bytes, and the bits of numbers of 16 bits, each in a number."""

BFLOAT16 = 14

FLOATS = {1: ("<f4", 5), 2: ("<f8", 6), 19: ("<f2", HALVES), BFLOAT16: ("<u2", HALVES)}
"""Types of numbers with NumPy's name, and the field that has the numbers if their bytes are not in ``CONTENT``."""

MAX_AXES = 32

SMALL = 2**20
"""Bytes to which constants may grow that have fewer numbers than their shape needs, beyond the file's own size."""


def read_frozen_graph(path: Path, *, mmap: bool = False) -> Checkpoint:
    """Every constant of floating-point numbers with at least one axis, by its node's name; bfloat16 is widened.

    ``mmap`` has no effect: the numbers of the format are not aligned. Raises WeightsError.
    """
    with reporting(path, "is not a complete frozen graph of TensorFlow"), path.open("rb") as file:
        walk = Walk(file)
        constants = _Constants(walk, SMALL + walk.size)
        for node in walk.fields(0, walk.size):
            if node.number == NODE and node.kind == BYTES:
                constants.add(node)
        if not constants.tensors:
            raise WeightsError("holds no weights: none of its nodes is a constant of floating-point numbers")
        return Checkpoint(constants.tensors, widened=frozenset(constants.widened))


class _Constants:
    """The constants of a graph; ``room`` is how many bytes they may still have beyond those in the file."""

    def __init__(self, walk: Walk, room: int) -> None:
        self.walk = walk
        self.room = room
        self.tensors: dict[str, NDArray[Any]] = {}
        self.widened: set[str] = set()

    def add(self, node: Field) -> None:
        """Add a node if it is a constant."""
        name = operation = ""
        tensor: Span | None = None
        for part in self.walk.fields(*node.span):
            if part.kind == BYTES and part.number == NAME:
                name = self.walk.text(part)
            elif part.kind == BYTES and part.number == OPERATION:
                operation = self.walk.text(part)
            elif part.kind == BYTES and part.number == ATTRIBUTE:
                tensor = self._value(part) or tensor
        if operation != "Const" or tensor is None:
            return
        if name in self.tensors:
            raise InvalidFileError(f"two nodes are named {name!r}")
        self._add_tensor(name, tensor)

    def _value(self, attribute: Field) -> Span | None:
        """The tensor of an attribute named ``value``."""
        key, tensor = "", None
        for part in self.walk.fields(*attribute.span):
            if part.kind == BYTES and part.number == KEY:
                key = self.walk.text(part)
            elif part.kind == BYTES and part.number == VALUE:
                fields = self.walk.fields(*part.span)
                tensor = next((inner.span for inner in fields if inner.kind == BYTES and inner.number == TENSOR), None)
        return tensor if key == "value" else None

    def _add_tensor(self, name: str, span: Span) -> None:
        kind, shape, content = 0, (), None
        for part in self.walk.fields(*span):
            if part.number == DTYPE and part.kind == VARINT:
                kind = part.integer
            elif part.number == SHAPE and part.kind == BYTES:
                shape = tuple(self._shape(part))
            elif part.number == CONTENT and part.kind == BYTES and part.value < part.end:
                content = part.span
        if kind not in FLOATS or not shape:
            return
        if len(shape) > MAX_AXES:
            raise InvalidFileError(f"{name!r} has {len(shape)} axes")
        dtype, number = FLOATS[kind]
        array = (
            self.walk.array(name, *content, dtype, shape)
            if content
            else self._filled(name, self._numbers(span, dtype, number), shape)
        )
        if kind == BFLOAT16:
            array = widen_bfloat16(array)
            self.widened.add(name)
        self.tensors[name] = array

    def _shape(self, shape: Field) -> Iterator[int]:
        for dimension in self.walk.fields(*shape.span):
            # A length of 0 is not written.
            if dimension.number == DIMENSION and dimension.kind == BYTES:
                yield next((length.integer for length in self.walk.fields(*dimension.span) if length.number == 1), 0)

    def _numbers(self, span: Span, dtype: str, number: int) -> NDArray[Any]:
        import numpy as np

        parts = (part for part in self.walk.fields(*span) if part.number == number)
        if number == HALVES:
            bits = (bits & 0xFFFF for part in parts for bits in self.walk.integers(part))
            return np.fromiter(bits, "<u2").view(dtype)
        numbers = Numbers(self.walk)
        for part in parts:
            numbers.add(part)
        return numbers.vector(dtype)

    def _filled(self, name: str, stored: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """An array of which a file has only the first numbers; the last of these stands for all that follow it."""
        import numpy as np

        count, size = prod(shape), byte_count(name, stored.dtype, shape)
        if len(stored) > count:
            raise InvalidFileError(f"{name!r} has {len(stored)} numbers, but its shape is {list(shape)}")
        self.room -= size
        if self.room < 0:
            raise WeightsError(f"refused: {name} claims {size:,} bytes, of which the file holds {stored.nbytes:,}")
        array = np.full(count, stored[-1] if len(stored) else 0, stored.dtype)
        array[: len(stored)] = stored
        return array.reshape(shape)
