"""The ONNX backend: the methods that the core calls, each one call into the modules beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from resnet_spec.errors import BackendError
from resnet_spec_onnx import (
    IMPORTS,
    INPUTS,
    MODEL_CLASSES,
    OUTPUTS,
    RUNTIMES,
    environment,
    execution,
    runtimes,
    single_node,
)
from resnet_spec_onnx import (
    quantization as quantized_form,
)
from resnet_spec_onnx.compilation import compile_graph
from resnet_spec_onnx.importing import import_onnx
from resnet_spec_onnx.model import OnnxModel
from resnet_spec_onnx.reading import read_onnx
from resnet_spec_onnx.writing import write_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto

    from resnet_spec.backend.checkpoint import Checkpoint
    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.backend.protocol import Arrays, Batch, Gradients
    from resnet_spec.backend.runtime import Runtime, RuntimeKind
    from resnet_spec.backend.source import SourceModel
    from resnet_spec.graph import Graph
    from resnet_spec.operations import Shape
    from resnet_spec.quantization import Quantization

INFERENCE_ONLY = "the onnx backend computes inference only"


class OnnxBackend:
    """Compiles graphs to ONNX models for inference; see ``resnet_spec.backend.protocol.Backend``."""

    name: ClassVar[str] = "onnx"
    outputs: ClassVar[Mapping[str, str]] = OUTPUTS
    inputs: ClassVar[Sequence[str]] = INPUTS
    imports: ClassVar[Sequence[str]] = IMPORTS
    model_classes: ClassVar[Sequence[str]] = MODEL_CLASSES
    runtimes: ClassVar[Mapping[str, RuntimeKind]] = RUNTIMES
    running_variance: ClassVar[Literal["biased", "unbiased"]] = "unbiased"

    def compile(self, graph: Graph, *, dtype: ModelDType | None = None, exact_statistics: bool = False) -> OnnxModel:
        """Return a model that takes (batch, *input), its parameters not set yet.

        ``exact_statistics`` has no effect, since running statistics never change here. Raises BackendError for a dtype
        of half precision.
        """
        return compile_graph(graph, _chosen(dtype))

    def compile_quantized(
        self, graph: Graph, quantization: Quantization, *, dtype: ModelDType | None = None
    ) -> OnnxModel:
        """Return the 8-bit form of an optimized graph, its parameters not set yet; raises BackendError for float64."""
        return quantized_form.compile_quantized(graph, quantization, _chosen(dtype))

    def load(self, model: OnnxModel, graph: Graph, arrays: Arrays) -> None:
        """Set every parameter; an array of the model's dtype that is writable is used without a copy."""
        model.set_weights(arrays)

    def arrays(self, model: OnnxModel, graph: Graph) -> dict[str, NDArray[Any]]:
        """Return a copy of every parameter, in the graph's order."""
        return {name: array.copy() for name, array in model.loaded_weights().items()}

    def forward(
        self, model: OnnxModel, images: NDArray[Any], *, training: bool = False
    ) -> list[NDArray[np.floating[Any]]]:
        """Return the outputs for (batch, *input) images in the graph's order, computed in the model's dtype.

        ONNX Runtime computes float32 on the CPU, ONNX's reference implementation float64. Raises BackendError for
        training mode, and if ONNX Runtime is missing.
        """
        if training:
            raise BackendError(f"{INFERENCE_ONLY}; list a backend that trains before it")
        return execution.forward(model, images)

    def apply(
        self, model: OnnxModel, graph: Graph, name: str, inputs: Sequence[NDArray[Any]]
    ) -> NDArray[np.floating[Any]]:
        """Return one node's value for (batch, ...) inputs, computed by its ONNX nodes as ``forward`` computes them."""
        return single_node.apply(model, name, inputs)

    def gradients(
        self, model: OnnxModel, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]
    ) -> Gradients:
        """Raise BackendError: an ONNX model computes inference only."""
        raise BackendError(INFERENCE_ONLY)

    def train(self, model: OnnxModel, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
        """Raise BackendError: an ONNX model computes inference only."""
        raise BackendError(INFERENCE_ONLY)

    def read(self, path: Path, graph: Graph | None = None, *, mmap: bool = False) -> Checkpoint:
        """Return the weights of an ONNX file by name; raises WeightsError if it is invalid.

        ``mmap`` has no effect: the file is always read.
        """
        return read_onnx(path, graph)

    def import_model(self, model: Path | ModelProto, shape: Shape | None = None) -> SourceModel:
        """Read a whole model; raises ModelError for what the language cannot express, or for an invalid file.

        ``shape`` is the input's, for a model whose size is dynamic.
        """
        return import_onnx(model, shape)

    def write(
        self, model: OnnxModel, graph: Graph, path: Path, *, half: bool = False, batch: int | None = None
    ) -> None:
        """Check the model and write it; ``half`` stores trainable parameters in half precision.

        With ``batch`` all sizes are fixed. Raises OutputError for a model of more than 2 GiB, if a value is too large
        for half precision, and for an 8-bit model in half precision.
        """
        as_it_is = not half and batch is None
        skeleton = model.skeleton if as_it_is else model.build(half=half, batch=batch)
        write_model(skeleton, model.loaded_initializers(), path)

    def open_runtime(self, name: str, graph: Graph, path: Path, threads: int) -> Runtime:
        """Load the ONNX file in ONNX Runtime or OpenVINO."""
        return runtimes.open_runtime(name, path, threads)

    def environment(self) -> dict[str, str]:
        """Return versions and settings that change rounding."""
        return environment.describe()


def _chosen(dtype: ModelDType | None) -> str:
    if dtype not in (None, "float32", "float64"):
        raise BackendError(
            f"ONNX models compute in float32 or float64 here, not in {dtype!r}; save(..., half=True) stores the weights"
            " in half precision"
        )
    return dtype or "float32"
