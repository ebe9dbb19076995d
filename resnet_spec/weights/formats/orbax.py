"""Orbax's checkpoint folders: ``_METADATA`` lists the arrays, which TensorStore reads from zarr, OCDBT or not.

TensorStore is an extra, ``resnet-spec[orbax]``; Orbax, JAX and Flax are not needed.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from resnet_spec.backend.checkpoint import Checkpoint, widen_bfloat16
from resnet_spec.errors import BackendError, WeightsError, listed, shown
from resnet_spec.weights.formats.binary import nothing_readable, reporting
from resnet_spec.weights.formats.detection import ORBAX_METADATA, inside

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_METADATA = 2**24
"""Bytes of the list of arrays, which is text."""

MAX_EXPANSION, SMALL = 20, 2**20
"""The largest ratio of all arrays' size to that of the folder, and bytes up to which it is not limited."""

BFLOAT16 = "bfloat16"

VALUE = "value"
"""The key below that of each variable in an ``nnx.State``."""


LACKING = "lacks pieces, read as zeros, since Orbax used not to store zeros; if numbers were lost, it does not show, in"
"""What a remark says before it names arrays."""

_REASONS = {"NOT_FOUND": "it or a piece of it is missing", "DATA_LOSS": "it or the folder's index is damaged"}
"""What a message says for TensorStore's codes of errors."""


class _Entry(NamedTuple):
    """An array's name, and that of the place where it is stored."""

    name: str
    place: str


def read_orbax(path: Path, *, mmap: bool = False) -> Checkpoint:
    """Every array by the keys that lead to it (``params/conv_init/kernel``); bfloat16 is widened to float32.

    Text is left out, and the last key of an ``nnx.State``, which is ``value`` for each array. ``mmap`` has no effect:
    the arrays are compressed.

    Where the folder does not state that it has the pieces that are zeros, a remark names the arrays that lack pieces.

    Raises WeightsError for a folder that is broken, refers to files elsewhere, or claims more than it holds;
    BackendError if TensorStore is not installed.
    """
    store = _tensorstore(path)
    with reporting(path, "is not a complete Orbax checkpoint"):
        size = _size(path)
        metadata = _metadata(path)
        entries = _entries(metadata)
        room = SMALL + MAX_EXPANSION * size
        tensors: dict[str, NDArray[Any]] = {}
        widened: set[str] = set()
        unreadable: dict[str, str] = {}
        lacking: list[str] = []
        for entry in entries:
            if entry.name in tensors:
                raise ValueError(f"two arrays are named {entry.name!r}")
            with _naming(entry):
                source = store.open(_spec(path, entry.place, metadata), read=True, open=True).result()
            chunk = source.chunk_layout.read_chunk.shape or ()
            claimed = max(prod(source.shape), prod(chunk)) * source.dtype.numpy_dtype.itemsize
            room -= claimed
            if room < 0:
                raise WeightsError(f"refused: {entry.name} claims {claimed:,} bytes, of which the folder has {size:,}")
            with _naming(entry):
                array = source.read().result()
                if not _complete(metadata):
                    stored = source.storage_statistics(query_fully_stored=True).result()
                    lacking += [] if stored.fully_stored else [entry.name]
            if source.dtype.name == BFLOAT16:
                array = widen_bfloat16(array)
                widened.add(entry.name)
            elif array.dtype.kind not in "biufc":
                unreadable[entry.name] = source.dtype.name
                continue
            tensors[entry.name] = array
        if not tensors:
            raise nothing_readable(unreadable, "arrays")
        remarks = (f"{LACKING}: {listed(map(shown, lacking))}",) if lacking else ()
        return Checkpoint(tensors, widened=frozenset(widened), unreadable=unreadable, remarks=remarks)


@contextmanager
def _naming(entry: _Entry) -> Generator[None]:
    """Raise what TensorStore reports as a ValueError that names the array, without the library's own settings."""
    try:
        yield
    except ValueError as error:
        code, _, text = str(error).partition(": ")
        text = _REASONS.get(code, text.partition(" [")[0] or code)
        raise ValueError(f"{entry.name}: {text}") from None


def _complete(metadata: dict[str, Any]) -> bool:
    """Whether a folder states that pieces that are zeros are stored too."""
    return bool(metadata.get("store_array_data_equal_to_fill_value"))


def _size(folder: Path) -> int:
    """The bytes of a folder's files; raises WeightsError for a link that leads out of it, or what is not a file."""
    size = 0
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            file = Path(place, name)
            if file.is_symlink() and not inside(folder, file):
                raise WeightsError(f"refused: its {file.relative_to(folder)} is a link out of the folder")
            state = file.stat()
            if not stat.S_ISDIR(state.st_mode) and not stat.S_ISREG(state.st_mode):
                raise WeightsError(f"refused: its {file.relative_to(folder)} is not a regular file")
            size += state.st_size if stat.S_ISREG(state.st_mode) else 0
    return size


def _metadata(path: Path) -> dict[str, Any]:
    file = path / ORBAX_METADATA
    if file.stat().st_size > MAX_METADATA:
        raise ValueError(f"its {ORBAX_METADATA} is too long")
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"its {ORBAX_METADATA} is not JSON: {error}") from None


def _entries(metadata: dict[str, Any]) -> list[_Entry]:
    entries = cast("dict[str, Any]", metadata["tree_metadata"]).values()
    described = [(entry["value_metadata"], [str(part["key"]) for part in entry["key_metadata"]]) for entry in entries]
    # Empty containers and text are described, and stored nowhere else.
    stored = [keys for value, keys in described if not value["skip_deserialize"] and value["value_type"] != "string"]
    end = -1 if all(keys[-1:] == [VALUE] for keys in stored) else None
    return [_Entry("/".join(keys[:end]), ".".join(keys)) for keys in stored]


def _spec(path: Path, place: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """What TensorStore needs to know to open an array."""
    base = {"driver": "file", "path": f"{path.resolve()}/"}
    if metadata.get("use_ocdbt", True):
        kvstore: dict[str, Any] = {"driver": "ocdbt", "base": base, "path": f"{place}/"}
    else:
        kvstore = {**base, "path": f"{base['path']}{place}/"}
    driver = "zarr3" if metadata.get("use_zarr3") else "zarr"
    return {"driver": driver, "kvstore": kvstore, "fill_missing_data_reads": not _complete(metadata)}


def _tensorstore(path: Path) -> Any:
    try:
        import tensorstore  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        message = f"{path}: reading Orbax checkpoints needs TensorStore: pip install 'resnet-spec[orbax]' ({error})"
        raise BackendError(message) from None
    return cast("Any", tensorstore)
