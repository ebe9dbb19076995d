"""The protocol of a backend: the methods by which the core compiles, runs, trains, reads and writes native models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.checkpoint import Checkpoint
    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.backend.source import SourceModel
    from resnet_spec.graph import Graph
    from resnet_spec.operations import Shape

DType: TypeAlias = Literal["float32", "float64"]
"""The dtypes of comparisons, which every backend has."""

# Quoted, so that NumPy is not imported for them.
Arrays: TypeAlias = "Mapping[str, NDArray[Any]]"
"""Arrays by the graph's parameter names, laid out as PyTorch lays them out."""

Batch: TypeAlias = "tuple[NDArray[Any], Sequence[NDArray[Any]]]"
"""Images (batch, channels, height, width), and targets laid out as the outputs are, one for each."""


class Gradients(NamedTuple):
    """The loss of one batch and its gradients, in the graph's layout.

    Attributes:
        loss: The sum over the outputs of half the mean squared difference from the target.
        parameters: The gradient of each trainable parameter, by name.
        images: The gradient of the images, (batch, channels, height, width).
    """

    loss: float
    parameters: Mapping[str, NDArray[np.floating[Any]]]
    images: NDArray[np.floating[Any]]


class Backend(Protocol):
    """A framework's compiler for graphs; a model below is an object of the framework's own kind.

    Arrays are NumPy arrays by the graph's parameter names, laid out as PyTorch lays them out. Images and maps are
    (batch, channels, height, width), whatever layout the native model takes.
    """

    name: ClassVar[str]
    """The name that users select it by."""

    outputs: ClassVar[Mapping[str, str]]
    """The kinds of artifact that ``write`` makes: file ending (``""`` for a folder) to description. A package whose
    class needs the framework declares them as ``OUTPUTS`` too."""

    running_variance: ClassVar[Literal["biased", "unbiased"]]
    """Which variance the framework's batch normalization keeps: divided by n, or by n - 1."""

    def compile(self, graph: Graph, *, dtype: ModelDType | None = None, exact_statistics: bool = False) -> Any:
        """Compile a graph to a native model in inference mode, whose parameters are not set yet.

        Args:
            graph: The network.
            dtype: What the model computes in; None means the framework's own setting, such as PyTorch's default dtype
                or Keras' global dtype policy. Comparisons need float32 and float64.
            exact_statistics: Whether to keep the running variance as the graph states it (biased or unbiased) where
                the framework's own layer keeps the other.

        Returns:
            A model of the framework's own layers.

        Raises:
            BackendError: The framework cannot express an operation, or lacks the dtype, or its own setting cannot be
                followed.
        """
        ...

    def load(self, model: Any, graph: Graph, arrays: Arrays) -> None:
        """Set every parameter of a model.

        Args:
            model: A model that ``compile`` returned.
            graph: The graph that it was compiled from.
            arrays: One array for each parameter, checked against the graph. The model may take over the memory of
                those that may be written to, and must copy the others.
        """
        ...

    def arrays(self, model: Any, graph: Graph) -> dict[str, NDArray[Any]]:
        """Copy every parameter of a model as it is now.

        Args:
            model: A model that ``compile`` returned.
            graph: The graph that it was compiled from.

        Returns:
            One array for each parameter, in the graph's order and layout; those in bfloat16 as float32.
        """
        ...

    def forward(self, model: Any, images: NDArray[Any], *, training: bool = False) -> list[NDArray[np.floating[Any]]]:
        """Compute the outputs for a batch.

        Args:
            model: A model that ``compile`` returned.
            images: (batch, channels, height, width), in the model's dtype.
            training: Whether to compute in training mode; running statistics then move as in a training step.

        Returns:
            The graph's outputs, in its order: (batch, channels, height, width), or (batch, features).
        """
        ...

    def apply(self, model: Any, graph: Graph, name: str, inputs: Sequence[NDArray[Any]]) -> NDArray[np.floating[Any]]:
        """Compute one node from its inputs' values, by the model's own layer, in inference mode.

        Args:
            model: A model that ``compile`` returned.
            graph: The graph that it was compiled from.
            name: The node.
            inputs: Its inputs' values, (batch, *shape) in the graph's layout and the model's dtype.

        Returns:
            The node's value, (batch, *shape).
        """
        ...

    def gradients(self, model: Any, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> Gradients:
        """Compute the loss and its gradients in training mode; running statistics move as in a training step.

        Args:
            model: A model that ``compile`` returned.
            graph: The graph that it was compiled from.
            images: (batch, channels, height, width).
            targets: One array for each output, of its shape.

        Returns:
            The loss, which is the sum over the outputs of half the mean squared difference from the target, and its
            gradients with respect to each trainable parameter and to the images.
        """
        ...

    def train(self, model: Any, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
        """Take one step of an optimizer for each batch, on the loss of ``gradients``.

        Args:
            model: A model that ``compile`` returned.
            graph: The graph that it was compiled from.
            batches: Images and targets. The next batch is taken after the step, so that a generator can look at the
                model in between.
            optimizer: The optimizer, by its formula.

        Returns:
            The loss before each step.
        """
        ...

    def write(self, model: Any, graph: Graph, path: Path, *, half: bool = False, batch: int | None = None) -> None:
        """Write a model in the format of the path's ending, one of ``outputs``.

        Args:
            model: A model that ``compile`` returned.
            graph: The graph that it was compiled from.
            path: A new file or folder; the caller renames it once it is whole.
            half: Whether to store the weights in half precision.
            batch: The number of images that the written model takes, all of the size that the graph states; by default
                any number, and any size that the network takes. Omitted unless it is given.

        Raises:
            OutputError: The format cannot hold the model, or half precision, or holds weights only, without an input.
        """
        ...

    def environment(self) -> dict[str, str]:
        """State versions and settings that change rounding, for reports.

        Returns:
            What to print, by what it is: ``{"torch": "2.13.0", "threads": "2"}``.
        """
        ...


class ConfiguredBackend(Backend, Protocol):
    """A backend whose framework reads settings once, when it is imported."""

    process_settings: ClassVar[Mapping[str, str]]
    """Environment variables that are set in a process that runs this backend only, such as that of a comparison. A
    package whose class needs the framework declares them as ``PROCESS_SETTINGS`` too."""


class OptimizingBackend(Backend, Protocol):
    """A backend that has more to decide about a model for inference than the core's passes (``build(optimize=True)``).

    Either method may be missing.
    """

    def group_parts(self, graph: Graph) -> Mapping[str, int]:
        """Choose the grouped convolutions that are faster as several convolutions of one group.

        Args:
            graph: The network after the core's passes.

        Returns:
            For each such layer, the number of convolutions that replace it.
        """
        ...

    def finish(self, model: Any) -> None:
        """Change a model for inference once its parameters are set, such as their layout in memory.

        Args:
            model: A model that ``compile`` returned and ``load`` filled.
        """
        ...


class ReadingBackend(Backend, Protocol):
    """A backend that also reads weights files whose format needs its framework."""

    inputs: ClassVar[Sequence[str]]
    """Endings of the files that ``read`` knows and the core does not (``""`` for a folder). A package whose class needs
    the framework declares them as ``INPUTS`` too."""

    def read(self, path: Path, graph: Graph | None = None, *, mmap: bool = False) -> Checkpoint:
        """Read the tensors of a file whose format needs the framework, exactly as they are in it.

        Args:
            path: A file with one of the endings in ``inputs``.
            graph: The graph that is to be filled, for a format that has no names of its own.
            mmap: Whether to map the file, if the format can be mapped. Otherwise, and by default, the arrays must
                not depend on the file afterwards.

        Returns:
            The tensors by the names that the file has for them, and what else it holds.
        """
        ...


class ImportingBackend(Backend, Protocol):
    """A backend that also reads whole models: the network and its weights."""

    imports: ClassVar[Sequence[str]]
    """Endings of the models that ``import_model`` reads (``""`` for a folder). A package whose class needs the
    framework declares them as ``IMPORTS`` too."""

    model_classes: ClassVar[Sequence[str]]
    """Full names of the framework's classes of models, such as ``torch.nn.modules.module.Module``; a package declares
    them as ``MODEL_CLASSES`` too."""

    def import_model(self, model: Any, shape: Shape | None = None) -> SourceModel:
        """Read a model; nothing that a file names is executed.

        Args:
            model: A path, or an instance of one of ``model_classes``.
            shape: The input's shape without the batch, channels first, for a model that does not state it.

        Returns:
            The network and its weights, and how to run the model by its own library.

        Raises:
            ModelError: With every node that the language cannot express, or what is wrong with the file.
        """
        ...
