"""The graph of what a person names: a spec, a model in any format that is imported, or a file that states its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_spec.backend.registry import importers, readers
from resnet_spec.errors import GraphError, ModelError, WeightsError
from resnet_spec.graph import Graph
from resnet_spec.hub import is_address
from resnet_spec.importing.importer import read_source
from resnet_spec.spec.catalog import ENDINGS
from resnet_spec.spec.loader import load
from resnet_spec.weights.formats.detection import SAVED_MODEL
from resnet_spec.weights.io import GRAPH
from resnet_spec.weights.reading import read_checkpoint

CORE_ENDINGS = frozenset({".safetensors", ".pth", ".pt", ".npz", ".msgpack", ".params", ".ckpt"})
"""Endings of files that a text names even if they do not exist."""


@dataclass(frozen=True)
class Network:
    """A network that a person named.

    Attributes:
        name: What it was named by.
        graph: The network.
        is_spec: Whether it is a spec's, which states what only training depends on, too.
        remarks: What was read differently from how the source states it.
    """

    name: str
    graph: Graph
    is_spec: bool
    remarks: tuple[str, ...] = ()


def read_network(text: str, overrides: Sequence[str] = (), input: tuple[int, ...] | None = None) -> Network:
    """Read the network that a text names.

    Args:
        text: A shipped spec, the path or the Hub's address of one, the path of a model, or ``package.module:function``.
        overrides: Of a spec.
        input: The shape of the input, channels first, for a model that does not state it.

    Returns:
        The network.

    Raises:
        SpecError: The spec is invalid, or there is none of this name.
        ModelError: The file is not a model, or has layers that the language cannot express.
        WeightsError: The file cannot be read.
        BackendError: The backend that reads it is not installed.

    Examples:
        >>> read_network("resnet50", ["parameters.classes=7"]).graph.nodes[-1].shape
        (7,)
    """
    path = Path(text)
    if text.endswith(ENDINGS) or is_address(text):
        return Network(text, load(text, overrides).to_graph(), is_spec=True)
    if text and path.exists():
        return _from_file(text, path, input)
    if ":" in text:
        source = read_source(text, input)
        return Network(text, source.graph, is_spec=False, remarks=source.remarks)
    if path.suffix and path.suffix in CORE_ENDINGS | importers().keys() | readers().keys():
        raise ModelError(f"{text}: does not exist")
    spec = load(text, overrides)
    return Network(spec.name, spec.to_graph(), is_spec=True)


def _from_file(text: str, path: Path, input: tuple[int, ...] | None) -> Network:
    if importers_of(path):
        source = read_source(path, input)
        return Network(text, source.graph, is_spec=False, remarks=source.remarks)
    graph = stated_graph(path)
    if graph is None:
        raise ModelError(f"{path}: states tensors and no network; `resnet-spec identify` names specs that fit it")
    return Network(text, graph, is_spec=True)


def importers_of(path: Path) -> str | None:
    """The backend that imports a file by its ending, or a SavedModel's folder."""
    if path.is_dir():
        # Other folders hold weights only.
        return importers().get("") if (path / SAVED_MODEL).is_file() else None
    return importers().get(path.suffix.lower()) if path.suffix else None


def stated_graph(path: Path) -> Graph | None:
    """The graph that a weights file of this package states; None for other files."""
    stated = read_checkpoint(path, mmap=True).metadata.get(GRAPH)
    if stated is None:
        return None
    try:
        return Graph.from_json(stated)
    except GraphError as error:
        raise WeightsError(f"{path}: states an invalid graph: {error}") from None
