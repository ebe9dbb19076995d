"""Reads and writes weights strictly: a file and a graph must have the same tensors, by name and shape.

The canonical file is safetensors with the graph's JSON and fingerprint in its metadata.
"""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

from resnet_spec.backend.checkpoint import Checkpoint, widen_bfloat16
from resnet_spec.backend.dtypes import HalfDType
from resnet_spec.backend.registry import importer_of
from resnet_spec.backend.training import Counters, counted
from resnet_spec.errors import BackendError, GraphError, Problem, WeightsError
from resnet_spec.graph import Graph
from resnet_spec.graph.difference import inference_difference
from resnet_spec.weights.adapting import adapt_to, checked_adaptations, counters_among, head_parameters
from resnet_spec.weights.atomic import replacing
from resnet_spec.weights.by_structure import (
    OtherNetworkError,
    checkpoint_of_model,
    has_names,
    importer_of_file,
    read_by_structure,
)
from resnet_spec.weights.formats.safetensors import write_safetensors
from resnet_spec.weights.matching import check_weights, nonfinite, too_large
from resnet_spec.weights.reading import read_checkpoint
from resnet_spec.weights.selection import Selection, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)

GRAPH, FINGERPRINT = "resnet_spec.graph", "resnet_spec.fingerprint"
"""Keys of the metadata in which a file states which architecture it was written for."""


class Reading(TypedDict, total=False):
    """How to read weights, as ``read_weights`` documents its arguments of these names."""

    adapt: str | Collection[str]
    take: str
    ema: bool
    strict_graph: bool
    check_finite: bool


def read_weights(
    path: str | Path,
    graph: Graph,
    *,
    adapt: str | Collection[str] = (),
    take: str = "",
    ema: bool = False,
    strict_graph: bool = False,
    check_finite: bool = False,
    seed: int = 0,
    mmap: bool = False,
) -> dict[str, NDArray[Any]]:
    """Read a weights file as arrays by the graph's parameter names, checked against the graph.

    The content decides the format: safetensors (one file, or several with an index), PyTorch's ``.pth`` and
    folders of ``torch.distributed.checkpoint``, Keras'
    ``.h5``, ``.weights.h5`` and ``.keras``, TensorFlow's checkpoints (by prefix or index), SavedModel folders and
    frozen graphs (``.pb``), ONNX, Hugging Face transformers' folders, Flax's msgpack files, Orbax's folders (with
    TensorStore, an extra), MXNet's ``.params``, PaddlePaddle's ``.pdparams`` and Caffe's ``.caffemodel``, NumPy's
    ``.npz`` and pickles of arrays. A format that needs a framework's code is read by the installed backend that knows
    it. Names and layouts may be PyTorch's or another library's, below any prefix and beside other tensors. Where names
    do not fit and the file is a model that an installed backend imports (``.keras``, ``.h5`` with its configuration,
    SavedModel, ``.pb``, ``.pt2``), its network is compared with the graph, and each weight found by its place. What was
    adapted or left out is logged.

    Args:
        path: A file, a folder, or a TensorFlow checkpoint's prefix.
        graph: The graph whose parameters the file must hold.
        adapt: One or several adaptations, without which every tensor must fit: ``"half"`` accepts half-precision
            files; ``"background"`` drops the first of 1001 classes; ``"classes"`` reinitializes the head where the
            number of classes differs; ``"channels"`` sums or repeats the kernels for red, green and blue for another
            number of input channels; ``"backbone"`` drops tensors after the graph's last layer.
        take: The part of the file's names, or of its mapping, below which the weights are (``"encoder_q"``,
            ``"callbacks.EMA.ema_state_dict"``); ``"."`` for names without a prefix. Needed only where several fit.
        ema: Whether to use exponential moving averages, which the file must have.
        strict_graph: Whether to refuse a file that states a network which computes something else from the same
            parameters, such as another stride; otherwise the first difference is logged. The networks of Keras' and
            TensorFlow's files whose names fit are read for this only.
        check_finite: Whether to refuse NaN and infinity.
        seed: The seed from which ``"classes"`` initializes the head.
        mmap: Whether to map the file copy-on-write instead of reading it, for safetensors and PyTorch's zip files; a
            tensor is then read when it is first used. The file must stay unchanged while the arrays, and models built
            from them, are in use: a change of it changes them, and where it is truncated (as ``torch.save`` to the
            same path does first) the operating system ends the process. By default the arrays are in memory of their
            own, and the file may be replaced, truncated or deleted as soon as this function returns.

    Returns:
        One array for each parameter, in the graph's order, laid out as PyTorch lays them out (a convolution's kernel
        as output channels, input channels, height, width). They may be written to; the file does not change.

    Raises:
        WeightsError: The file cannot be read, a tensor is missing, unexpected or of another shape (all are listed), or
            several parts of the file fit (all are listed).
        BackendError: The backend that reads this format cannot be imported.

    Examples:
        >>> from resnet_spec import initialize, load
        >>> graph = load("cifar/resnet20").to_graph()
        >>> write_weights("weights.safetensors", graph, initialize(graph))
        >>> read_weights("weights.safetensors", graph)["conv1.weight"].shape
        (16, 3, 3, 3)
    """
    reading: Reading = {
        "adapt": adapt,
        "take": take,
        "ema": ema,
        "strict_graph": strict_graph,
        "check_finite": check_finite,
    }
    return fit_file(path, graph, seed=seed, mmap=mmap, **reading).arrays


class Fitted(NamedTuple):
    """What a model is filled with.

    Attributes:
        arrays: One array for each parameter of a graph.
        counters: How many batches normalizations were trained with, where that is known.
    """

    arrays: dict[str, NDArray[Any]]
    counters: Counters = MappingProxyType({})


def fit_file(
    path: str | Path, graph: Graph, *, seed: int = 0, mmap: bool = False, **reading: Unpack[Reading]
) -> Fitted:
    """The weights of a file as a graph's, as by ``read_weights``, and the counts of batches beside them."""
    # Before a large file is read in vain.
    checked_adaptations(reading.get("adapt", ()))
    path = Path(path)
    return _fit(graph, read_checkpoint(path, graph, mmap=mmap), str(path), seed, reading, file=path)


def fit_arrays(graph: Graph, arrays: Tensors, source: str, *, seed: int = 0, **reading: Unpack[Reading]) -> Fitted:
    """Named arrays as a graph's, as by ``read_weights``; they may be in half precision."""
    # The arrays of a framework that has bfloat16, such as JAX.
    wide = {name: widen_bfloat16(array) if array.dtype.name == "bfloat16" else array for name, array in arrays.items()}
    return _fit(graph, Checkpoint(wide), source, seed, accepting_half(reading))


def accepting_half(reading: Reading) -> Reading:
    """How to read weights, so that they may be in half precision."""
    return {**reading, "adapt": {*checked_adaptations(reading.get("adapt", ())), "half"}}


def fit_model(graph: Graph, model: object, *, seed: int = 0, **reading: Unpack[Reading]) -> Fitted:
    """The weights of a live model as a graph's, found by structure; raises TypeError for another object."""
    importer = importer_of(model)
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if importer is None:
        raise TypeError(f"weights are a path, named arrays or a model of an installed backend, not {kind}")
    checkpoint = checkpoint_of_model(model, importer, graph, kind)
    fitted = _fit(graph, checkpoint, kind, seed, reading)
    return fitted._replace(counters=counted(fitted.counters))


def _fit(
    graph: Graph, checkpoint: Checkpoint, source: str, seed: int, reading: Reading, file: Path | None = None
) -> Fitted:
    adapt = checked_adaptations(reading.get("adapt", ()))
    selection = select(graph, checkpoint, source, take=reading.get("take", ""), ema=reading.get("ema", False))
    difference = checkpoint.doubt or architecture_difference(checkpoint, graph)
    failure: Sequence[Problem] = ()
    if file and not difference and (importer := _importer(file, graph, selection, reading)):
        try:
            return _fit(graph, read_by_structure(file, importer, graph), source, seed, reading)
        except (OtherNetworkError, BackendError) as error:
            reason = error.reason if isinstance(error, OtherNetworkError) else f"its network was not read: {error}"
            if has_names(graph, selection.tensors):
                difference = f"was read by names only: {reason}"
            else:
                failure = [Problem(f"{source}: {reason}")]
    if difference and reading.get("strict_graph"):
        raise WeightsError(f"{source}: {difference}")
    widened = checkpoint.widened.intersection(selection.origins.values())
    halves = len(widened) + sum(tensor.dtype.str[1:] == "f2" for tensor in selection.tensors.values())
    unasked = [Problem(f'{source}: {halves} tensors are in half precision; adapt="half" accepts them')]
    unasked = unasked if halves and "half" not in adapt else []
    try:
        arrays = check_weights(graph, adapt_to(graph, selection.tensors, adapt, seed), source)
    except WeightsError as error:
        stated = [Problem(f"{source}: {difference}")] if difference else []
        stated += _unreadable(checkpoint, graph, selection.tensors)
        hints = [Problem(selection.hint)] if selection.hint else []
        advised = hints or any(not problem.path for problem in error.problems[1:])
        if file and not (difference or advised) and _may_be_another(graph, selection.tensors):
            hints = [Problem(f"`resnet-spec identify {shlex.quote(str(file))}` names the network that fits it")]
        # Where no name fits, a list of all of them says less than the network.
        some = selection.tensors.keys() & {parameter.name for parameter in graph.parameters()}
        names = error.problems if some or not failure else error.problems[:1]
        raise WeightsError([*failure, *stated, *names, *hints, *unasked]) from None
    if reading.get("check_finite") and (problems := nonfinite(arrays)):
        raise WeightsError([Problem(f"{source}: not all numbers are finite"), *problems])
    if unasked:
        raise WeightsError(unasked)
    _log_remarks(source, checkpoint, selection, halves)
    if difference:
        log.warning("%s: %s; strict_graph=True refuses this", source, difference)
    return Fitted(arrays, selection.counters)


def _importer(file: Path, graph: Graph, selection: Selection, reading: Reading) -> str | None:
    """The backend that reads the network in a file, if names are not enough to find or to judge the weights."""
    if reading.get("take") or reading.get("ema"):
        return None
    enough = has_names(graph, selection.tensors) and not selection.positional and not reading.get("strict_graph")
    return None if enough else importer_of_file(file)


def _may_be_another(graph: Graph, tensors: Tensors) -> bool:
    """Whether tensors may be another network's: the kernels of convolutions are others than the graph's."""
    kernels = {name: tensor.shape for name, tensor in tensors.items() if tensor.ndim > 2}
    wanted = {parameter.name: parameter.shape for parameter in graph.parameters() if len(parameter.shape) > 2}
    return bool(kernels) and kernels != wanted


def _unreadable(checkpoint: Checkpoint, graph: Graph, tensors: Tensors) -> list[Problem]:
    """A problem for each tensor that cannot be read and may be a missing parameter: of its name, else of any name."""
    missing = [parameter.name for parameter in graph.parameters() if parameter.name not in tensors]
    kinds: Mapping[str, str] = checkpoint.unreadable if missing else {}
    likely = [name for name in kinds if any(f".{name}".endswith(f".{parameter}") for parameter in missing)]
    return [Problem(f"is stored as {kinds[name]}, which cannot be read", name) for name in likely or kinds]


def _log_remarks(source: str, checkpoint: Checkpoint, selection: Selection, halves: int) -> None:
    for what, number in (Counter(checkpoint.ignored) + Counter(selection.ignored)).items():
        log.info("%s: skipped %s (%d)", source, what, number)
    if halves:
        log.warning("%s: %d tensors are in half precision", source, halves)
    for remark in (*checkpoint.remarks, *selection.remarks):
        log.warning("%s: %s", source, remark)


def write_weights(
    path: str | Path,
    graph: Graph,
    arrays: Tensors,
    *,
    half: bool | HalfDType = False,
    force: bool = False,
) -> None:
    """Write arrays as ``.safetensors``, with the graph's JSON and fingerprint as metadata.

    Args:
        path: The file, which ends in ``.safetensors``; it appears whole or not at all.
        graph: The graph whose parameters the arrays are.
        arrays: One array for each parameter, as ``read_weights`` and ``initialize`` return them, and the counts of
            batches of a PyTorch model (``bn1.num_batches_tracked``), which are optional.
        half: Whether to round to half precision: ``"bfloat16"``, or ``"float16"``, which True means.
        force: Whether to replace a file that exists.

    Raises:
        WeightsError: The arrays do not fit the graph, or are too large for half precision.
        OutputError: The file exists, or cannot be written.

    Examples:
        >>> from resnet_spec import initialize, load
        >>> graph = load("cifar/resnet20").to_graph()
        >>> write_weights("weights.safetensors", graph, initialize(graph), half=True)
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: the name of a weights file must end in .safetensors")
    checked = check_weights(graph, arrays, "the arrays")
    dtype = ("float16" if half is True else half) or None
    if dtype and (problems := too_large(checked, dtype)):
        raise WeightsError([Problem("some values are too large for half precision"), *problems])
    metadata = {GRAPH: graph.to_json(), FINGERPRINT: graph.fingerprint}
    with replacing(path, force=force) as temporary:
        write_safetensors(temporary, checked | counters_among(arrays), metadata, dtype=dtype)


def architecture_difference(checkpoint: Checkpoint, graph: Graph) -> str:
    """The first difference of the network that a file states from a graph; empty if both compute the same.

    What only training or the names of outputs depend on is not a difference, nor are numbers of classes and channels,
    which the tensors' shapes show.
    """
    metadata = checkpoint.metadata
    # A graph's fingerprint takes a tenth of the time in which ResNet-50 is built, and few files have one.
    if FINGERPRINT not in metadata or metadata[FINGERPRINT] == graph.fingerprint:
        return ""
    try:
        other = Graph.from_json(metadata[GRAPH])
    except (KeyError, GraphError):
        other = graph
    if other.fingerprint == graph.fingerprint:
        return f"was written for an architecture other than {graph.name} (its fingerprint differs)"
    heads = {parameter.node for g in (other, graph) for parameter in head_parameters(g)}
    difference = inference_difference(other, graph, heads, ("the file", "the spec"))
    if not difference:
        return ""
    if other.name == graph.name:
        return f"was written for another variant of {graph.name}: {difference}"
    return f"was written for another architecture ({other.name}, not {graph.name}): {difference}"
