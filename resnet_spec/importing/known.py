"""Finds the shipped spec that a graph is, apart from the number of classes and the input size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_spec.errors import SpecError
from resnet_spec.graph import Graph
from resnet_spec.importing.architecture import architecture
from resnet_spec.spec.catalog import available
from resnet_spec.spec.loader import load
from resnet_spec.weights.identification import of_like_kernels, rarity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def known_spec(graph: Graph, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any] | None:
    """The shortest document of a graph that is a shipped network, or None."""
    wanted = architecture(graph, layers=True)
    for name in sorted(of_like_kernels(available(), arrays), key=rarity):
        document = _like(name, graph)
        if document is None:
            continue
        overrides: dict[str, int] = {
            f"{key}.{inner}": value for key in ("input", "parameters") for inner, value in document.get(key, {}).items()
        }
        try:
            other = load(name, overrides).to_graph()
        except SpecError:
            continue
        if architecture(other, layers=True) == wanted:
            return document
    return None


def _like(name: str, graph: Graph) -> dict[str, Any] | None:
    """What extends a shipped spec to a graph's input and classes."""
    spec = load(name)
    document: dict[str, Any] = {"extends": name}
    own = spec.to_graph().input
    if own != graph.input:
        before, after = own.model_dump(), graph.input.model_dump()
        if before.keys() != after.keys():
            return None
        document["input"] = {key: value for key, value in after.items() if before[key] != value}
    last = graph.nodes[-1]
    classes = spec.data().get("parameters", {}).get("classes")
    if last.operation.op == "linear" and classes is not None and last.shape[0] != classes:
        document["parameters"] = {"classes": last.shape[0]}
    return document
