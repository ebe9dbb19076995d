"""Safetensors, one file or several with an index, as copy-on-write memory maps; written a tensor at a time.

The library checks headers; it is not asked to read or write tensors, since it would hold all of them in memory twice.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import Problem, WeightsError
from resnet_spec.weights.formats.detection import inside

if TYPE_CHECKING:
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
    # Its bits: NumPy has no such numbers.
    "BF16": "uint16",
}
"""What NumPy calls the format's types of numbers."""

_WORDS = {name: word for word, name in _DTYPES.items() if word != "BF16"}

_ALIGNMENT = 64
"""Bytes at a multiple of which the data starts: the format wants 8, and what PyTorch computes with is aligned to 64."""

MAX_INDEX = 2**26
"""Bytes of an index of shards, which is text."""


def read_safetensors(path: Path) -> Checkpoint:
    """Every tensor of a file, memory-mapped, and its metadata; bfloat16 is widened, as NumPy lacks it.

    The library checks the header (sizes, offsets, overlaps) before anything is mapped. Raises WeightsError.
    """
    import numpy as np
    from safetensors import SafetensorError, safe_open  # pyright: ignore[reportUnknownVariableType]

    try:
        opened: Any = safe_open(path, framework="numpy")
        with opened as checked:
            metadata: dict[str, str] = checked.metadata() or {}
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length))
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: is not a whole safetensors file ({_reason(error)})") from None
    dtypes = {stored: np.dtype(dtype).newbyteorder("<") for stored, dtype in _DTYPES.items()}
    arrays: dict[str, NDArray[Any]] = {}
    widened: set[str] = set()
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        stored = entry["dtype"]
        dtype = dtypes.get(stored)
        if dtype is None:
            raise WeightsError(f"{path}: {name} is stored as {stored}, which is not read")
        begin, end = entry["data_offsets"]
        count = (end - begin) // dtype.itemsize
        flat = np.frombuffer(data, dtype, count, 8 + length + begin) if count else np.empty(0, dtype)
        if stored == "BF16":
            # The upper half of a float32.
            flat = (flat.astype("<u4") << 16).view("<f4")
            widened.add(name)
        arrays[name] = flat.reshape(entry["shape"])
    return Checkpoint(arrays, widened=frozenset(widened), metadata=metadata)


def read_shards(path: Path) -> Checkpoint:
    """The tensors that an index (``model.safetensors.index.json``) finds in the files beside it.

    Raises WeightsError where the index and the files do not name the same tensors, or a file lies elsewhere.
    """
    places = _index(path)
    shards: dict[str, Checkpoint] = {}
    for shard in dict.fromkeys(places.values()):
        file = path.parent / shard
        # Not Path's own: that one raises where a name is none that a file could have.
        if os.path.basename(shard) == shard and not os.path.isfile(file):
            raise WeightsError(f"{path}: its part {shard!r} is missing")
        if os.path.basename(shard) != shard or not inside(path.parent, file):
            raise WeightsError(f"{path}: refused: its part {shard!r} lies outside its folder")
        shards[shard] = read_safetensors(file)
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
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
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
    """Write arrays straight to ``path``, as they are or as ``dtype``, never more than one of them copied at a time.

    Raises WeightsError where the format has no such numbers.
    """
    import numpy as np

    dtypes = {name: np.dtype(dtype or array.dtype) for name, array in arrays.items()}
    unknown = [name for name in arrays if dtypes[name].name not in _WORDS]
    if unknown:
        raise WeightsError([Problem(f"safetensors does not hold {dtypes[name].name}", name) for name in unknown])
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.size * dtypes[name].itemsize
        header[name] = {"dtype": _WORDS[dtypes[name].name], "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name, array in arrays.items():
            # Not ascontiguousarray, which makes a vector of a scalar.
            file.write(np.asarray(array, dtypes[name].newbyteorder("<"), order="C").data)


def _reason(error: Exception) -> str:
    return re.sub(r"^Error while deserializing header: ", "", str(error))
