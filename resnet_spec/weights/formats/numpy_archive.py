"""NumPy's archives: a zip archive with a member for each array (``numpy.savez``), read without unpickling anything."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import WeightsError, listed, shown
from resnet_spec.weights.formats.binary import reporting
from resnet_spec.weights.formats.buffers import read_aligned, refuse_bomb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ENDING = ".npy"

_KINDS = "fiubc"
"""Kinds of NumPy's types whose content is numbers."""

_ADVICE = "save the arrays by name: numpy.savez(PATH, **arrays)"


def read_npz(path: Path, *, mmap: bool = False) -> Checkpoint:
    """Return every array of an archive by its name; ``mmap`` has no effect, since its arrays are not aligned.

    What is not an array of numbers is left out with a remark: an array of Python objects, which is a pickle, or of
    text, and a member that is not an array.

    Raises WeightsError for an archive that is broken, unpacks to more than it can hold, or has no arrays of numbers.
    """
    arrays: dict[str, NDArray[Any]] = {}
    unreadable: dict[str, str] = {}
    others: dict[str, str] = {}
    with reporting(path, "is not a whole NumPy archive"), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            refuse_bomb(member.filename, member.file_size, member.compress_size)
        refuse_bomb("the whole", sum(member.file_size for member in members), path.stat().st_size)
        for member in members:
            name = member.filename.removesuffix(_ENDING)
            if name == member.filename:
                others[name] = "another file"
                continue
            if name in arrays or name in unreadable:
                raise WeightsError(f"two arrays are named {name}")
            with archive.open(member) as content:
                array = _read_array(content, member.file_size)
            if isinstance(array, str):
                unreadable[name] = array
            else:
                arrays[name] = array
    if not arrays:
        what = f"only {next(iter(unreadable.values()))}" if unreadable else "no arrays"
        raise WeightsError(f"{path}: holds {what}; {_ADVICE}")
    others |= unreadable
    what = listed(f"{shown(name)} ({kind})" for name, kind in others.items())
    remarks = (f"left out, since they are not arrays of numbers: {what}",) if others else ()
    return Checkpoint(arrays, unreadable=unreadable, remarks=remarks)


def _read_array(content: Any, size: int) -> NDArray[Any] | str:
    """Return the array of a member, or what it holds instead of numbers."""
    shape, column_major, dtype = _header(content)
    if dtype.kind not in _KINDS or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        return "Python objects" if dtype.hasobject else "text" if dtype.kind in "US" else f"NumPy's {dtype.name}"
    length = prod(shape) * dtype.itemsize
    if length != size - content.tell():
        raise ValueError("the shape and the size of an array differ")
    array = read_aligned(content, length).view(dtype).reshape(shape, order="F" if column_major else "C")
    # Reading to the end checks the checksum.
    content.read(1)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _header(content: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape of an array, whether its first axis is contiguous, and its type."""
    from numpy.lib import format as numpy_format

    version = numpy_format.read_magic(content)
    if version == (1, 0):
        return numpy_format.read_array_header_1_0(content)
    if version == (2, 0):
        return numpy_format.read_array_header_2_0(content)
    raise ValueError("it is in an unknown version of NumPy's format")


def read_npy(path: Path, *, mmap: bool = False) -> Checkpoint:
    """Raise WeightsError: a single array has no name, and a dictionary of arrays is a pickle in it."""
    try:
        with path.open("rb") as file:
            _, _, dtype = _header(file)
    except Exception:
        raise WeightsError(f"{path}: is not a whole NumPy file") from None
    if dtype.hasobject:
        raise WeightsError(
            f"{path}: refused: it is a pickled Python object, whose loading would run code; if you trust it, save its "
            "arrays by name: numpy.savez(PATH, **numpy.load(FILE, allow_pickle=True).item())"
        )
    raise WeightsError(f"{path}: is a single array without a name; {_ADVICE}")


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]], *, dtype: str | None = None) -> None:
    """Write arrays straight to ``path`` as ``numpy.load`` reads them, never more than one of them copied at a time.

    They are written as they are, or those with fractions as ``dtype``.
    """
    import numpy as np
    from numpy.lib import format as numpy_format

    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            # Without the time of writing, so that the same arrays give the same file.
            with archive.open(zipfile.ZipInfo(f"{name}{_ENDING}"), "w", force_zip64=True) as member:
                array = np.asarray(array, dtype if array.dtype.kind == "f" else None, order="C")
                numpy_format.write_array(member, array, allow_pickle=False)
