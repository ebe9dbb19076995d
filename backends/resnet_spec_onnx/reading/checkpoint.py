"""Reads the weights of an ONNX file: by its initializers' names where those are a graph's, else by their place in it.

Either way the file says which architecture it is, so where it can be compared with the graph it must be the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx import NodeProto

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import WeightsError
from resnet_spec.weights.naming import by_graph_names
from resnet_spec_onnx.compilation import FINGERPRINT
from resnet_spec_onnx.reading.comparing import Found, compare
from resnet_spec_onnx.reading.contents import Contents, read_contents
from resnet_spec_onnx.reading.matching import MismatchError
from resnet_spec_onnx.reading.normal_form import IncomparableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

    Arrays = Mapping[str, NDArray[Any]]

NOT_WEIGHTS = "constants that are no weights"


def read_onnx(path: Path, graph: Graph | None = None) -> Checkpoint:
    """The floating-point weights of a file; bfloat16 is widened, exactly.

    They go by their initializers' names, in the file's layout, where there is no graph or the names are its
    parameters', in whatever library's words. Else they go by the graph's names, found by their place in the network
    once that is shown to be the graph's. Where folded normalizations are written out as constants behind
    convolutions, these are multiplied out.

    Raises WeightsError for a file that is broken, holds what is not read (graphs within nodes, functions, sparse
    tensors), is another network than the graph, or leaves two ways to load it.
    """
    contents = read_contents(path)
    if foreign := _foreign(contents):
        raise WeightsError(f"{path}: holds {foreign}, which are not read")
    metadata = {entry.key: entry.value for entry in contents.model.metadata_props}
    weights = _by_name(contents)
    if graph is None or metadata.get(FINGERPRINT, graph.fingerprint) != graph.fingerprint:
        # Of a file that says so itself, the caller tells in better words how it differs.
        return _checkpoint(contents, metadata, weights, {name: (name,) for name in weights}, ())
    names = _translated(graph, weights)
    named = {parameter.name for parameter in graph.parameters()} <= set(names.values())
    remarks: tuple[str, ...] = ()
    try:
        found = compare(contents, graph, names if named else {})
    except MismatchError as error:
        raise WeightsError(f"{path}: {error}") from None
    except IncomparableError as error:
        if not named:
            raise WeightsError(f"{path}: cannot be read by the places of its weights: {error}") from None
        if FINGERPRINT not in metadata:
            remarks = (f"is read by names alone, and not shown to be the same network: {error}",)
        return _checkpoint(contents, metadata, weights, {name: (name,) for name in weights}, remarks)
    origins = _named_origins(weights, names, found) if named else _placed_origins(path, weights, names, found)
    tensors = weights if named else weights | {name: tensor.array for name, tensor in found.tensors.items()}
    return _checkpoint(contents, metadata, tensors, origins, found.remarks)


def _checkpoint(
    contents: Contents,
    metadata: Mapping[str, str],
    tensors: Mapping[str, Any],
    origins: Mapping[str, Iterable[str]],
    remarks: tuple[str, ...],
) -> Checkpoint:
    """The tensors that have origins, initializers of the file; whatever of it is no origin is counted."""
    used = {name for names in origins.values() for name in names}
    rest = sum(tensor.name not in used for tensor in contents.graph.initializer)
    return Checkpoint(
        {name: tensors[name] for name in origins},
        ignored={NOT_WEIGHTS: rest} if rest else {},
        widened=frozenset(name for name, names in origins.items() if contents.widened.intersection(names)),
        metadata=metadata,
        remarks=remarks,
    )


def _named_origins(weights: Arrays, names: Mapping[str, str], found: Found) -> dict[str, tuple[str, ...]]:
    wanted = found.tensors.keys() | found.others
    return {name: (name,) for name in weights if names[name] in wanted or name in wanted}


def _placed_origins(path: Path, weights: Arrays, names: Mapping[str, str], found: Found) -> dict[str, tuple[str, ...]]:
    """By the graph's names; raises WeightsError where an initializer's own name says that it is another's."""
    owners: dict[str, list[str]] = {}
    for parameter, tensor in found.tensors.items():
        for name in tensor.names:
            owners.setdefault(name, []).append(parameter)
    for name in [*owners, *found.others]:
        if names.get(name) in found.tensors and names[name] not in owners.get(name, []):
            place = owners.get(name, ["nothing in the spec"])[0]
            raise WeightsError(f"{path}: {name!r} has the name of {names[name]!r} and the place of {place!r}")
    rest = {name: (name,) for name in weights if name in found.others and name not in owners}
    return {name: tensor.names for name, tensor in found.tensors.items()} | rest


def _by_name(contents: Contents) -> dict[str, NDArray[Any]]:
    """The floating-point initializers, and those that an exporter keeps once for several names."""
    arrays = dict(contents.arrays)
    for node in contents.graph.node:
        if node.op_type == "Identity" and node.input and node.output and node.input[0] in arrays:
            arrays.setdefault(node.output[0], arrays[node.input[0]])
    return {name: array for name, array in arrays.items() if array.dtype.kind == "f"}


def _translated(graph: Graph, weights: Arrays) -> dict[str, str]:
    """For each weight the graph's name for it, or its own."""
    translated = by_graph_names(graph, weights)
    return dict(zip(weights, translated, strict=True)) if len(translated) == len(weights) else {n: n for n in weights}


def _foreign(contents: Contents) -> str | None:
    """What a file holds beside layers and weights."""
    if contents.model.functions:
        return "functions"
    if contents.graph.sparse_initializer:
        return "sparse tensors"
    if any(map(_has_graph, contents.graph.node)):
        return "graphs within nodes"
    return None


def _has_graph(node: NodeProto) -> bool:
    return any(attribute.HasField("g") or len(attribute.graphs) for attribute in node.attribute)
