"""The PyTorch backend: what the core asks of any framework, each in one call."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn

from resnet_spec.weights.io import read_weights
from resnet_spec_torch import (
    IMPORTS,
    MODEL_CLASSES,
    OUTPUTS,
    RUNTIMES,
    environment,
    execution,
    parameters,
    runtimes,
    training,
    writing,
)
from resnet_spec_torch.compilation import compile_graph
from resnet_spec_torch.dtypes import autocast, chosen
from resnet_spec_torch.emitting import Options
from resnet_spec_torch.importing import import_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.backend.protocol import Arrays, Batch, Gradients
    from resnet_spec.backend.replicas import Replicas
    from resnet_spec.backend.runtime import Runtime, RuntimeKind
    from resnet_spec.backend.source import SourceModel
    from resnet_spec.backend.training import Counters
    from resnet_spec.graph import Graph
    from resnet_spec.operations import Shape
    from resnet_spec.quantization import Quantization


class TorchBackend:
    """Compiles graphs to ``torch.nn.Module``; see ``resnet_spec.backend.protocol.Backend``."""

    name: ClassVar[str] = "torch"
    outputs: ClassVar[Mapping[str, str]] = OUTPUTS
    imports: ClassVar[Sequence[str]] = IMPORTS
    model_classes: ClassVar[Sequence[str]] = MODEL_CLASSES
    runtimes: ClassVar[Mapping[str, RuntimeKind]] = RUNTIMES
    running_variance: ClassVar[Literal["biased", "unbiased"]] = "unbiased"

    def compile(
        self,
        graph: Graph,
        *,
        dtype: ModelDType | None = None,
        exact_statistics: bool = False,
        synchronized: bool = False,
    ) -> nn.Module:
        """A model that takes (N, *input), in inference mode, its parameters on the meta device until ``load``.

        Without a dtype the parameters have PyTorch's default dtype. A model of a mixed policy runs under autocast.
        ``synchronized`` batch normalizations compute as all others where there is no group of processes.

        Raises GraphError if a node's name cannot be a module's.
        """
        options = Options(chosen(dtype), exact_statistics, synchronized, autocast=autocast(dtype))
        return compile_graph(graph, options)

    def compile_quantized(
        self, graph: Graph, quantization: Quantization, *, dtype: ModelDType | None = None
    ) -> nn.Module:
        """A model of an optimized graph that rounds values and kernels to their grids; it can be trained so."""
        return compile_graph(graph, Options(chosen(dtype), quantization=quantization, autocast=autocast(dtype)))

    def load(self, model: nn.Module, graph: Graph, arrays: Arrays) -> None:
        """Set every parameter; a fresh model's share the arrays' memory where dtype and layout fit and it is writable.

        A fresh model's are on PyTorch's default device, and without values if that is the meta device.

        Raises WeightsError if the model's own layers were replaced by ones of other shapes.
        """
        parameters.set_parameters(model, graph, arrays)

    def begin_training(self, model: nn.Module) -> None:
        """Put a model in training mode."""
        model.train()

    def counters(self, model: nn.Module, graph: Graph) -> dict[str, NDArray[Any]]:
        """How many batches each batch normalization was trained with: its ``num_batches_tracked``."""
        return {name: parameters.to_numpy(tensor).copy() for name, tensor in parameters.counters(model, graph).items()}

    def set_counters(self, model: nn.Module, graph: Graph, counters: Counters) -> None:
        """Set each ``num_batches_tracked`` that is given."""
        for name, tensor in parameters.counters(model, graph).items():
            if name in counters:
                tensor.fill_(int(counters[name]))

    def finish(self, model: nn.Module) -> None:
        """Make a model one for inference: kernels of maps channels last, and no gradients.

        oneDNN's convolutions are fastest so, at any batch size. The first of them reads an image in either format and
        passes its value on channels last, so that nothing else has to be converted.
        """
        parameters.put_channels_last(model)
        model.requires_grad_(False)

    def arrays(self, model: nn.Module, graph: Graph) -> dict[str, NDArray[Any]]:
        """A copy of every parameter as it is now, in the graph's order."""
        return parameters.get_arrays(model, graph)

    def forward(
        self, model: nn.Module, images: NDArray[Any], *, training: bool = False
    ) -> list[NDArray[np.floating[Any]]]:
        """The outputs for (N, *input) images in the graph's order, without gradients.

        Computed in the model's dtype and on its device.
        """
        with _mode(model, training), torch.no_grad():
            batch = execution.batch_for(model, images)
            return [parameters.to_numpy(tensor) for tensor in execution.outputs(model, batch)]

    def apply(self, model: nn.Module, graph: Graph, name: str, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """One node's value from (N, ...) values, by the model's own layer or the expression of its ``forward``."""
        return execution.apply(model, graph.by_name[name], inputs)

    def gradients(
        self, model: nn.Module, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]
    ) -> Gradients:
        """Gradients of half the mean square of each output less its target, in training mode."""
        with _mode(model, training=True):
            return training.gradients(model, graph, images, targets)

    def train(self, model: nn.Module, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
        """Take a step of ``torch.optim``'s optimizer for each batch; the loss before each."""
        with _mode(model, training=True):
            return training.train(model, graph, batches, optimizer)

    def replicas(self, count: int) -> Replicas:
        """Processes of this machine, trained by ``DistributedDataParallel``."""
        from resnet_spec_torch.replicas import TorchReplicas

        return TorchReplicas(count)

    def write(
        self, model: nn.Module, graph: Graph, path: Path, *, half: bool = False, batch: int | None = None
    ) -> None:
        """Write a state_dict (``.pth``), or the inference-mode program (``.pt2``), which runs without this package.

        Half precision is for state_dicts, and a fixed ``batch`` for programs; raises OutputError otherwise.
        """
        with _mode(model, training=False):
            writing.write(model, graph, path, half=half, batch=batch)

    def import_model(self, model: nn.Module | Path, shape: Shape | None = None) -> SourceModel:
        """Read a module, or a program that ``torch.export`` wrote; raises ModelError for what cannot be expressed."""
        return import_model(model, shape)

    def open_runtime(self, name: str, graph: Graph, path: Path, threads: int) -> Runtime:
        """Make the module of a state_dict, and compile it if the runtime's name says so."""
        model = self.compile(graph, dtype="float32")
        self.load(model, graph, read_weights(path, graph))
        if RUNTIMES[name].optimized:
            self.finish(model)
        return runtimes.open_runtime(name, model, threads)

    def environment(self) -> dict[str, str]:
        """Versions and settings that change rounding."""
        return environment.describe()


@contextmanager
def _mode(model: nn.Module, training: bool) -> Generator[None]:
    """Training or inference mode for a while; afterwards each module has its own again."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before.items():
            module.training = was_training
