"""The ONNX backend: what the core asks of any framework, each in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import onnx

from resnet_spec.errors import BackendError
from resnet_spec.graph import INPUT
from resnet_spec_onnx import INPUTS, OUTPUTS
from resnet_spec_onnx.compilation import assemble
from resnet_spec_onnx.execution import PROVIDERS, runner
from resnet_spec_onnx.model import OnnxModel
from resnet_spec_onnx.reading.checkpoint import read_onnx
from resnet_spec_onnx.single_node import apply
from resnet_spec_onnx.writing import write_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.checkpoint import Checkpoint
    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.backend.protocol import Arrays, Batch, DType, Gradients
    from resnet_spec.graph import Graph

INFERENCE_ONLY = "the onnx backend computes inference only"


class OnnxBackend:
    """Writes graphs as ONNX models, for inference; see ``resnet_spec.backend.protocol.Backend``."""

    name: ClassVar[str] = "onnx"
    outputs: ClassVar[Mapping[str, str]] = OUTPUTS
    inputs: ClassVar[Sequence[str]] = INPUTS
    running_variance: ClassVar[Literal["biased", "unbiased"]] = "unbiased"

    def compile(self, graph: Graph, *, dtype: DType = "float32", exact_statistics: bool = False) -> OnnxModel:
        """A model that takes (batch, *input), its parameters not yet set.

        ``exact_statistics`` changes nothing, since statistics never move here.
        """
        return OnnxModel(graph, dtype)

    def load(self, model: OnnxModel, graph: Graph, arrays: Arrays) -> None:
        """Set every parameter; the arrays' own memory is used where their type fits and they are writable."""
        model.set_weights(arrays)

    def arrays(self, model: OnnxModel, graph: Graph) -> dict[str, NDArray[Any]]:
        """A copy of every parameter, in the graph's order."""
        return {name: array.copy() for name, array in model.filled().items()}

    def forward(
        self, model: OnnxModel, images: NDArray[Any], *, training: bool = False
    ) -> list[NDArray[np.floating[Any]]]:
        """The outputs for (batch, *input) images in the graph's order, computed in the model's dtype.

        float32 is run by ONNX Runtime on the processor, float64 by ONNX's reference implementation. Raises
        BackendError for training mode, and where ONNX Runtime is missing.
        """
        if training:
            raise BackendError(f"{INFERENCE_ONLY}; name another backend first to draw weights")
        if model.runner is None:
            model.runner = runner(model.skeleton, model.filled())
        return model.runner({INPUT: images.astype(model.dtype, copy=False)})

    def apply(
        self, model: OnnxModel, graph: Graph, name: str, inputs: Sequence[NDArray[Any]]
    ) -> NDArray[np.floating[Any]]:
        """One node's value from (batch, ...) values, by the ONNX nodes that it became, run as ``forward`` runs all."""
        return apply(model, name, inputs)

    def gradients(
        self, model: OnnxModel, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]
    ) -> Gradients:
        """Raises BackendError: an ONNX model computes inference."""
        raise BackendError(INFERENCE_ONLY)

    def train(self, model: OnnxModel, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
        """Raises BackendError: an ONNX model computes inference."""
        raise BackendError(INFERENCE_ONLY)

    def read(self, path: Path, graph: Graph | None = None, *, mmap: bool = False) -> Checkpoint:
        """The initializers of an ONNX file by name; raises WeightsError for a file that is broken."""
        return read_onnx(path, graph)

    def write(self, model: OnnxModel, graph: Graph, path: Path, *, half: bool = False) -> None:
        """Write the model, checked; with ``half`` its trainable parameters are stored in half precision.

        Raises OutputError for a model of more than 2 GiB, and where a value is too large for half precision.
        """
        skeleton = assemble(graph, model.dtype, half=True) if half else model.skeleton
        write_model(skeleton, model.filled(), path)

    def environment(self) -> dict[str, str]:
        """Versions and settings that change rounding."""
        return {
            "onnx": onnx.__version__,
            "onnxruntime": _version("onnxruntime"),
            "providers": ", ".join(PROVIDERS),
            "cores": str(os.cpu_count()),
        }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
