"""Weights in and out, strict both ways: a file and a graph must name the same tensors with the same shapes.

The canonical file is safetensors with the graph's JSON and fingerprint in its metadata, read as a private memory map,
so that nothing is copied until it is written to.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.adapting import adapt_to, head_parameters
from resnet_spec.checking import check_weights, half_precision, nonfinite
from resnet_spec.checkpoints.naming import by_graph_names, unwrapped
from resnet_spec.checkpoints.reading import read_checkpoint
from resnet_spec.checkpoints.safetensors_files import write_safetensors
from resnet_spec.differences import first_difference
from resnet_spec.errors import GraphError, Problem, WeightsError
from resnet_spec.files import replacing
from resnet_spec.graph import Graph, canonical

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.checkpoints.checkpoint import Checkpoint

    Tensors = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)

GRAPH, FINGERPRINT = "resnet_spec.graph", "resnet_spec.fingerprint"
"""Keys of the metadata in which a file says which architecture it was written for."""


def read_weights(
    path: str | Path,
    graph: Graph,
    *,
    adapt: Sequence[str] = (),
    ema: bool = False,
    check_finite: bool = False,
    seed: int = 0,
) -> dict[str, NDArray[Any]]:
    """The arrays of a weights file by the graph's parameter names, checked against it.

    The format is told by the content: safetensors (one file, or several with an index), PyTorch's ``.pth``, Keras'
    ``.h5``, ``.weights.h5`` and ``.keras``, TensorFlow's checkpoints (by prefix or index) and SavedModel folders, ONNX,
    a folder of Hugging Face transformers'. Safetensors is a copy-on-write memory map. What needs a framework's code is
    read by the installed backend that knows it. Names and layouts may be PyTorch's or another library's.

    Nothing is fitted unless ``adapt`` asks for it: ``half`` takes half-precision files, ``background`` leaves the first
    of 1001 classes out, ``classes`` draws the head anew (from ``seed``) where the file has another number of classes,
    ``channels`` sums or repeats the kernels for red, green and blue for another number of input channels, ``backbone``
    leaves out tensors for which the graph has no layer. ``ema`` takes exponential moving averages where the file has
    them. ``check_finite`` looks for NaN and infinity. What was adapted or left out is told to the log.

    Raises WeightsError with every missing, unexpected and misshapen tensor, or with the first node that differs where
    the file says which architecture it is for.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path, graph)
    _check_architecture(path, checkpoint, graph, adapt)
    if checkpoint.widened and "half" not in adapt:
        raise WeightsError(f"{path}: {half_precision(len(checkpoint.widened))}")
    _tell(path, checkpoint)
    tensors = by_graph_names(graph, _chosen(path, checkpoint, ema))
    arrays = check_weights(graph, adapt_to(graph, tensors, adapt, seed), str(path))
    if check_finite and (problems := nonfinite(arrays)):
        raise WeightsError([Problem(f"{path}: not all numbers are finite"), *problems])
    return arrays


def _chosen(path: Path, checkpoint: Checkpoint, ema: bool) -> Tensors:
    """The tensors as trained, or their averages over them."""
    if ema and not checkpoint.averages:
        raise WeightsError(f"{path}: holds no exponential moving averages")
    if ema or not checkpoint.tensors:
        return {**unwrapped(checkpoint.tensors), **unwrapped(checkpoint.averages)}
    return checkpoint.tensors


def _tell(path: Path, checkpoint: Checkpoint) -> None:
    for what, number in checkpoint.ignored.items():
        log.info("%s: %d %s left out", path, number, what)
    for remark in checkpoint.remarks:
        log.warning("%s: %s", path, remark)


def write_weights(
    path: str | Path,
    graph: Graph,
    arrays: Tensors,
    *,
    half: bool = False,
    force: bool = False,
) -> None:
    """Write arrays as ``.safetensors`` with the graph's JSON and fingerprint; an existing file needs ``force``.

    ``half`` rounds them to half precision. Raises WeightsError where the arrays do not fit the graph, or half precision
    does not hold them; OutputError where the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: the canonical weights file ends in .safetensors")
    checked = check_weights(graph, arrays, "the arrays")
    if half:
        checked = {name: _rounded(name, array) for name, array in checked.items()}
    metadata = {GRAPH: graph.to_json(), FINGERPRINT: graph.fingerprint}
    with replacing(path, force=force) as temporary:
        write_safetensors(temporary, checked, metadata)


def _rounded(name: str, array: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16)
    if np.isinf(rounded).sum() > np.isinf(array).sum():
        raise WeightsError(Problem("has numbers too large for half precision", name))
    return rounded


def _check_architecture(path: Path, checkpoint: Checkpoint, graph: Graph, adapt: Sequence[str]) -> None:
    """Raise WeightsError where a file says that it is for another architecture, but for what is to be adapted."""
    metadata = checkpoint.metadata
    if metadata.get(FINGERPRINT, graph.fingerprint) == graph.fingerprint:
        return
    try:
        other = Graph.from_json(metadata[GRAPH])
    except (KeyError, GraphError):
        message = f"was written for another architecture than {graph.name} (its fingerprint differs)"
        raise WeightsError(f"{path}: {message}") from None
    if not (adapt and _adaptable(other, graph)):
        said = f"was written for another architecture ({other.name}, not {graph.name})"
        raise WeightsError(f"{path}: {said}: {first_difference(other, graph, ('the file', 'the spec'))}")


def _adaptable(other: Graph, graph: Graph) -> bool:
    """Whether two graphs differ in the width of the head, its presence and the input's channels at most."""
    a, b = ([_without_width(node, _head_layers(g)) for node in g.nodes] for g in (other, graph))
    # A backbone is the beginning of a whole network.
    return all(x == y for x, y in zip(a, b, strict=False))


def _head_layers(graph: Graph) -> set[str]:
    return {parameter.node for parameter in head_parameters(graph)}


def _without_width(node: Any, head: set[str]) -> Any:
    data = canonical(node)
    if node.layer in head:
        data["operation"] = {k: v for k, v in data["operation"].items() if k not in ("features", "channels")}
    return data
