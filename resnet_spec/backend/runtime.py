"""What a backend has if its models can be timed: runtimes, each of which runs a network from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from resnet_spec.backend.protocol import Backend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph


class RuntimeKind(NamedTuple):
    """What a runtime is, and what it runs.

    Attributes:
        description: What it is, for reports.
        ending: The file that it loads, one of the backend's ``outputs``.
        optimized: Whether the file is of the network's optimized form (``build(optimize=True)``).
        quantized: Whether it is of the 8-bit form (``build(quantization=...)``); such a runtime is timed only where
            there is a quantization.
    """

    description: str
    ending: str
    optimized: bool = False
    quantized: bool = False


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
    """A backend whose networks can be timed."""

    runtimes: ClassVar[Mapping[str, RuntimeKind]]
    """The runtimes by name. A package whose class needs the framework declares them as ``RUNTIMES`` too."""

    def open_runtime(self, name: str, graph: Graph, path: Path, threads: int) -> Runtime:
        """Load a network, in a process in which nothing else has been loaded.

        Args:
            name: One of ``runtimes``.
            graph: The network that the file holds.
            path: The file or folder, which ``write`` wrote.
            threads: How many threads the runtime may compute with.

        Returns:
            The network, ready to be run.

        Raises:
            MissingLibraryError: A library that the runtime needs is not installed.
            BackendError: The runtime cannot run the network.
        """
        ...
