"""MXNet's ``.params``: arrays one after another, then their names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from resnet_spec.backend.checkpoint import Checkpoint, widen_bfloat16
from resnet_spec.errors import WeightsError
from resnet_spec.weights.formats.binary import BinaryFile, InvalidFileError, byte_count, reporting
from resnet_spec.weights.formats.detection import MXNET

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION_1, VERSION_2, VERSION_3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
"""The first number of an array; before version 1 it is the number of its axes."""

MAX_AXES = 32

MAX_NAME = 4096

SMALLEST_RECORD = 4
"""The least bytes of an array's record: that of an array without a shape before version 1."""

DENSE = 0

BFLOAT16 = 12

DTYPES = {
    0: "<f4",
    1: "<f8",
    2: "<f2",
    3: "u1",
    4: "<i4",
    5: "i1",
    6: "<i8",
    7: "?",
    8: "<i2",
    9: "<u2",
    10: "<u4",
    11: "<u8",
    # Its bits, since NumPy has no such type.
    BFLOAT16: "<u2",
}
"""What NumPy calls the format's types of numbers."""

PREFIXES = ("arg:", "aux:")
"""What a network's parameters and its running statistics are marked with where it is saved with its symbol."""


def read_mxnet(path: Path, *, mmap: bool = False) -> Checkpoint:
    """Every array of a file by its name, without ``arg:`` and ``aux:``; bfloat16 is widened to float32.

    ``mmap`` has no effect: the arrays of the format are not aligned. Raises WeightsError.
    """
    with reporting(path, "is not a complete file of MXNet's parameters"), path.open("rb") as file:
        reader = _Reader(file)
        if reader.take(len(MXNET)) != MXNET:
            raise InvalidFileError("it does not begin as one")
        arrays = [reader.array(number) for number in range(reader.count(SMALLEST_RECORD))]
        names = [reader.name() for _ in range(reader.count(8))]
        if reader.position != reader.file.size:
            raise InvalidFileError(f"it goes on after byte {reader.position}")
        return _checkpoint(arrays, names)


def _checkpoint(arrays: list[tuple[NDArray[Any], bool] | None], names: list[str]) -> Checkpoint:
    if not names and arrays:
        raise WeightsError("its arrays have no names; save a dictionary, or a block by save_parameters")
    if len(names) != len(arrays):
        raise InvalidFileError(f"it has {len(arrays)} arrays and {len(names)} names")
    bare = [name[4:] if name.startswith(PREFIXES) else name for name in names]
    if len({*bare}) < len(bare):
        raise InvalidFileError("two arrays have one name")
    if empty := [name for name, array in zip(bare, arrays, strict=True) if array is None]:
        more = f" and {len(empty) - 1} more arrays have" if empty[1:] else " has"
        raise WeightsError(f"{empty[0]}{more} no values: the network was not initialized before it was saved")
    stored = {name: array for name, array in zip(bare, arrays, strict=True) if array is not None}
    tensors = {name: array for name, (array, _) in stored.items()}
    return Checkpoint(tensors, widened=frozenset(name for name, (_, widened) in stored.items() if widened))


class _Reader:
    """Reads a file from its beginning to its end."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = BinaryFile(file)
        self.position = 0

    def take(self, length: int) -> bytes:
        self.position += length
        return self.file.read(self.position - length, self.position)

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def count(self, smallest: int) -> int:
        """How many records follow; raises InvalidFileError if the file has no room for so many."""
        count = self.number(8)
        if count * smallest > self.file.size - self.position:
            raise InvalidFileError(f"it claims {count:,} records, for which it is too short")
        return count

    def name(self) -> str:
        length = self.number(8)
        if length > MAX_NAME:
            raise InvalidFileError(f"it has a name of {length:,} bytes")
        return self.take(length).decode("utf-8")

    def array(self, place: int) -> tuple[NDArray[Any], bool] | None:
        """The next array, and whether it was widened; None for one that is not initialized."""
        name = f"array {place}"
        version = self.number(4)
        if version in {VERSION_2, VERSION_3} and (kind := self.number(4, signed=True)) != DENSE:
            raise WeightsError(f"{name} is sparse (storage type {kind}), which is not supported")
        shape = self._shape(name, version)
        if shape is None:
            return None
        # The device that it was on.
        self.take(8)
        code = self.number(4, signed=True)
        if code not in DTYPES:
            raise WeightsError(f"{name} has the type {code}, which is not supported")
        start = self.position
        self.position += byte_count(name, DTYPES[code], shape)
        array = self.file.array(name, start, self.position, DTYPES[code], shape)
        return (widen_bfloat16(array), True) if code == BFLOAT16 else (array, False)

    def _shape(self, name: str, version: int) -> tuple[int, ...] | None:
        versioned = version in {VERSION_1, VERSION_2, VERSION_3}
        axes = self.number(4, signed=True) if versioned else version
        # A scalar, and a shape that is not known, have been told apart since version 3.
        if axes == (-1 if version == VERSION_3 else 0):
            return None
        if not 0 <= axes <= MAX_AXES:
            raise InvalidFileError(f"{name} has {axes} axes")
        return tuple(self.number(8, signed=True) if versioned else self.number(4) for _ in range(axes))
