"""Safetensors: one file, or several with an index.

A file is read in one piece into one aligned buffer, whose parts the tensors are, so that nothing is copied twice and
nothing depends on the file afterwards. ``mmap=True`` maps it copy-on-write instead. It is written a tensor at a time.
The header is checked here, in the bytes that are used: a library that opens the file again may see another file.
"""

from __future__ import annotations

import json
import os
from collections import ChainMap
from collections.abc import Mapping
from io import FileIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resnet_spec.backend.checkpoint import Checkpoint, narrow_bfloat16, widen_bfloat16
from resnet_spec.errors import Problem, WeightsError
from resnet_spec.weights.formats.buffers import ALIGNMENT, mapped, read_aligned
from resnet_spec.weights.formats.detection import inside

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    # Its bits, since NumPy has no such type.
    "BF16": "uint16",
}
"""What NumPy calls the format's types of numbers."""

_WORDS = {name: word for word, name in _DTYPES.items() if word != "BF16"} | {"bfloat16": "BF16"}

MAX_HEADER = 100_000_000
"""Bytes of a header, as many as the format's own library reads."""

MAX_INDEX = 2**26
"""Bytes of an index of shards, which is text."""


def read_safetensors(path: Path, *, mmap: bool = False) -> Checkpoint:
    """Every tensor of a file and its metadata; bfloat16 is widened to float32, since NumPy lacks it.

    With ``mmap`` the tensors are a copy-on-write memory map of the file. Raises WeightsError.
    """
    try:
        with FileIO(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, MAX_HEADER):
                raise ValueError("its header has no possible length")
            header = _header(file.read(length), size - 8 - length)
            data = mapped(file)[8 + length :] if mmap else read_aligned(file, size - 8 - length)
    except OSError as error:
        raise WeightsError(f"{path}: is not a whole safetensors file ({error.strerror or error})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: is not a whole safetensors file ({_reason(error)})") from None
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    metadata: dict[str, str] = header.pop("__metadata__", {})
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        flat: NDArray[Any] = data[begin:end].view(_stored_as(entry["dtype"]))
        if entry["dtype"] == "BF16":
            flat = widen_bfloat16(flat)
        arrays[name] = flat.reshape(entry["shape"])
    widened = frozenset(name for name, entry in header.items() if entry["dtype"] == "BF16")
    return Checkpoint(arrays, widened=widened, metadata=metadata)


def _stored_as(dtype: str) -> np.dtype[Any]:
    import numpy as np

    return np.dtype(_DTYPES[dtype]).newbyteorder("<")


def _header(content: bytes, size: int) -> dict[str, Any]:
    """A header whose tensors fill the ``size`` bytes of the data without gap or overlap; else raise ValueError.

    A type that is not read raises WeightsError.
    """
    header: dict[str, Any] = json.loads(content.decode("utf-8"))
    metadata = header.get("__metadata__", {})
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not text")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, entry in entries.items():
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
            raise ValueError(f"{name[:40]!r} has no possible shape or place")
        if dtype not in _DTYPES:
            raise WeightsError(f"{name} is stored as {dtype[:40]}, which is not supported")
        if prod(shape) * _stored_as(dtype).itemsize != end - begin:
            raise ValueError(f"the shape and the size of {name[:40]!r} differ")
    filled = 0
    for begin, end in sorted(entry["data_offsets"] for entry in entries.values()):
        if begin != filled:
            raise ValueError("its tensors overlap, or leave a gap")
        filled = end
    if filled != size:
        raise ValueError(f"its tensors have {filled:,} bytes, of which the file holds {size:,}")
    return header


def read_shards(path: Path, *, mmap: bool = False) -> Checkpoint:
    """The tensors that an index (``model.safetensors.index.json``) finds in the files beside it.

    Raises WeightsError if the index and the files do not name the same tensors, or a file lies elsewhere.
    """
    places = _index(path)
    shards: dict[str, Checkpoint] = {}
    for shard in dict.fromkeys(places.values()):
        file = path.parent / shard
        # Path.is_file raises OSError if a name is too long.
        if os.path.basename(shard) == shard and not os.path.isfile(file):
            raise WeightsError(f"{path}: its part {shard!r} is missing")
        if os.path.basename(shard) != shard or not inside(path.parent, file):
            raise WeightsError(f"{path}: refused: its part {shard!r} lies outside its folder")
        shards[shard] = read_safetensors(file, mmap=mmap)
    problems = [
        Problem(f"is not in {shard}, where the index has it", name)
        for name, shard in places.items()
        if name not in shards[shard].tensors
    ]
    for shard, part in shards.items():
        unlisted = [name for name in part.tensors if places.get(name) != shard]
        problems += [Problem(f"is in {shard}, where the index does not have it", name) for name in unlisted]
    if problems:
        raise WeightsError([Problem(f"{path}: the index and its parts differ"), *problems])
    tensors = {name: shards[shard].tensors[name] for name, shard in places.items()}
    widened = frozenset(name for part in shards.values() for name in part.widened)
    return Checkpoint(tensors, widened=widened, metadata=ChainMap(*(dict(part.metadata) for part in shards.values())))


def _index(path: Path) -> dict[str, str]:
    try:
        if path.stat().st_size > MAX_INDEX:
            raise ValueError("too long for an index")
        places: Any = json.loads(path.read_text("utf-8"))["weight_map"]
    except (KeyError, TypeError):
        raise WeightsError(f"{path}: is not an index of shards (it is JSON without a weight_map)") from None
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: is not an index of shards ({type(error).__name__}: {error})") from None
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in cast("dict[Any, Any]", places).values()):
        raise WeightsError(f"{path}: is not an index of shards (its weight_map names no files)")
    return cast("dict[str, str]", places)


def write_safetensors(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
    *,
    dtype: str | None = None,
) -> None:
    """Write arrays straight to ``path``, never more than one of them copied at a time.

    They are written as they are, or those with fractions as ``dtype``.

    Raises WeightsError if the format has no such type.
    """
    import numpy as np

    dtypes = {name: dtype if dtype and array.dtype.kind == "f" else array.dtype.name for name, array in arrays.items()}
    unknown = [name for name in arrays if dtypes[name] not in _WORDS]
    if unknown:
        raise WeightsError([Problem(f"safetensors has no type {dtypes[name]}", name) for name in unknown])
    words = {name: _WORDS[dtypes[name]] for name in arrays}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.size * _stored_as(words[name]).itemsize
        header[name] = {"dtype": words[name], "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name, array in arrays.items():
            if words[name] == "BF16":
                array = narrow_bfloat16(array)
            # ascontiguousarray would turn a scalar into a vector.
            file.write(np.asarray(array, _stored_as(words[name]), order="C").data)


def _reason(error: Exception) -> str:
    """Why a header cannot be read; long quotations are cut."""
    if isinstance(error, KeyError | TypeError | AttributeError):
        return "its header is not that of the format"
    return "its header is nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
