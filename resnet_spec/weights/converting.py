"""Weights from any file to any other: read by the graph, checked, and written by whoever knows the target's format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.backend.protocol import DType
from resnet_spec.backend.registry import get_backend, unusable, writers
from resnet_spec.errors import BackendError, OutputError, Problem, WeightsError, suggest
from resnet_spec.weights.atomic import check_target, ending, replacing
from resnet_spec.weights.formats.transformers import write_folder
from resnet_spec.weights.io import write_weights
from resnet_spec.weights.matching import too_large

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

    Arrays = Mapping[str, NDArray[Any]]

SAFETENSORS, TRANSFORMERS, SAVED_MODEL = "safetensors", "transformers", "saved_model"

FOLDERS = (SAVED_MODEL, TRANSFORMERS)

_CORE: Mapping[str, Callable[..., None]] = {SAFETENSORS: write_weights, TRANSFORMERS: write_folder}
"""Formats that the core writes itself."""


class Target(NamedTuple):
    """Where to write, in which format, and the backend that writes it (none: the core)."""

    path: Path
    format: str
    backend: str | None


def find_target(path: str | Path, format: str | None = None, *, force: bool = False) -> Target:
    """What a path asks for by its ending, or ``format`` where it is a folder.

    Raises OutputError where nobody writes it, or the path cannot be written to.
    """
    path = Path(path)
    known = formats()
    ended = ending(path, (f".{name}" for name in known)).removeprefix(".")
    chosen = format or ended
    if not chosen:
        raise OutputError(f"{path}: say which kind of folder, --to {' or --to '.join(FOLDERS)}")
    if chosen not in known:
        message = f"{path}: no installed backend writes {chosen}{suggest(chosen, known)} (known: {', '.join(known)})"
        if reasons := unusable():
            raise BackendError("; ".join([message, *reasons]))
        raise OutputError(message)
    if chosen != ended and chosen not in FOLDERS:
        raise OutputError(f"{path}: a file in the format {chosen} ends in .{chosen}")
    if chosen == SAVED_MODEL and path.suffix:
        raise OutputError(f"{path}: a SavedModel is a folder, whose name has no ending")
    check_target(path, force=force)
    return Target(path, chosen, known[chosen])


def formats() -> dict[str, str | None]:
    """What can be written, by name, and the backend that does it."""
    installed = {ending.removeprefix(".") or SAVED_MODEL: backend for ending, backend in writers().items()}
    return {**dict.fromkeys(_CORE), **installed}


def convert(
    graph: Graph,
    arrays: Arrays,
    target: Target,
    *,
    dtype: DType | None = None,
    half: bool = False,
    force: bool = False,
) -> None:
    """Write a graph's arrays as ``target``; through a native model where a backend writes it.

    Without ``dtype`` it is float64 where any of them is. Raises WeightsError where the numbers are too large for it or
    for ``half``, OutputError where the target cannot be written; what was there stays as it was.
    """
    kind = dtype or ("float64" if any(array.dtype.itemsize > 4 for array in arrays.values()) else "float32")
    if problems := too_large(arrays, "float16" if half else kind):
        raise WeightsError(
            [Problem(f"{target.path}: not written, since its type does not hold all numbers"), *problems]
        )
    if target.backend is None:
        cast = {name: array.astype(kind, copy=False) for name, array in arrays.items()} if dtype else arrays
        _CORE[target.format](target.path, graph, cast, half=half, force=force)
        return
    compiler = get_backend(target.backend)
    model = compiler.compile(graph, dtype=kind)
    compiler.load(model, graph, arrays)
    with replacing(target.path, force=force) as temporary:
        compiler.write(model, graph, temporary, half=half)
