"""What a backend has if its models train on several replicas, each of which takes a part of every batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from resnet_spec.backend.protocol import Backend
from resnet_spec.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.backend.protocol import Arrays, Batch, Gradients
    from resnet_spec.graph import Graph


class Replicas(Protocol):
    """Replicas of a model, trained by the framework's own means as one; the members are those of ``Backend``.

    Normalizations are synchronized. A batch is divided among the replicas in its order, and losses and gradients are
    those of the whole batch.
    """

    def compile(self, graph: Graph, *, dtype: ModelDType, exact_statistics: bool = False) -> Any:
        """Compile a graph on every replica."""
        ...

    def load(self, model: Any, graph: Graph, arrays: Arrays) -> None:
        """Set every parameter, on every replica."""
        ...

    def arrays(self, model: Any, graph: Graph) -> dict[str, NDArray[Any]]:
        """Return every parameter as the framework would save it."""
        ...

    def gradients(self, model: Any, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> Gradients:
        """Return the loss of the whole batch in training mode, and its gradients."""
        ...

    def train(self, model: Any, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
        """Take a step for each batch, and return the loss of the whole batch before it."""
        ...


class ReplicatingBackend(Backend, Protocol):
    """A backend whose models train on several replicas of this machine."""

    def replicas(self, count: int) -> Replicas:
        """Start replicas.

        Args:
            count: How many, at least 2.

        Returns:
            The replicas, which end with this process.

        Raises:
            BackendError: They cannot start.
        """
        ...


def replicas(backend: Backend, count: int) -> Replicas:
    """Start a backend's replicas.

    Args:
        backend: The backend.
        count: How many.

    Returns:
        The replicas.

    Raises:
        BackendError: The backend has none, or they cannot start.
    """
    if not hasattr(backend, "replicas"):
        raise BackendError(f"the {backend.name} backend does not train on replicas")
    return cast("ReplicatingBackend", backend).replicas(count)
