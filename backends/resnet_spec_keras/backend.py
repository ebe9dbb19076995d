"""What the backends of Keras do alike; the modules that need Keras are imported when they are used, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.backend.protocol import Arrays, Batch, Gradients
    from resnet_spec.graph import Graph
    from resnet_spec.quantization import Quantization
    from resnet_spec_keras.training import Differentiate


class KerasBackend:
    """Compiles graphs to Keras functional models of stock layers, channels last.

    A subclass has the attributes of ``resnet_spec.backend.protocol.Backend``, and prepares its framework when one is
    made.
    """

    running_variance: ClassVar[Literal["biased", "unbiased"]] = "biased"

    @property
    def differentiate(self) -> Differentiate:
        """The framework's function for the gradients of a model; see ``resnet_spec_keras.training``."""
        raise NotImplementedError

    def compile(
        self,
        graph: Graph,
        *,
        dtype: ModelDType | None = None,
        exact_statistics: bool = False,
        synchronized: bool = False,
    ) -> Any:
        """A ``keras.Model`` in inference mode, its parameters not yet set.

        It takes (batch, height, width, channels), or (batch, features) if the graph reads vectors, and returns a dict
        if the graph names its outputs. Keras' own BatchNormalization keeps the biased running variance; with
        ``exact_statistics`` the layers whose node says ``unbiased`` are of a registered subclass, which needs this
        package to load from a ``.keras`` file, as do the few operations for which Keras has no layer. Without a dtype
        the layers have Keras' global dtype policy, which may be a mixed one. ``synchronized`` batch normalizations
        compute by the batch of all replicas of a strategy of ``tf.distribute``.

        Raises:
            BackendError: Keras cannot express the graph, or its policy is not one of a single dtype or a mixed one.
        """
        from resnet_spec_keras.compilation import compile_graph

        return compile_graph(graph, dtype, exact_statistics=exact_statistics, synchronized=synchronized)

    def compile_quantized(self, graph: Graph, quantization: Quantization, *, dtype: ModelDType | None = None) -> Any:
        """The 8-bit form of an optimized graph, its parameters not set yet.

        A ``keras.Model`` as ``compile`` makes it, in which values and kernels are rounded to their grids; gradients go
        straight through, so that ``fit`` trains the network as it will be rounded.
        """
        from resnet_spec_keras.compilation import compile_graph

        return compile_graph(graph, dtype, quantization=quantization)

    def load(self, model: Any, graph: Graph, arrays: Arrays) -> None:
        """Set every parameter of a model from arrays laid out as PyTorch lays them out; the arrays are copied."""
        from resnet_spec_keras.parameters import set_arrays

        set_arrays(model, graph, arrays)

    def begin_training(self, model: Any) -> None:
        """Leave a model as it is: Keras has no modes. ``fit`` trains, while ``predict`` and a call do not."""

    def finish(self, model: Any) -> None:
        """Make a model one for inference: nothing in it trains."""
        model.trainable = False

    def arrays(self, model: Any, graph: Graph) -> dict[str, NDArray[Any]]:
        """Every parameter of a model as it is now, laid out as PyTorch lays them out, bfloat16 as float32."""
        from resnet_spec_keras.parameters import get_arrays

        return get_arrays(model, graph)

    def forward(self, model: Any, images: NDArray[Any], *, training: bool = False) -> list[NDArray[np.floating[Any]]]:
        """The outputs for (batch, channels, height, width) images or (batch, features) vectors, channels first too.

        In training mode batches are normalized by their own statistics, and the running ones move.
        """
        from resnet_spec_keras.execution import forward

        return forward(model, images, training=training)

    def apply(self, model: Any, graph: Graph, name: str, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """One node's value from channels-first values, by the model's own layers, in inference mode.

        For a model that ``compile`` made in this process.
        """
        from resnet_spec_keras.execution import apply

        return apply(model, graph.by_name[name], inputs)

    def gradients(self, model: Any, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> Gradients:
        """Gradients of half the mean square of each output less its target, in training mode, channels first."""
        from resnet_spec_keras.training import gradients

        return gradients(self.differentiate, model, graph, images, targets)

    def train(self, model: Any, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
        """Take a step of Keras' optimizer for each batch, its formula made ``backend.optimizers``'s."""
        from functools import partial

        from resnet_spec_keras.training import native_optimizer, take_step, train, trainable

        parameters = trainable(model, graph)
        native = native_optimizer(optimizer, parameters)
        step = partial(take_step, self.differentiate, model, parameters, native, optimizer)
        return train(step, native, model, graph, batches, optimizer)

    def write(self, model: Any, graph: Graph, path: Path, *, half: bool = False, batch: int | None = None) -> None:
        """Write one of ``outputs``. With ``batch`` all sizes of the input are fixed.

        Raises:
            OutputError: the path has another ending, or the format cannot hold the model.
        """
        from resnet_spec_keras.writing import write

        write(model, graph, path, half=half, batch=batch)
