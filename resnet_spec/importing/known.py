"""Finds the shipped spec that a graph is, apart from the number of classes, the input size and a few overrides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_spec.errors import SpecError
from resnet_spec.graph import Graph
from resnet_spec.importing.architecture import architecture
from resnet_spec.importing.overriding import extending, with_overrides
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
        document = extending(name, graph)
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
    return with_overrides(graph)
