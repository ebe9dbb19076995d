"""The backend as the core sees it; the modules that need TensorFlow are imported when one is made, not before."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from resnet_spec_keras.backend import KerasBackend
from resnet_spec_tensorflow import IMPORTS, INPUTS, MODEL_CLASSES, OUTPUTS, PROCESS_SETTINGS, RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from resnet_spec.backend.checkpoint import Checkpoint
    from resnet_spec.backend.replicas import Replicas
    from resnet_spec.backend.runtime import Runtime, RuntimeKind
    from resnet_spec.backend.source import SourceModel
    from resnet_spec.graph import Graph
    from resnet_spec.operations.fields import Shape
    from resnet_spec_keras.training import Differentiate


class TensorFlowBackend(KerasBackend):
    """Compiles graphs to Keras functional models of stock layers, channels last.

    Raises BackendError if Keras is set to run on another framework, ImportError if TensorFlow is missing.
    """

    name: ClassVar[str] = "tensorflow"
    outputs: ClassVar[Mapping[str, str]] = OUTPUTS
    inputs: ClassVar[Sequence[str]] = INPUTS
    imports: ClassVar[Sequence[str]] = IMPORTS
    model_classes: ClassVar[Sequence[str]] = MODEL_CLASSES
    runtimes: ClassVar[Mapping[str, RuntimeKind]] = RUNTIMES
    process_settings: ClassVar[Mapping[str, str]] = PROCESS_SETTINGS

    def __init__(self) -> None:
        # Now, so that a missing framework is reported when the backend is requested.
        import_module("resnet_spec_tensorflow.framework")

    @property
    def differentiate(self) -> Differentiate:
        """Gradients by TensorFlow's tape."""
        from resnet_spec_tensorflow.training import differentiate

        return differentiate

    def replicas(self, count: int) -> Replicas:
        """Replicas of ``tf.distribute`` on logical devices of the processor; TensorFlow must not have been used."""
        from resnet_spec_tensorflow.replicas import TensorFlowReplicas

        return TensorFlowReplicas(count)

    def group_parts(self, graph: Graph) -> Mapping[str, int]:
        """Into how many convolutions of one group each grouped one is split, as measured on this machine.

        The environment variable ``RESNET_SPEC_GROUPED_CONVOLUTIONS`` replaces the measurement.
        """
        from resnet_spec_tensorflow.grouped_convolutions import group_parts

        return group_parts(graph)

    def finish(self, model: Any) -> None:
        """Make a model one for inference: nothing in it trains, and its SavedModel has constants for variables."""
        from resnet_spec_tensorflow.writing import FROZEN

        super().finish(model)
        FROZEN.add(model)

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
