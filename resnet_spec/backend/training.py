"""What a backend has if its models are trained: training mode, and counts of the batches of normalizations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from resnet_spec.backend.protocol import Backend
from resnet_spec.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.graph import Graph

COUNTER = "num_batches_tracked"
"""What PyTorch calls the number of batches that a normalization has seen in training."""

LOSS_SCALE = 1024.0
"""What a backend multiplies the loss of a float16 model by, and divides its gradients by: without it, gradients smaller
than 6e-8 would be 0. A power of two, it changes no other model's digits."""

Counters: TypeAlias = "Mapping[str, NDArray[Any]]"
"""Numbers of batches, each a scalar, by the layer's name and ``COUNTER``: ``bn1.num_batches_tracked``."""


class TrainingBackend(Backend, Protocol):
    """A backend whose models are trained by its framework's own means.

    ``counters`` and ``set_counters`` are missing where a framework does not count batches.
    """

    def compile(
        self,
        graph: Graph,
        *,
        dtype: ModelDType | None = None,
        exact_statistics: bool = False,
        synchronized: bool = False,
    ) -> Any:
        """Compile a graph as every backend does, also to a model whose batch is spread over processes or devices.

        Args:
            graph: The network.
            dtype: What the model computes in.
            exact_statistics: Whether to keep the running variance as the graph states it.
            synchronized: Whether batch normalizations train by the batch of all processes or devices that the
                framework has been set up for. Omitted unless it is given.

        Returns:
            A model of the framework's own layers.

        Raises:
            BackendError: As for every backend, or the framework cannot synchronize.
        """
        ...

    def begin_training(self, model: Any) -> None:
        """Put a model in training mode, as the constructors of the framework's libraries return theirs.

        Args:
            model: A model that ``compile`` returned and ``load`` filled. It stays as it is where the framework has no
                modes, or chooses them at each call.
        """
        ...

    def counters(self, model: Any, graph: Graph) -> Counters:
        """Return the numbers of batches that a model's normalizations have seen.

        Args:
            model: A model that ``compile`` returned.
            graph: The graph that it was compiled from.

        Returns:
            One number for each normalization that counts.
        """
        ...

    def set_counters(self, model: Any, graph: Graph, counters: Counters) -> None:
        """Set the numbers of batches, after ``load``.

        Args:
            model: A model that ``compile`` returned.
            graph: The graph that it was compiled from.
            counters: Those of a file; layers that are not among them start at 0.
        """
        ...


def begin_training(backend: Backend, model: Any) -> None:
    """Put a model in training mode.

    Args:
        backend: The backend that compiled it.
        model: The model.

    Raises:
        BackendError: The backend's models do not train.
    """
    check_trains(backend)
    cast("TrainingBackend", backend).begin_training(model)


def check_trains(backend: Backend, wanted: str = "training") -> None:
    """Check that a backend's models can be trained.

    Args:
        backend: The backend.
        wanted: The argument of ``build`` that needs it.

    Raises:
        BackendError: They cannot.
    """
    if not hasattr(backend, "begin_training"):
        raise BackendError(f"models of the {backend.name} backend do not train; leave out {wanted}=True")


def counters_of(backend: Backend, model: Any, graph: Graph) -> Counters:
    """Return the numbers of batches that a model was trained with.

    Args:
        backend: The backend that compiled it.
        model: The model.
        graph: Its graph.

    Returns:
        The numbers; empty if all are 0, so that a model that was not trained is saved alike from every backend.
    """
    if not hasattr(backend, "counters"):
        return {}
    return counted(cast("TrainingBackend", backend).counters(model, graph))


def counted(counters: Counters) -> Counters:
    """Return numbers of batches, or none if all are 0."""
    return counters if any(map(int, counters.values())) else {}


def set_counters(backend: Backend, model: Any, graph: Graph, counters: Counters) -> None:
    """Set the numbers of batches of a model that ``load`` has filled, if its framework counts.

    Args:
        backend: The backend that compiled it.
        model: The model.
        graph: Its graph.
        counters: The numbers; those of layers that the graph lacks are left out.
    """
    if counters and hasattr(backend, "set_counters"):
        cast("TrainingBackend", backend).set_counters(model, graph, counters)
