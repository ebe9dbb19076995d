"""Writes a native model, or a graph's arrays, in any format that the core or an installed backend supports."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.backend.dtypes import HalfDType
from resnet_spec.backend.protocol import Arrays, Backend, DType
from resnet_spec.backend.registry import get_backend, share_process, unusable, writers
from resnet_spec.backend.training import Counters, counters_of, set_counters
from resnet_spec.errors import BackendError, OutputError, Problem, WeightsError, suggest
from resnet_spec.graph import Graph
from resnet_spec.operations.fields import as_text
from resnet_spec.weights.adapting import counters_among
from resnet_spec.weights.atomic import check_space, check_target, ending, replacing
from resnet_spec.weights.formats.flax import write_flax, write_named_arrays
from resnet_spec.weights.formats.numpy_archive import write_npz
from resnet_spec.weights.formats.pytorch_writing import write_state_dict
from resnet_spec.weights.formats.safetensors import write_safetensors
from resnet_spec.weights.formats.transformers import write_folder
from resnet_spec.weights.io import write_weights
from resnet_spec.weights.matching import check_weights, too_large
from resnet_spec.weights.naming import find_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.operations.fields import Shape
    from resnet_spec.spec.spec import Spec

SAFETENSORS, NPZ, MSGPACK, PYTORCH = "safetensors", "npz", "msgpack", "pth"
TRANSFORMERS, SAVED_MODEL = "transformers", "saved_model"

FOLDERS = (SAVED_MODEL, TRANSFORMERS)

CORE_FORMATS = (SAFETENSORS, NPZ, MSGPACK, TRANSFORMERS)
"""Formats that the core writes itself."""

_CORE_ENDINGS = tuple(f".{name}" for name in CORE_FORMATS if name not in FOLDERS)


def _write_npz(path: Path, graph: Graph, arrays: Arrays, *, half: bool = False) -> None:
    checked = check_weights(graph, arrays, "the arrays")
    if half and (problems := too_large(checked, "float16")):
        raise WeightsError([Problem("some values are too large for half precision"), *problems])
    write_npz(path, checked | counters_among(arrays), dtype="float16" if half else None)


CORE_WRITERS = {NPZ: _write_npz, MSGPACK: write_flax, TRANSFORMERS: write_folder}
"""What writes those that do not state the graph."""

NAMED_WRITERS: Mapping[str, Callable[[Path, Arrays], None]] = {
    SAFETENSORS: lambda path, arrays: write_safetensors(path, arrays, {"format": "pt"}),
    PYTORCH: write_state_dict,
    NPZ: write_npz,
    MSGPACK: write_named_arrays,
}
"""What writes arrays under any names."""


class Target(NamedTuple):
    """Where to write, in which format, and the backend that writes it (none: the core)."""

    path: Path
    format: str
    backend: str | None


def find_target(
    path: str | Path, format: str | None = None, *, force: bool = False, beside: Backend | None = None
) -> Target:
    """The format of a path by its ending, or ``format`` if it is a folder.

    Raises OutputError if no installed backend writes the format, or only one that cannot run in one process with the
    backend ``beside`` it, or the path cannot be written.
    """
    path = Path(path)
    known = formats()
    ended = ending(path, (f".{name}" for name in known)).removeprefix(".")
    chosen = format or ended
    if not chosen:
        kinds = " or ".join(f'format="{each}"' for each in FOLDERS)
        raise OutputError(f"{path}: give the kind of folder: {kinds}")
    if chosen not in known:
        message = f"{path}: no installed backend writes {chosen}{suggest(chosen, known)} (known: {', '.join(known)})"
        if reasons := unusable():
            raise BackendError("; ".join([message, *reasons]))
        raise OutputError(message)
    if chosen != ended and chosen not in FOLDERS:
        raise OutputError(f"{path}: a file in the format {chosen} ends in .{chosen}")
    if chosen == SAVED_MODEL and path.suffix:
        raise OutputError(f"{path}: a SavedModel is a folder, whose name has no ending")
    backend = known[chosen]
    if beside and backend and not share_process(beside.name, backend):
        artifact_path(path, beside.outputs, beside.name)
    check_target(path, force=force)
    return Target(path, chosen, backend)


def formats() -> dict[str, str | None]:
    """The formats that can be written, by name, and the backend that writes each."""
    installed = {ending.removeprefix(".") or SAVED_MODEL: backend for ending, backend in writers().items()}
    return {**dict.fromkeys(CORE_FORMATS), **installed}


def convert(
    graph: Graph,
    arrays: Arrays,
    target: Target,
    *,
    dtype: DType | None = None,
    half: bool | HalfDType = False,
    names: str | None = None,
    fixed: Shape | None = None,
    force: bool = False,
    counters: Counters | None = None,
) -> None:
    """Write a graph's arrays as ``target``, through a native model if a backend writes it.

    The default of ``dtype`` is float64 if any array is float64. ``names`` is the library whose names and layout the
    arrays get, ``fixed`` the only shape of a batch that a whole model takes, and ``counters`` the counts of batches,
    which Keras', TensorFlow's and ONNX's files do not keep. Raises WeightsError if the numbers are too large for the
    type or for ``half``, OutputError if the target cannot be written or the library has no names for some layers; an
    existing file is then unchanged.
    """
    writer = _named_writer(target, names)
    if half == "bfloat16" and names:
        raise OutputError(f'{target.path}: names="{names}" is written in float16 or in single precision')
    half = _possible_half(target.path, half)
    check_space(target.path, _least_size(graph, half=half))
    kind = dtype or ("float64" if any(array.dtype.itemsize > 4 for array in arrays.values()) else "float32")
    if problems := too_large(arrays, ("float16" if half is True else half) or kind):
        raise WeightsError(
            [Problem(f"{target.path}: not written, since some values are too large for its type"), *problems]
        )
    if names and writer:
        renamed = find_table(names).renamed(graph, {**check_weights(graph, arrays, "the arrays"), **(counters or {})})
        final = "float16" if half else dtype
        with replacing(target.path, force=force) as temporary:
            writer(temporary, {name: _as_type(array, final) for name, array in renamed.items()})
        return
    if target.backend is not None:
        compiler = get_backend(target.backend)
        model = compiler.compile(graph, dtype=kind)
        compiler.load(model, graph, arrays)
        set_counters(compiler, model, graph, counters or {})
        write_model(model, graph, target.path, compiler, half=half, fixed=fixed, force=force)
        return
    if fixed is not None:
        raise OutputError(f"{target.path}: a fixed size is for a whole model, and {target.format} has weights only")
    cast = {name: array.astype(kind, copy=False) for name, array in arrays.items()} if dtype else arrays
    cast = {**cast, **(counters or {})}
    if target.format == SAFETENSORS:
        write_weights(target.path, graph, cast, half=half, force=force)
        return
    with replacing(target.path, force=force) as temporary:
        CORE_WRITERS[target.format](temporary, graph, cast, half=bool(half))


def _named_writer(target: Target, names: str | None) -> Callable[[Path, Arrays], None] | None:
    """What writes a target under a library's names; raises OutputError if the format has names of its own."""
    if names is None:
        return None
    find_table(names)
    if target.format not in NAMED_WRITERS:
        known = ", ".join(f".{name}" for name in NAMED_WRITERS)
        raise OutputError(f'{target.path}: names="{names}" is for {known}; {target.format} has names of its own')
    return NAMED_WRITERS[target.format]


def _as_type(array: NDArray[Any], dtype: str | None) -> NDArray[Any]:
    return array.astype(dtype, copy=False) if dtype and array.dtype.kind == "f" else array


def write_model(
    model: Any,
    graph: Graph | Spec,
    path: str | Path,
    backend: str | Backend,
    *,
    half: bool | HalfDType = False,
    fixed: Shape | None = None,
    force: bool = False,
) -> None:
    """Write a native model to a file or folder, atomically.

    Args:
        model: A model that ``backend`` compiled, as ``build`` returns it; it may have been trained since.
        graph: The graph that it was compiled from, or the spec of that graph.
        path: Where to write. The ending decides the format: ``.safetensors``, ``.npz`` and ``.msgpack`` hold the
            weights; a backend writes the others, such as ``.pth`` and ``.pt2`` (torch), ``.keras``, ``.h5`` and a
            folder without an ending (tensorflow), and ``.onnx`` (onnx).
        backend: The name of the model's backend, or the backend itself.
        half: Whether to store the weights in half precision, in the formats that can: in float16, or in ``"bfloat16"``,
            which ``.safetensors`` only can.
        fixed: The only shape of a batch that the written model takes, (batch, channels, height, width), as delegates
            and some compilers require; by default any number of images, of any size that the network takes.
        force: Whether to replace what exists at ``path``.

    Raises:
        OutputError: The backend does not write this format, or the path exists or cannot be written, or ``fixed`` is
            not a shape that the network takes, or is given for a file of weights only.
        WeightsError: The model's parameters are not those of the graph, or are too large for half precision.
        BackendError: The backend is not installed or cannot be imported.

    Examples:
        >>> from resnet_spec import build, load
        >>> spec = load("cifar/resnet20")
        >>> model = build(spec, "torch")
        >>> write_model(model, spec, "resnet20.pth", "torch")
    """
    graph = graph if isinstance(graph, Graph) else graph.to_graph()
    compiler = get_backend(backend) if isinstance(backend, str) else backend
    # Backends of third parties may not know of the argument.
    batch: dict[str, int] = {}
    if fixed is not None:
        graph = at_fixed_size(graph, fixed)
        batch["batch"] = fixed[0]
    path = artifact_path(path, compiler.outputs, compiler.name)
    half = _possible_half(path, half)
    check_target(path, force=force)
    check_space(path, _least_size(graph, half=half))
    if batch and path.suffix in _CORE_ENDINGS:
        raise OutputError(f"{path}: a fixed size is for a whole model, and {path.suffix} has weights only")
    arrays: Arrays = {}
    if path.suffix in _CORE_ENDINGS:
        arrays = {**compiler.arrays(model, graph), **counters_of(compiler, model, graph)}
    if path.suffix == ".safetensors":
        write_weights(path, graph, arrays, half=half, force=force)
        return
    with replacing(path, force=force) as temporary:
        if path.suffix in _CORE_ENDINGS:
            CORE_WRITERS[path.suffix[1:]](temporary, graph, arrays, half=bool(half))
        else:
            compiler.write(model, graph, temporary, half=bool(half), **batch)


def _possible_half(path: Path, half: bool | HalfDType) -> bool | HalfDType:
    """Return a precision that a format can store; raises OutputError for another."""
    if half not in (False, True, "float16", "bfloat16"):
        raise OutputError(f'{path}: half is True, "float16" or "bfloat16", not {half!r}')
    if half == "bfloat16" and path.suffix != ".safetensors":
        raise OutputError(f"{path}: of the formats only .safetensors is written in bfloat16")
    return half


def at_fixed_size(graph: Graph, fixed: Shape) -> Graph:
    """Return a graph at the size that a shape of batches states; raises OutputError if it does not take that."""
    own = graph.input.shape
    if len(fixed) != len(own) + 1 or fixed[1] != own[0]:
        wanted = f"N×{as_text(own)}"
        raise OutputError(f"a fixed size of {as_text(fixed)} is none of this network, which takes {wanted}")
    if fixed[1:] == own:
        return graph
    if graph.depends_on_size:
        raise OutputError(
            f"the network's parameters depend on the size of its input, {as_text(own)}, so that it cannot be fixed to"
            f" {as_text(fixed[1:])}; load the spec with that size"
        )
    return graph.at_size(*fixed[2:])


def _least_size(graph: Graph, *, half: bool | HalfDType) -> int:
    """The bytes that a graph's parameters need at least."""
    return sum(prod(parameter.shape) for parameter in graph.parameters()) * (2 if half else 4)


def artifact_path(path: str | Path, outputs: Collection[str], backend: str) -> Path:
    """The path of an artifact; raises OutputError if a backend with these ``outputs`` does not write its kind."""
    path = Path(path)
    known = [*_CORE_ENDINGS, *outputs]
    kind = ending(path, known)
    if kind not in known:
        endings = ", ".join(name or "a folder" for name in known)
        other = writers().get(kind)
        hint = f"; the {other} backend writes that" if other else ""
        raise OutputError(f"{path}: the {backend} backend writes {endings}, not {kind or 'a folder'}{hint}")
    return path
