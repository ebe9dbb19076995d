"""Reads the weights of an ONNX file: by its initializers' names if those are a graph's, else by structure.

In both cases the file's network shows its architecture, so that it must be the graph's wherever it can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx import NodeProto

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import WeightsError
from resnet_spec.structure.comparison import Comparison
from resnet_spec.structure.matching import MismatchError
from resnet_spec.structure.steps import IncomparableError
from resnet_spec.weights.selection import by_graph_names
from resnet_spec_onnx.reading.comparison import compare_file
from resnet_spec_onnx.reading.protobuf import Contents, read_contents

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

    Arrays = Mapping[str, NDArray[Any]]

NOT_WEIGHTS = "constants that are not weights"


def read_onnx(path: Path, graph: Graph | None = None) -> Checkpoint:
    """Return the floating-point weights of a file; bfloat16 is widened to float32, which is exact.

    Without a graph, or if the initializers are named after its parameters (in any supported library's words), they keep
    their names and the file's layout. Else each is found by its position in the network, which must be the graph's,
    and gets the graph's name. Where names fit and the networks differ, the checkpoint's ``doubt`` says how. Folded
    normalizations that are nodes after convolutions are multiplied into the weights.

    Raises WeightsError for a file that is invalid, has unsupported parts (subgraphs, functions, sparse tensors), has
    another architecture than the graph, or leaves more than one way to load it.
    """
    contents = read_contents(path)
    if unsupported := unsupported_part(contents):
        raise WeightsError(f"{path}: has {unsupported}, which are not supported")
    metadata = {entry.key: entry.value for entry in contents.model.metadata_props}
    weights = _by_name(contents)
    by_name = {name: (name,) for name in weights}
    if graph is None:
        return _checkpoint(contents, metadata, weights, by_name, ())
    # From here on the file's own network is compared: another tool may have changed it, and left the metadata.
    names = _graph_names(graph, weights)
    named = {parameter.name for parameter in graph.parameters()} <= set(names.values())
    try:
        comparison = compare_file(contents, graph, names if named else {})
    except MismatchError as error:
        if not named or _fits_by_structure(contents, graph):
            raise WeightsError(f"{path}: {error}") from None
        return _checkpoint(
            contents, {}, weights, by_name, (), f"is for another architecture than {graph.name}: {error}"
        )
    except IncomparableError as error:
        if not named:
            raise WeightsError(
                f"{path}: its weights do not have the spec's names and cannot be found by structure: {error}"
            ) from None
        doubt = f"was read by names only; whether its architecture is the spec's was not checked: {error}"
        return _checkpoint(contents, {}, weights, by_name, (), doubt)
    origins = _named_origins(weights, names, comparison) if named else _found_origins(path, weights, names, comparison)
    tensors = weights if named else weights | {name: tensor.array for name, tensor in comparison.tensors.items()}
    return _checkpoint(contents, {}, tensors, origins, comparison.remarks)


def _checkpoint(
    contents: Contents,
    metadata: Mapping[str, str],
    tensors: Mapping[str, Any],
    origins: Mapping[str, Iterable[str]],
    remarks: tuple[str, ...],
    doubt: str = "",
) -> Checkpoint:
    """Return the tensors in ``origins``, which names the initializers of each; other initializers are counted."""
    used = {name for names in origins.values() for name in names}
    rest = sum(tensor.name not in used for tensor in contents.graph.initializer)
    return Checkpoint(
        {name: tensors[name] for name in origins},
        ignored={NOT_WEIGHTS: rest} if rest else {},
        widened=frozenset(name for name, names in origins.items() if contents.widened.intersection(names)),
        metadata=metadata,
        remarks=remarks,
        doubt=doubt,
    )


def _fits_by_structure(contents: Contents, graph: Graph) -> bool:
    """Whether the networks are the same, so that it is names that contradict the structure."""
    try:
        compare_file(contents, graph, {})
    except (MismatchError, IncomparableError):
        return False
    return True


def _named_origins(weights: Arrays, names: Mapping[str, str], comparison: Comparison) -> dict[str, tuple[str, ...]]:
    wanted = comparison.tensors.keys() | comparison.others
    return {name: (name,) for name in weights if names[name] in wanted or name in wanted}


def _found_origins(
    path: Path, weights: Arrays, names: Mapping[str, str], comparison: Comparison
) -> dict[str, tuple[str, ...]]:
    """Return origins by the graph's names; raises WeightsError if an initializer is named after another parameter."""
    owners: dict[str, list[str]] = {}
    for parameter, tensor in comparison.tensors.items():
        for name in tensor.names:
            owners.setdefault(name, []).append(parameter)
    for name in [*owners, *comparison.others]:
        if names.get(name) in comparison.tensors and names[name] not in owners.get(name, []):
            position = f"that of {owners[name][0]!r}" if name in owners else "beyond the spec's network"
            raise WeightsError(f"{path}: {name!r} is named after {names[name]!r}, but its position is {position}")
    rest = {name: (name,) for name in weights if name in comparison.others and name not in owners}
    return {name: tensor.names for name, tensor in comparison.tensors.items()} | rest


def _by_name(contents: Contents) -> dict[str, NDArray[Any]]:
    """Return the floating-point initializers; one that an exporter stored once for several names has all of them."""
    arrays = dict(contents.arrays)
    for node in contents.graph.node:
        if node.op_type == "Identity" and node.input and node.output and node.input[0] in arrays:
            arrays.setdefault(node.output[0], arrays[node.input[0]])
    return {name: array for name, array in arrays.items() if array.dtype.kind == "f"}


def _graph_names(graph: Graph, weights: Arrays) -> dict[str, str]:
    """Return for each weight the graph's name for it, or its own."""
    translated = by_graph_names(graph, weights)
    return dict(zip(weights, translated, strict=True)) if len(translated) == len(weights) else {n: n for n in weights}


def unsupported_part(contents: Contents) -> str | None:
    """Return what a file has that is not read, if anything."""
    if contents.model.functions:
        return "functions"
    if contents.graph.sparse_initializer:
        return "sparse tensors"
    if any(map(_has_subgraph, contents.graph.node)):
        return "subgraphs"
    return None


def _has_subgraph(node: NodeProto) -> bool:
    return any(attribute.HasField("g") or len(attribute.graphs) for attribute in node.attribute)
