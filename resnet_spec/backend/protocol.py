"""What a backend is: the methods by which the core compiles, runs, trains, reads and writes native models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.checkpoint import Checkpoint
    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.graph import Graph

    Arrays: TypeAlias = Mapping[str, NDArray[Any]]

    Batch: TypeAlias = tuple[NDArray[Any], Sequence[NDArray[Any]]]
    """Images (batch, channels, height, width), and targets laid out as the outputs are, one for each."""

DType: TypeAlias = Literal["float32", "float64"]


class Gradients(NamedTuple):
    """The loss of one batch and its gradients, in the graph's layout."""

    loss: float
    parameters: Mapping[str, NDArray[np.floating[Any]]]
    images: NDArray[np.floating[Any]]


class Backend(Protocol):
    """A framework's compiler for graphs; ``Model`` stands for its native model.

    Arrays are NumPy arrays under the graph's parameter names, laid out as PyTorch lays them out; images and maps in
    ``forward`` are (batch, channels, height, width), whatever the native model takes.
    """

    name: ClassVar[str]
    """The name by which users ask for it."""

    outputs: ClassVar[Mapping[str, str]]
    """The kinds of artifact ``write`` makes: file ending (``""`` for a folder) to description; as with ``inputs``, a
    package whose class comes with the framework says so as ``OUTPUTS`` too."""

    inputs: ClassVar[Sequence[str]]
    """File endings that ``read`` knows and the core does not; known before the framework is imported."""

    running_variance: ClassVar[Literal["biased", "unbiased"]]
    """Which variance its own batch normalization keeps, without ``exact_statistics``: divided by n, or by n - 1."""

    def compile(self, graph: Graph, *, dtype: DType = "float32", exact_statistics: bool = False) -> Any:
        """A native model in inference mode, its parameters not yet set.

        ``exact_statistics`` keeps the running variance as the graph states it (biased or unbiased) where the
        framework's own layer keeps the other.
        """
        ...

    def load(self, model: Any, graph: Graph, arrays: Arrays) -> None:
        """Set every parameter of a model; ``arrays`` must have been checked against the graph."""
        ...

    def arrays(self, model: Any, graph: Graph) -> dict[str, NDArray[Any]]:
        """Every parameter of a model as it is now."""
        ...

    def forward(self, model: Any, images: NDArray[Any], *, training: bool = False) -> list[NDArray[np.floating[Any]]]:
        """The outputs for a batch of (batch, channels, height, width) images; maps come back in that layout too.

        In training mode the running statistics move as they would in a training step.
        """
        ...

    def apply(self, model: Any, graph: Graph, name: str, inputs: Sequence[NDArray[Any]]) -> NDArray[np.floating[Any]]:
        """One node's value from its inputs' values, by the model's own layer, in inference mode.

        Values are (batch, *shape) in the graph's layout and the model's dtype.
        """
        ...

    def gradients(self, model: Any, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> Gradients:
        """Gradients of ``loss`` in training mode: of each trainable parameter, and of the images.

        The loss is the sum over the outputs of half the mean square of an output less its target. The running
        statistics move as they would in a training step.
        """
        ...

    def train(self, model: Any, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
        """Take a step of an optimizer for each batch, on ``gradients``'s loss; the loss before each step.

        The next batch is taken after the step, so that whoever gives them can look at the model in between.
        """
        ...

    def read(self, path: Path, graph: Graph | None = None, *, mmap: bool = False) -> Checkpoint:
        """The tensors of a file whose format needs the framework, exactly as they stand in it.

        Where a format has no names of its own, ``graph`` says what they are; without one any will do. The arrays must
        not depend on the file afterwards, unless ``mmap`` asks for a memory map; a format that cannot be mapped is
        read.
        """
        ...

    def write(self, model: Any, graph: Graph, path: Path, *, half: bool = False) -> None:
        """Write a model in the format that the path's ending asks for (one of ``outputs``).

        ``half`` stores weights in half precision; raises OutputError where the format cannot.
        """
        ...

    def environment(self) -> dict[str, str]:
        """Versions and settings that change rounding, for reports."""
        ...
