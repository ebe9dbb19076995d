"""Finds a graph's weights in another library's model by the two networks' structure, where names do not help.

The installed backend that imports the model reads it, as ``resnet-spec import`` does; nothing in a file is executed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.backend.registry import get_backend, importers
from resnet_spec.backend.training import COUNTER
from resnet_spec.errors import ModelError, WeightsError
from resnet_spec.structure.comparison import compare_with_source
from resnet_spec.structure.matching import MismatchError
from resnet_spec.weights.formats.detection import SAVED_MODEL, ending_of, find_file
from resnet_spec.weights.formats.keras import has_configuration
from resnet_spec.weights.selection import by_graph_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import ImportingBackend
    from resnet_spec.backend.source import SourceModel
    from resnet_spec.graph import Graph

ONNX = ".onnx"
"""Models of which the reader itself compares the network."""


class OtherNetworkError(WeightsError):
    """A model whose network is not the graph's, or cannot be read: ``reason`` says why, without the model's name."""

    def __init__(self, source: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{source}: {reason}")


def importer_of_file(path: Path) -> str | None:
    """The installed backend that imports the model in a file or folder; None for weights without a network."""
    file = find_file(path)
    with suppress(OSError):
        ending = ONNX if file is None else ending_of(file)
        if file is None or ending == ONNX or (ending == ".h5" and not has_configuration(file)):
            return None
        if os.path.isdir(file) and not os.path.isfile(file / SAVED_MODEL):
            return None
        return importers().get(ending)
    return None


def read_by_structure(path: Path, backend: str, graph: Graph) -> Checkpoint:
    """The weights of the model in a file by the graph's names.

    Raises OtherNetworkError if the networks differ, if more than one array fits a parameter, or if the model cannot be
    read; BackendError if the backend cannot be imported.
    """
    return checkpoint_of_model(find_file(path) or path, backend, graph, str(path))


def checkpoint_of_model(model: Any, backend: str, graph: Graph, source: str) -> Checkpoint:
    """The weights of a model, live or at a path, by the graph's names.

    Where its own names fit and the networks differ, the weights are those of these names, and ``doubt`` says how.

    Raises OtherNetworkError as above, BackendError if the backend cannot be imported.
    """
    try:
        found = _imported(model, backend, graph)
    except ModelError as error:
        more = len(error.problems) - 1
        reason = f"{error.problems[0]}{f' (and {more} more)' if more else ''}".removeprefix(f"{source}: ")
        raise OtherNetworkError(source, f"its network cannot be read: {reason}") from error
    names = _graph_names(graph, found.arrays)
    named = has_names(graph, names.values())
    try:
        comparison = compare_with_source(found, graph, names if named else {})
    except MismatchError as error:
        if not named or _fits_without_names(found, graph):
            raise OtherNetworkError(source, f"its weights cannot be found by structure: {error}") from None
        by_name = {names[name]: array for name, array in found.arrays.items()} | _counters(found, names)
        return Checkpoint(by_name, doubt=f"is for another architecture than {graph.name}: {error}")
    tensors = {name: tensor.array for name, tensor in comparison.tensors.items()}
    rest = {name: found.arrays[name] for name in comparison.others if name not in tensors}
    ours = {theirs: name for name, tensor in comparison.tensors.items() for theirs in tensor.names}
    writable = {name: _writable(array) for name, array in {**tensors, **rest, **_counters(found, ours)}.items()}
    remark = () if named else ("was matched by structure: its names are not the spec's",)
    return Checkpoint(writable, remarks=(*remark, *comparison.remarks))


def _counters(found: SourceModel, names: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """A model's counts of batches beside the running means, which ``names`` maps to the graph's names."""
    means = {names[mean]: count for mean, count in found.counters.items() if mean in names}
    return {f"{mean.rpartition('.')[0]}.{COUNTER}": count for mean, count in means.items()}


def has_names(graph: Graph, names: Collection[str]) -> bool:
    """Whether names include all of a graph's parameters."""
    return {parameter.name for parameter in graph.parameters()}.issubset(names)


def _imported(model: Any, backend: str, graph: Graph) -> SourceModel:
    """The model at the graph's input size, or at its own if that is another."""
    importer = cast("ImportingBackend", get_backend(backend))
    try:
        return importer.import_model(model, graph.input.shape)
    except ModelError:
        return importer.import_model(model, None)


def _graph_names(graph: Graph, arrays: Mapping[str, Any]) -> dict[str, str]:
    """For each array the graph's name for it, or its own."""
    translated = by_graph_names(graph, arrays)
    return dict(zip(arrays, translated, strict=True)) if len(translated) == len(arrays) else {n: n for n in arrays}


def _fits_without_names(source: SourceModel, graph: Graph) -> bool:
    """Whether the networks are the same, so that it is names that contradict the structure."""
    with suppress(MismatchError):
        compare_with_source(source, graph)
        return True
    return False


def _writable(array: Any) -> Any:
    """An array of which nobody else changes the memory."""
    import numpy as np

    return array if array.flags.writeable and array.flags.owndata else np.array(array)
