"""What an original gives: its name, and the values that it computes in float64, by the nodes they are values of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

from numpy.typing import NDArray

from resnet_spec import Graph

Arrays = Mapping[str, NDArray[Any]]

Run = Callable[[Graph, Arrays, NDArray[Any]], dict[str, NDArray[Any]]]
"""From a graph, its arrays by their names and a batch (batch, channels, height, width), all of it in the graph's layout
and float64, to the values of nodes, that of the output among them."""

PREFIX = "block.0."
"""Of the nodes of a case of a block."""


class Original(NamedTuple):
    """Another library's code for a case: ``name`` is its dotted name, ``libraries`` the ones it needs."""

    name: str
    libraries: tuple[str, ...]
    run: Run

    @property
    def environment(self) -> dict[str, str]:
        """The versions of the libraries."""
        return {library: version(library) for library in self.libraries}

    @property
    def source(self) -> str:
        """What a report calls it."""
        return f"{self.name} of {self.libraries[0]} {version(self.libraries[0])}"


def only(value: Callable[[NDArray[Any], dict[str, NDArray[Any]]], NDArray[Any]]) -> Run:
    """A function of the batch and of the arrays of the node ``layer``, as the run of the graph's output."""

    def run(graph: Graph, arrays: Arrays, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        own = {name.removeprefix("layer."): array for name, array in arrays.items()}
        return {graph.outputs[-1]: value(images, own)}

    return run
