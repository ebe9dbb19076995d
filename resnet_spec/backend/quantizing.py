"""What a backend has if it can compile 8-bit networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from resnet_spec.backend.protocol import Backend
from resnet_spec.errors import BackendError

if TYPE_CHECKING:
    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.graph import Graph
    from resnet_spec.quantization import Quantization


class QuantizingBackend(Backend, Protocol):
    """A backend that compiles 8-bit networks."""

    def compile_quantized(self, graph: Graph, quantization: Quantization, *, dtype: ModelDType | None = None) -> Any:
        """Compile the 8-bit form of a network.

        Args:
            graph: The optimized graph.
            quantization: What is quantized; it fits the graph.
            dtype: What everything else is computed in, by default the framework's own setting.

        Returns:
            A model that ``load``, ``forward``, ``apply``, ``arrays`` and ``write`` take as they take any other. Its
            parameters are those of the graph, in float, and not set yet.

        Raises:
            BackendError: The backend has no 8-bit form of the network.
        """
        ...


def quantizing(backend: Backend) -> QuantizingBackend:
    """A backend as one that compiles 8-bit networks.

    Args:
        backend: Any backend.

    Returns:
        The same.

    Raises:
        BackendError: It cannot.
    """
    if not hasattr(backend, "compile_quantized"):
        raise BackendError(f"the {backend.name} backend has no 8-bit form of networks")
    return cast("QuantizingBackend", backend)
