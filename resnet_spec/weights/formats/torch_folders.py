"""Folders of ``torch.distributed.checkpoint``: ``.metadata`` is a pickle of where the parts of each tensor are.

Each process writes a file of the parts that it holds, one after the other, each as ``torch.save`` writes a tensor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import WeightsError
from resnet_spec.weights.formats.binary import nothing_readable, reporting
from resnet_spec.weights.formats.detection import DCP_METADATA, inside
from resnet_spec.weights.formats.pickles import Key, Object, Unpickler, is_mapping, is_sequence
from resnet_spec.weights.formats.pytorch import read_tensor
from resnet_spec.weights.formats.stored_tensors import NARROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_METADATA = 2**26
"""Bytes of the pickle, which has some hundreds per part of a tensor."""

MAX_SHARING = 4
"""The most bytes that are read, in multiples of the files' size: several entries could name one part."""

COMPRESSED = "compressed parts"
"""What a tensor is stored as whose parts were transformed as they were written."""

_MODULE = "torch.distributed.checkpoint.metadata."

_Offset = tuple[int, ...]


class _UnreadableError(Exception):
    """A tensor that NumPy cannot represent; the argument is what it is stored as."""


class _Part(NamedTuple):
    """A part of a tensor, and where it is stored."""

    offset: _Offset
    sizes: _Offset
    file: str
    start: int
    length: int


def read_torch_folder(path: Path, *, mmap: bool = False) -> Checkpoint:
    """Every tensor of a folder that ``torch.distributed.checkpoint.save`` wrote, by its name, of all its parts.

    What is not a tensor is skipped. ``mmap`` has no effect: the parts are copied.

    Raises WeightsError for a folder that is broken or lacks parts, refers to files elsewhere, or claims more than it
    holds.
    """
    with reporting(path, "is not a complete checkpoint of torch.distributed.checkpoint"):
        metadata = _metadata(path)
        stored = _stored(_mapping(metadata, "storage_data"))
        room = MAX_SHARING * sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        tensors: dict[str, NDArray[Any]] = {}
        widened: set[str] = set()
        unreadable: dict[str, str] = {}
        for name, entry in _mapping(metadata, "state_dict_metadata").items():
            if not isinstance(name, str) or not isinstance(entry, Object):
                raise ValueError("its list of tensors is broken")
            if entry.kind == f"{_MODULE}TensorStorageMetadata":
                try:
                    parts = list(_parts(name, entry, stored))
                    room -= sum(part.length for part in parts)
                    if room < 0:
                        raise WeightsError("refused: its tensors need more bytes than its files contain")
                    tensors[name], narrow = _assembled(path, name, _sizes(entry.attributes()["size"]), parts)
                except _UnreadableError as error:
                    # It may be beside the network.
                    unreadable[name] = str(error)
                else:
                    widened |= {name} if narrow else set()
        if not tensors:
            raise nothing_readable(unreadable, "tensors")
        return Checkpoint(tensors, widened=frozenset(widened), unreadable=unreadable)


def _metadata(path: Path) -> Object:
    file = path / DCP_METADATA
    if not inside(path, file):
        raise WeightsError(f"refused: its {DCP_METADATA} is a link out of the folder")
    if file.stat().st_size > MAX_METADATA:
        raise ValueError(f"its {DCP_METADATA} is too long")
    content = file.read_bytes()
    found = Unpickler(BytesIO(content), len(content), {}).load()
    if not isinstance(found, Object) or found.kind != f"{_MODULE}Metadata":
        raise ValueError(f"its {DCP_METADATA} describes nothing")
    return found


def _mapping(metadata: Object, name: str) -> dict[Any, Any]:
    found = metadata.attributes().get(name)
    if not is_mapping(found):
        raise ValueError(f"its {DCP_METADATA} has no {name}")
    return found


def _stored(storage: dict[Any, Any]) -> dict[tuple[str, _Offset], dict[Any, Any]]:
    """Where each part is stored, by its tensor's name and its offset."""
    found: dict[tuple[str, _Offset], dict[Any, Any]] = {}
    for key, info in storage.items():
        index = key.value if isinstance(key, Key) else key
        if not isinstance(index, Object) or not isinstance(info, Object):
            raise ValueError("its list of parts is broken")
        place = index.attributes()
        if place.get("offset") is not None:
            found[str(place["fqn"]), _sizes(place["offset"])] = info.attributes()
    return found


def _parts(name: str, entry: Object, stored: dict[tuple[str, _Offset], dict[Any, Any]]) -> Iterator[_Part]:
    for chunk in entry.attributes()["chunks"]:
        offset, sizes = (_sizes(chunk.attributes()[key]) for key in ("offsets", "sizes"))
        info = stored.get((name, offset))
        if info is None:
            raise ValueError(f"a part of {name} is not stored")
        if info.get("transform_descriptors"):
            raise _UnreadableError(COMPRESSED)
        file, start, length = info["relative_path"], info["offset"], info["length"]
        if not isinstance(file, str) or type(start) is not int or type(length) is not int or start < 0 or length < 0:
            raise ValueError(f"a part of {name} is in no possible place")
        yield _Part(offset, sizes, file, start, length)


def _sizes(value: Any) -> _Offset:
    """The numbers of a ``torch.Size``."""
    numbers = value.arguments[0] if isinstance(value, Object) and value.arguments else value
    if not is_sequence(numbers) or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("the size of a tensor is broken")
    return tuple(numbers)


def _assembled(path: Path, name: str, size: _Offset, parts: Sequence[_Part]) -> tuple[NDArray[Any], bool]:
    """Return a tensor, and whether its numbers are of a type that NumPy lacks."""
    import numpy as np

    read = [_read(path, name, part) for part in parts]
    arrays = [array for array, _ in read]
    dtypes = {array.dtype for array in arrays}
    if sum(array.size for array in arrays) != prod(size) or len(dtypes) != 1:
        raise ValueError(f"the parts of {name} are not the whole")
    (dtype,) = dtypes
    whole, filled = np.empty(size, dtype), np.zeros(size, bool)
    for part, array in zip(parts, arrays, strict=True):
        place = tuple(slice(start, start + count) for start, count in zip(part.offset, part.sizes, strict=True))
        if whole[place].shape != array.shape:
            raise ValueError(f"a part of {name} is outside of it")
        whole[place], filled[place] = array, True
    if not filled.all():
        raise ValueError(f"the parts of {name} overlap")
    return whole, any(narrow for _, narrow in read)


def _read(path: Path, name: str, part: _Part) -> tuple[NDArray[Any], bool]:
    file = path / part.file
    if not part.file or os.path.basename(part.file) != part.file or not inside(path, file):
        raise WeightsError(f"refused: a part of {name} is outside of the folder")
    if not os.path.isfile(file):
        raise ValueError(f"it has no {part.file}")
    with file.open("rb") as opened:
        if part.start + part.length > opened.seek(0, os.SEEK_END):
            raise ValueError(f"its {part.file} is incomplete")
        opened.seek(part.start)
        tensor = read_tensor(BytesIO(opened.read(part.length)), part.length)
    if tensor.kind:
        raise _UnreadableError(tensor.kind)
    if tensor.nbytes > part.length or tuple(tensor.shape) != part.sizes:
        raise ValueError(f"a part of {name} has another size")
    return tensor.array(), tensor.dtype in NARROW
