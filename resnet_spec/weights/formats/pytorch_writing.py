"""Writes named arrays as PyTorch's zip archive, without PyTorch: a pickle, and the bytes of each tensor beside it.

The pickle is put together by opcode, since Python's pickler would have to import what it names.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.errors import Problem, WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
"""PyTorch's class of storage for NumPy's types of numbers."""

_ALIGNMENT = 64
_LOCAL_HEADER = 30
"""Bytes of an archive's header before a member's name."""


def write_state_dict(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a new file that ``torch.load(path, weights_only=True)`` reads as a dict of tensors.

    Raises WeightsError if PyTorch has no such type of numbers.
    """
    import numpy as np

    unknown = [name for name, array in arrays.items() if array.dtype.name not in STORAGES]
    if unknown:
        raise WeightsError([Problem(f"PyTorch has no type {arrays[name].dtype.name}", name) for name in unknown])
    root = "archive"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, f"{root}/data.pkl", b"".join(_pickled(arrays)))
        _add(archive, f"{root}/byteorder", b"little")
        for index, array in enumerate(arrays.values()):
            # ascontiguousarray would turn a scalar into a vector.
            little = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
            _add(archive, f"{root}/data/{index}", little.tobytes())
        _add(archive, f"{root}/version", b"3\n")


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a member whose bytes start at a multiple of the alignment, so that a memory map can be used as it is."""
    # One date for all, so that equal weights make equal files.
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    assert archive.fp is not None  # noqa: S101 - it is open
    start = archive.fp.tell() + _LOCAL_HEADER + len(name)
    padding = -start % _ALIGNMENT
    # An extra field has a header of four bytes.
    padding += _ALIGNMENT if 0 < padding < 4 else 0
    if padding:
        info.extra = b"FB" + (padding - 4).to_bytes(2, "little") + b"Z" * (padding - 4)
    archive.writestr(info, content)


def _pickled(arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes]:
    """A pickle, in protocol 2, of a dict of tensors whose storages are the archive's members by their index."""
    yield b"\x80\x02}("
    for index, (name, array) in enumerate(arrays.items()):
        yield _text(name)
        yield b"ctorch._utils\n_rebuild_tensor_v2\n(("
        storage = STORAGES[array.dtype.name].encode()
        yield _text("storage") + b"ctorch\n" + storage + b"\n" + _text(str(index)) + _text("cpu") + _number(array.size)
        # A persistent identifier, then offset, shape, strides, requires_grad and hooks.
        yield b"tQ" + _number(0) + _numbers(array.shape) + _numbers(_strides(array.shape))
        yield b"\x89ccollections\nOrderedDict\n)RtR"
    yield b"u."


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def _text(text: str) -> bytes:
    content = text.encode()
    return b"X" + len(content).to_bytes(4, "little") + content


def _numbers(numbers: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_number, numbers)) + b"t"


def _number(number: int) -> bytes:
    if number < 2**31:
        return b"J" + number.to_bytes(4, "little")
    return b"\x8a\x08" + number.to_bytes(8, "little")
