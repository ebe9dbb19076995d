"""What a backend has if its models can be benchmarked: runtimes, each of which runs a network from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from resnet_spec.backend.protocol import Backend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import Arrays
    from resnet_spec.graph import Graph


@dataclass(frozen=True)
class Runtime:
    """A network that a runtime has loaded, by three functions of which only ``run`` is timed.

    Attributes:
        convert: Makes the runtime's own input from images (batch, channels, height, width) in float32.
        run: Computes the runtime's own outputs from its own input; they are whole when it returns.
        values: Makes arrays, laid out as the graph's outputs are, from the runtime's own outputs.
    """

    convert: Callable[[NDArray[Any]], Any]
    run: Callable[[Any], Any]
    values: Callable[[Any], list[NDArray[Any]]]


class RunningBackend(Backend, Protocol):
    """A backend whose networks can be benchmarked."""

    runtimes: ClassVar[Mapping[str, str]]
    """The runtimes by name, and what each is. A package whose class needs the framework declares them as ``RUNTIMES``
    too."""

    def write_runtime(self, name: str, graph: Graph, arrays: Arrays, folder: Path) -> Path:
        """Write the file or folder that a runtime loads.

        Args:
            name: One of ``runtimes``.
            graph: The network.
            arrays: One array for each parameter.
            folder: An empty folder.

        Returns:
            The file or folder, in ``folder``.

        Raises:
            MissingLibraryError: A library that the runtime needs is not installed.
            BackendError: The runtime cannot express the network.
        """
        ...

    def open_runtime(self, name: str, graph: Graph, path: Path, threads: int) -> Runtime:
        """Load a network, in a process in which nothing else has been loaded.

        Args:
            name: One of ``runtimes``.
            graph: The network.
            path: What ``write_runtime`` returned.
            threads: How many threads the runtime may compute with.

        Returns:
            The network, ready to be run.
        """
        ...
