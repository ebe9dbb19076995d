"""Weights in and out, strict both ways: a file and a graph must name the same tensors with the same shapes.

The canonical file is safetensors with the graph's JSON and fingerprint in its metadata, read as a private memory map,
so that nothing is copied until it is written to.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.errors import GraphError, Problem, WeightsError, suggest
from resnet_spec.files import replacing
from resnet_spec.formats import ending_of, find_file
from resnet_spec.graph import Graph, canonical
from resnet_spec.keras_files import read_archive, read_hdf5
from resnet_spec.layouts import from_tensorflow

if TYPE_CHECKING:
    from numpy.typing import NDArray

IGNORED = "num_batches_tracked"
"""PyTorch's count of training steps: optional in a file, never a parameter."""

MAX_SUGGESTIONS = 20

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


def read_weights(path: str | Path, graph: Graph) -> dict[str, NDArray[Any]]:
    """The arrays of a weights file by the graph's parameter names, checked against it.

    The format is told by the file's bytes. Reads safetensors, as a copy-on-write memory map, and Keras' ``.h5`` and
    ``.keras`` files itself; a format that needs a framework is read by the installed backend that knows its ending.
    Of a TensorFlow checkpoint the path is the prefix or the index. Names and layouts may be PyTorch's or TensorFlow's.
    Raises WeightsError with every missing, unexpected and misshapen tensor, or with the first node that differs where
    the file says which architecture it is for.
    """
    path = Path(path)
    file = find_file(path)
    if file is None:
        raise WeightsError(f"{path}: {'is a folder' if os.path.isdir(path) else 'no such file'}")
    arrays = _read(file, graph)
    if any("/" in name for name in arrays):
        arrays = from_tensorflow(graph, arrays)
    return check_weights(graph, arrays, str(path))


def _read(path: Path, graph: Graph) -> Mapping[str, NDArray[Any]]:
    """The arrays as they stand in a file."""
    try:
        ending = ending_of(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    if ending != ".safetensors":
        return _READERS.get(ending, lambda path: _read_by_backend(path, ending))(path)
    arrays, metadata = read_safetensors(path)
    if metadata.get("resnet_spec.fingerprint", graph.fingerprint) != graph.fingerprint:
        raise WeightsError(f"{path}: {_difference(metadata, graph)}")
    return arrays


def write_weights(path: str | Path, graph: Graph, arrays: Mapping[str, NDArray[Any]], *, force: bool = False) -> None:
    """Write arrays as ``.safetensors`` with the graph's JSON and fingerprint; an existing file needs ``force``.

    Raises WeightsError where the arrays do not fit the graph, OutputError where the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: the canonical weights file ends in .safetensors")
    checked = check_weights(graph, arrays, "the arrays")
    metadata = {"resnet_spec.graph": graph.to_json(), "resnet_spec.fingerprint": graph.fingerprint}
    with replacing(path, force=force) as temporary:
        write_safetensors(temporary, checked, metadata)


def check_weights(graph: Graph, arrays: Mapping[str, NDArray[Any]], source: str) -> dict[str, NDArray[Any]]:
    """The arrays in the graph's order; raises WeightsError unless they match its parameters one to one."""
    parameters = {parameter.name: parameter for parameter in graph.parameters()}
    given = {name for name in arrays if name.rpartition(".")[2] != IGNORED}
    missing = [name for name in parameters if name not in given]
    unexpected = sorted(given - parameters.keys())
    # A name here and there may be misspelled; where most differ, no suggestion helps, and seeking them takes seconds.
    few = max(len(missing), len(unexpected)) <= MAX_SUGGESTIONS
    problems = [Problem(f"missing{suggest(name, unexpected) if few else ''}", name) for name in missing]
    problems += [Problem(f"unexpected{suggest(name, missing) if few else ''}", name) for name in unexpected]
    checked: dict[str, NDArray[Any]] = {}
    for name, parameter in parameters.items():
        if name in given:
            array = arrays[name]
            checked[name] = array
            if array.shape != parameter.shape:
                problems.append(Problem(f"has shape {list(array.shape)}, not {list(parameter.shape)}", name))
            elif array.dtype.kind != "f":
                problems.append(Problem(f"holds {array.dtype}, not floating-point numbers", name))
    if problems:
        counts = {"missing": len(missing), "unexpected": len(unexpected)}
        counts["not as they should be"] = len(problems) - sum(counts.values())
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        head = Problem(f"{source}: not the {len(parameters)} tensors of {graph.name} ({said})")
        raise WeightsError([head, *problems])
    return checked


def write_safetensors(
    path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays as they are, straight to ``path``."""
    import numpy as np
    from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(contiguous, path, dict(metadata or {}))


def read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Every tensor of a safetensors file, memory-mapped copy-on-write, and its metadata.

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
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise WeightsError(f"{path}: {name} is stored as {entry['dtype']}, which is not read yet")
        begin, end = entry["data_offsets"]
        count = (end - begin) // np.dtype(dtype).itemsize
        flat = np.frombuffer(data, dtype, count, 8 + length + begin) if count else np.empty(0, dtype)
        arrays[name] = flat.reshape(entry["shape"])
    return arrays, metadata


def _reason(error: Exception) -> str:
    return re.sub(r"^Error while deserializing header: ", "", str(error))


def _read_by_backend(path: Path, ending: str) -> Mapping[str, NDArray[Any]]:
    from resnet_spec.backends import get_backend, readers

    known = readers()
    if ending not in known:
        endings = ", ".join(sorted({".safetensors", *_READERS, *known}))
        raise WeightsError(f"{path}: no installed backend reads {ending or 'such'} files (known: {endings})")
    return get_backend(known[ending]).read(path)


_READERS: Mapping[str, Callable[[Path], Mapping[str, NDArray[Any]]]] = {".h5": read_hdf5, ".keras": read_archive}
"""Formats that the core reads itself, besides its own."""


def _difference(metadata: Mapping[str, str], graph: Graph) -> str:
    """The first node in which the architecture a file was written for differs."""
    try:
        other = Graph.from_json(metadata["resnet_spec.graph"])
    except (KeyError, GraphError):
        return f"was written for another architecture than {graph.name} (its fingerprint differs)"
    said = f"was written for another architecture ({other.name}, not {graph.name}): "
    for theirs, ours in zip(other.nodes, graph.nodes, strict=False):
        a, b = canonical(theirs), canonical(ours)
        if a != b:
            if theirs.name != ours.name:
                return f"{said}the file has {theirs.name!r} where the spec has {ours.name!r}"
            operation = {**a.pop("operation"), **a}, {**b.pop("operation"), **b}
            keys = [key for key in {**operation[0], **operation[1]} if operation[0].get(key) != operation[1].get(key)]
            key = keys[0]
            return (
                f"{said}{ours.name!r} differs in {key!r}: {_field(theirs, key)} in the file, {_field(ours, key)} here"
            )
    if len(other.nodes) != len(graph.nodes):
        longer = max(other, graph, key=lambda g: len(g.nodes))
        extra = longer.nodes[min(len(other.nodes), len(graph.nodes))].name
        return f"{said}{extra!r} is only in {'the file' if longer is other else 'the spec'}"
    return f"{said}the input, the outputs or the order of declaration differ"


def _field(node: Any, key: str) -> Any:
    return getattr(node.operation, key, None) if hasattr(node.operation, key) else getattr(node, key, None)
