"""Safetensors, one file or several with an index, as copy-on-write memory maps; written a tensor at a time.

The library checks headers; it is not asked to read or write tensors, since it would hold all of them in memory twice.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resnet_spec.checkpoints.checkpoint import Checkpoint
from resnet_spec.checkpoints.formats import inside
from resnet_spec.errors import Problem, WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

_ALIGNMENT = 8
"""Bytes to which the format aligns its data."""

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
    arrays: dict[str, NDArray[Any]] = {}
    widened: set[str] = set()
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        stored = entry["dtype"]
        dtype = "<u2" if stored == "BF16" else _DTYPES.get(stored)
        if dtype is None:
            raise WeightsError(f"{path}: {name} is stored as {stored}, which is not read")
        begin, end = entry["data_offsets"]
        count = (end - begin) // np.dtype(dtype).itemsize
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
        if Path(shard).name != shard or not inside(path.parent, file):
            raise WeightsError(f"{path}: refused: its part {shard!r} lies outside its folder")
        if not file.is_file():
            raise WeightsError(f"{path}: its part {shard} is missing")
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
    return Checkpoint(tensors, widened=frozenset(name for part in shards.values() for name in part.widened))


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
    path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays as they are, straight to ``path``, never more than one of them copied at a time."""
    import numpy as np

    sizes = [array.nbytes for array in arrays.values()]
    ends = list(accumulate(sizes))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for (name, array), size, end in zip(arrays.items(), sizes, ends, strict=True):
        dtype = _NAMES[array.dtype.newbyteorder("<").str.replace("|b1", "?").lstrip("|")]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [end - size, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for array in arrays.values():
            # Not ascontiguousarray, which makes a vector of a scalar.
            file.write(np.asarray(array, array.dtype.newbyteorder("<"), order="C").data)


def _reason(error: Exception) -> str:
    return re.sub(r"^Error while deserializing header: ", "", str(error))
