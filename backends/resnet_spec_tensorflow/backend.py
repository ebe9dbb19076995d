"""The backend as the core sees it; the modules that need TensorFlow are imported when one is made, not before."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from resnet_spec_tensorflow import IMPORTS, INPUTS, MODEL_CLASSES, OUTPUTS, RUNTIMES, settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.checkpoint import Checkpoint
    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.backend.protocol import Arrays, Batch, DType, Gradients
    from resnet_spec.backend.runtime import Runtime, RuntimeKind
    from resnet_spec.backend.source import SourceModel
    from resnet_spec.graph import Graph
    from resnet_spec.operations.fields import Shape
    from resnet_spec.quantization import Quantization


class TensorFlowBackend:
    """Compiles graphs to Keras functional models of stock layers, channels last.

    Raises BackendError if Keras is set to run on another framework, ImportError if TensorFlow is missing.
    """

    name: ClassVar[str] = "tensorflow"
    outputs: ClassVar[Mapping[str, str]] = OUTPUTS
    inputs: ClassVar[Sequence[str]] = INPUTS
    imports: ClassVar[Sequence[str]] = IMPORTS
    model_classes: ClassVar[Sequence[str]] = MODEL_CLASSES
    runtimes: ClassVar[Mapping[str, RuntimeKind]] = RUNTIMES
    running_variance: ClassVar[Literal["biased", "unbiased"]] = "biased"

    def __init__(self) -> None:
        settings.prepare()
        # Now, so that a missing framework is reported when the backend is requested.
        import_module("resnet_spec_tensorflow.framework")

    def compile(self, graph: Graph, *, dtype: DType | None = None, exact_statistics: bool = False) -> Any:
        """A ``keras.Model`` in inference mode, its parameters not yet set.

        It takes (batch, height, width, channels), or (batch, features) if the graph reads vectors, and returns a dict
        if the graph names its outputs. Keras' own BatchNormalization keeps the biased running variance; with
        ``exact_statistics`` the layers whose node says ``unbiased`` are of a registered subclass, which needs this
        package to load from a ``.keras`` file, as do the few operations for which Keras has no layer. Without a dtype
        the layers have Keras' global dtype policy, which may be a mixed one.

        Raises:
            BackendError: Keras cannot express the graph, or its policy is not one of a single dtype or a mixed one.
        """
        from resnet_spec_tensorflow.compilation import compile_graph

        return compile_graph(graph, dtype, exact_statistics=exact_statistics)

    def compile_quantized(self, graph: Graph, quantization: Quantization, *, dtype: DType | None = None) -> Any:
        """The 8-bit form of an optimized graph, its parameters not set yet.

        A ``keras.Model`` as ``compile`` makes it, in which values and kernels are rounded to their grids; gradients go
        straight through, so that ``fit`` trains the network as it will be rounded. ``write`` makes a TFLite model that
        computes in integers of it.
        """
        from resnet_spec_tensorflow.compilation import compile_graph

        return compile_graph(graph, dtype, quantization=quantization)

    def load(self, model: Any, graph: Graph, arrays: Arrays) -> None:
        """Set every parameter of a model from arrays laid out as PyTorch lays them out; the arrays are copied."""
        from resnet_spec_tensorflow.parameters import set_arrays

        set_arrays(model, graph, arrays)

    def group_parts(self, graph: Graph) -> Mapping[str, int]:
        """Into how many convolutions of one group each grouped one is split, as measured on this machine.

        The environment variable ``RESNET_SPEC_GROUPED_CONVOLUTIONS`` replaces the measurement.
        """
        from resnet_spec_tensorflow.grouped_convolutions import group_parts

        return group_parts(graph)

    def finish(self, model: Any) -> None:
        """Make a model one for inference: nothing in it trains, and its SavedModel has constants for variables."""
        from resnet_spec_tensorflow.writing import FROZEN

        model.trainable = False
        FROZEN.add(model)

    def arrays(self, model: Any, graph: Graph) -> dict[str, NDArray[Any]]:
        """Every parameter of a model as it is now, laid out as PyTorch lays them out, in the model's own dtype."""
        from resnet_spec_tensorflow.parameters import get_arrays

        return get_arrays(model, graph)

    def forward(self, model: Any, images: NDArray[Any], *, training: bool = False) -> list[NDArray[np.floating[Any]]]:
        """The outputs for (batch, channels, height, width) images or (batch, features) vectors, channels first too.

        In training mode batches are normalized by their own statistics, and the running ones move.
        """
        from resnet_spec_tensorflow.execution import forward

        return forward(model, images, training=training)

    def apply(self, model: Any, graph: Graph, name: str, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """One node's value from channels-first values, by the model's own layers, in inference mode.

        For a model that ``compile`` made in this process.
        """
        from resnet_spec_tensorflow.execution import apply

        return apply(model, graph.by_name[name], inputs)

    def gradients(self, model: Any, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> Gradients:
        """Gradients of half the mean square of each output less its target, in training mode, channels first."""
        from resnet_spec_tensorflow.training import gradients

        return gradients(model, graph, images, targets)

    def train(self, model: Any, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
        """Take a step of Keras' optimizer for each batch, its formula made ``backend.optimizers``'s."""
        from resnet_spec_tensorflow.training import train

        return train(model, graph, batches, optimizer)

    def read(self, path: Path, graph: Graph | None = None, *, mmap: bool = False) -> Checkpoint:
        """The tensors of a checkpoint or a SavedModel folder by TensorFlow's own names; nothing in it is run.

        Raises WeightsError if it is broken.
        """
        from resnet_spec_tensorflow.reading import read_checkpoint

        return read_checkpoint(path)

    def import_model(self, model: Any, shape: Shape | None = None) -> SourceModel:
        """Read a live Keras model, or a file or SavedModel, of which nothing is executed.

        Nodes have the layers' names; those of models within the model, and of the user's own layers, which are traced,
        are prefixed with the names of these. A flattened map's order is kept by permuting the next linear layer.

        Raises:
            ModelError: With every layer that the language cannot express, or what is wrong with the file.
        """
        from resnet_spec_tensorflow.importing import import_model

        return import_model(model, shape)

    def write(self, model: Any, graph: Graph, path: Path, *, half: bool = False, batch: int | None = None) -> None:
        """Write one of ``outputs``; a path without an ending becomes a SavedModel folder.

        ``half`` is for TFLite models only, whose constants are then stored in half precision. With ``batch`` all sizes
        of the input are fixed.

        Raises:
            OutputError: the path has another ending, or the format cannot hold the model.
        """
        from resnet_spec_tensorflow.writing import write

        write(model, graph, path, half=half, batch=batch)

    def open_runtime(self, name: str, graph: Graph, path: Path, threads: int) -> Runtime:
        """Load what was written, and freeze or compile it if the runtime's name says so."""
        from resnet_spec_tensorflow.runtimes import open_runtime

        return open_runtime(name, graph, path, threads)

    def environment(self) -> dict[str, str]:
        """Versions, threads and settings that change rounding."""
        from resnet_spec_tensorflow.environment import describe

        return describe()
