"""Flax's msgpack files: nested maps whose leaves are arrays, read and written without Flax."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

from resnet_spec.backend.checkpoint import Checkpoint, widen_bfloat16
from resnet_spec.errors import OutputError, Problem, WeightsError
from resnet_spec.errors.extras import needs
from resnet_spec.weights.adapting import counters_among
from resnet_spec.weights.formats.binary import InvalidFileError, byte_count, nothing_readable, reporting
from resnet_spec.weights.layouts import flax_path, tensorflow_axes
from resnet_spec.weights.matching import check_weights, too_large

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

Tree: TypeAlias = "dict[str, Tree | NDArray[Any]]"
"""Arrays by name in groups within groups."""

ARRAY, SCALAR = 1, 3
"""Flax's extensions of msgpack for an array and a NumPy scalar; the one for a complex number is not read."""

CHUNKED, SHAPE, CHUNKS = "__msgpack_chunked_array__", "shape", "chunks"
"""The keys of a map that is an array in several pieces: msgpack has no piece of 4 GiB."""

CHUNK = 2**30
"""Bytes of a piece, as many as in Flax."""

BFLOAT16 = "bfloat16"

DTYPES = {
    **{f"{kind}{bits}": f"<{kind[0]}{bits // 8}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    "complex64": "<c8",
    "complex128": "<c16",
    "bool": "?",
    # Its bits, since NumPy has no such type.
    BFLOAT16: "<u2",
}

MAX_AXES = 32

MAX_LIST, MAX_MAP, MAX_ENTRIES = 2**10, 2**13, 2**17
"""Entries of a list, of a map, and of all together."""

MAX_NAME = 1024
"""Bytes of the keys that lead to an array, and of any text."""


# -- reading -----------------------------------------------------------------------------------------------------


def read_flax(path: Path, *, mmap: bool = False) -> Checkpoint:
    """Every array by the keys that lead to it (``params/conv_init/kernel``); bfloat16 is widened to float32.

    Plain numbers and text are left out, and so are arrays of types that NumPy lacks, with their names. ``mmap`` has no
    effect: the arrays of the format are not aligned.

    Raises WeightsError.
    """
    with reporting(path, "is not a complete msgpack file of Flax"):
        tensors: dict[str, NDArray[Any]] = {}
        widened: set[str] = set()
        unreadable: dict[str, str] = {}
        for name, array, was_bfloat16 in _arrays(_unpacked(path)):
            if name in tensors or name in unreadable:
                raise InvalidFileError(f"two arrays are named {name!r}")
            if isinstance(array, str):
                unreadable[name] = array
                continue
            tensors[name] = array
            if was_bfloat16:
                widened.add(name)
        if not tensors:
            raise nothing_readable(unreadable, "arrays")
        return Checkpoint(tensors, widened=frozenset(widened), unreadable=unreadable)


@dataclass(frozen=True)
class _Packed:
    """An array that is not unpacked yet, so that its bytes and the file's are not kept together with it."""

    data: bytes


def _unpacked(path: Path) -> Any:
    """The maps and lists of a file; raises InvalidFileError for one that has more entries than any network."""
    entries = 0

    def counted(collection: Any) -> Any:
        nonlocal entries
        entries += len(collection)
        if entries > MAX_ENTRIES:
            raise InvalidFileError(f"it has more than {MAX_ENTRIES:,} entries")
        return collection

    def extension(code: int, data: bytes) -> Any:
        return _Packed(data) if code in {ARRAY, SCALAR} else None

    return _unpack(path.read_bytes(), ext_hook=extension, object_hook=counted, list_hook=counted)


def _unpack(content: bytes, **options: Any) -> Any:
    # The library makes room for a list before it reads it.
    limits = {"max_array_len": MAX_LIST, "max_map_len": MAX_MAP, "max_str_len": MAX_NAME}
    return _msgpack().unpackb(content, **limits, **options)


def _msgpack() -> Any:
    with needs("flax", "a Flax checkpoint"):
        import msgpack  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]

    return cast("Any", msgpack)


def _arrays(tree: Any) -> Iterator[tuple[str, NDArray[Any] | str, bool]]:
    """Every array of a tree with its name, and whether it was stored as bfloat16; the tree is empty afterwards.

    Of an array that cannot be read, the name of its type.
    """
    waiting: list[tuple[str, Any]] = [("", tree)]
    while waiting:
        path, value = waiting.pop()
        if len(path) > MAX_NAME:
            raise InvalidFileError("its maps are nested too deep")
        if isinstance(value, _Packed):
            yield path, *_array(path, value)
        elif isinstance(value, dict) and CHUNKED in value:
            yield path, *_joined(path, cast("dict[str, Any]", value))
        elif isinstance(value, dict | list):
            entries = [*_entries(cast("Any", value))]
            cast("Any", value).clear()
            waiting += [(f"{path}/{key}" if path else key, entry) for key, entry in reversed(entries)]


def _entries(collection: dict[Any, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    pairs = collection.items() if isinstance(collection, dict) else enumerate(collection)
    for key, value in pairs:
        yield key.decode() if isinstance(key, bytes) else str(key), value


def _array(name: str, packed: _Packed) -> tuple[NDArray[Any] | str, bool]:
    import numpy as np

    shape, word, data = _unpack(packed.data, raw=True)
    if not isinstance(data, bytes):
        raise InvalidFileError(f"{name!r} has no numbers")
    word = word.decode("ascii")
    if word not in DTYPES:
        return word[:40], False
    _check_size(name, shape, len(data), DTYPES[word])
    array = np.frombuffer(data, DTYPES[word]).reshape(shape)
    # A copy either way: that of bytes cannot be written to.
    return (widen_bfloat16(array), True) if word == BFLOAT16 else (array.copy(), False)


def _joined(name: str, pieces: Mapping[str, Any]) -> tuple[NDArray[Any] | str, bool]:
    """An array in several pieces."""
    import numpy as np

    shape, chunks = _in_order(pieces[SHAPE]), _in_order(pieces[CHUNKS])
    if not chunks or not all(isinstance(chunk, _Packed) for chunk in chunks):
        raise InvalidFileError(f"{name!r} has no numbers")
    read = [_array(name, chunk) for chunk in chunks]
    arrays = [array for array, _ in read if not isinstance(array, str)]
    if not arrays:
        return read[0]
    if len(arrays) < len(read) or len({array.dtype for array in arrays}) > 1:
        raise InvalidFileError(f"the pieces of {name!r} are of several types")
    whole = np.concatenate([array.reshape(-1) for array in arrays])
    _check_size(name, shape, whole.nbytes, whole.dtype.str)
    return whole.reshape(shape), read[0][1]


def _in_order(numbered: Mapping[str, Any]) -> list[Any]:
    """The values of a map whose keys are numbers from 0."""
    return [numbered[str(number)] for number in range(len(numbered))]


def _check_size(name: str, shape: Any, size: int, dtype: str) -> None:
    if not isinstance(shape, list) or len(cast("list[Any]", shape)) > MAX_AXES:
        raise InvalidFileError(f"{name!r} has no possible shape")
    lengths = cast("list[Any]", shape)
    if not all(type(length) is int for length in lengths) or byte_count(name, dtype, lengths) != size:
        raise InvalidFileError(f"{name!r} has {size} bytes, but its shape {lengths} needs another number")


# -- writing -----------------------------------------------------------------------------------------------------


def write_flax(path: Path, graph: Graph, arrays: Mapping[str, NDArray[Any]], *, half: bool = False) -> None:
    """Write arrays as ``flax.serialization.msgpack_restore`` reads them, under the graph's names in Flax's words.

    A layer ``layer1.0.conv1`` has its kernel, height and width first, as ``params/layer1/0/conv1/kernel``; statistics
    of normalizations are below ``batch_stats``, and so are PyTorch's counts of batches, which Flax leaves out when it
    restores a model. ``half`` rounds to half precision.

    Raises WeightsError if the arrays do not fit the graph, or are too large for half precision.
    """
    checked = check_weights(graph, arrays, "the arrays")
    if half and (problems := too_large(checked, "float16")):
        raise WeightsError([Problem("some values are too large for half precision"), *problems])
    arrays_by_path = {
        flax_path(p): checked[p.name].transpose(tensorflow_axes(p.role, len(p.shape))) for p in graph.parameters()
    }
    counters = {("batch_stats", *name.split(".")): count for name, count in counters_among(arrays).items()}
    _write_paths(path, arrays_by_path | counters, "float16" if half else None)


def write_named_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays under any names, whose dots and slashes become maps within maps, in the layout that they have."""
    _write_paths(path, {tuple(re.split(r"[./]", name)): array for name, array in arrays.items()})


def _write_paths(path: Path, arrays: Mapping[tuple[str, ...], NDArray[Any]], dtype: str | None = None) -> None:
    tree: Tree = {}
    for keys, array in arrays.items():
        _insert(tree, keys, array)
    with path.open("wb") as file:
        _write(file, tree, dtype)


def _insert(tree: Tree, path: tuple[str, ...], array: NDArray[Any]) -> None:
    group = tree
    for word in path[:-1]:
        inner = group.setdefault(word, {})
        if not isinstance(inner, dict):
            raise OutputError(f"{'/'.join(path)}: Flax cannot have a layer of this name within another's parameter")
        group = inner
    if path[-1] in group:
        raise OutputError(f"{'/'.join(path)}: Flax cannot have a parameter and a layer of one name")
    group[path[-1]] = array


def _write(file: BinaryIO, tree: Tree, dtype: str | None) -> None:
    """Write a tree piece by piece; no more than one array is copied at a time."""
    packer = _msgpack().Packer()
    file.write(packer.pack_map_header(len(tree)))
    for key, value in tree.items():
        file.write(packer.pack(key))
        if isinstance(value, dict):
            _write(file, value, dtype)
        else:
            final = dtype if dtype and value.dtype.kind == "f" else value.dtype
            _write_array(file, packer, value.astype(final, order="C", copy=False))


def _write_array(file: BinaryIO, packer: Any, array: NDArray[Any]) -> None:
    if array.nbytes <= CHUNK:
        file.write(_extension(packer, array))
        return
    count = CHUNK // array.itemsize
    flat = array.reshape(-1)
    starts = range(0, array.size, count)
    file.write(packer.pack_map_header(3) + packer.pack(CHUNKED) + packer.pack(True) + packer.pack(SHAPE))
    file.write(packer.pack({str(axis): length for axis, length in enumerate(array.shape)}) + packer.pack(CHUNKS))
    file.write(packer.pack_map_header(len(starts)))
    for number, start in enumerate(starts):
        file.write(packer.pack(str(number)) + _extension(packer, flat[start : start + count]))


def _extension(packer: Any, array: NDArray[Any]) -> bytes:
    data = packer.pack((array.shape, array.dtype.name, array.tobytes()))
    packed: bytes = packer.pack(_msgpack().ExtType(ARRAY, data))
    return packed
