"""Runtimes of 8-bit files as backends, which a comparison runs as it runs any other backend.

``registered`` registers them as third-party backends, for this process and its workers.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from resnet_spec.graph import Graph
from resnet_spec_onnx import OnnxBackend
from resnet_spec_tensorflow import TensorFlowBackend
from resnet_spec_torch import TorchBackend
from tests.third_party import distribution, on_path

ROOT = Path(__file__).parents[2]
CLASSES = {"pt2": "ProgramBackend", "tflite": "LiteBackend", "openvino": "OpenVinoBackend"}


class ProgramBackend(TorchBackend):
    """PyTorch whose 8-bit models run as exported programs, with the operators of PT2E."""

    name = "pt2"

    def compile_quantized(self, graph: Graph, *arguments: Any, **settings: Any) -> Any:
        model = super().compile_quantized(graph, *arguments, **settings)
        self.exported = model, graph
        return model

    def forward(self, model: Any, images: Any, *, training: bool = False) -> list[Any]:
        compiled, graph = getattr(self, "exported", (None, None))
        if model is not compiled or graph is None:
            return super().forward(model, images, training=training)
        import torch

        with TemporaryDirectory(prefix="resnet-spec-") as folder, torch.no_grad():
            self.write(model, graph, Path(folder) / "model.pt2", batch=len(images))
            found = torch.export.load(Path(folder) / "model.pt2").module()(torch.from_numpy(images))
        return [value.numpy() for value in ([found] if isinstance(found, torch.Tensor) else found)]


class LiteBackend(TensorFlowBackend):
    """TensorFlow whose 8-bit models run in TensorFlow Lite."""

    name = "tflite"

    def compile_quantized(self, graph: Graph, *arguments: Any, **settings: Any) -> Any:
        model = super().compile_quantized(graph, *arguments, **settings)
        self.in_lite = model, graph
        return model

    def forward(self, model: Any, images: Any, *, training: bool = False) -> list[Any]:
        compiled, graph = getattr(self, "in_lite", (None, None))
        if model is not compiled or graph is None:
            return super().forward(model, images, training=training)
        return in_runtime(self, "tflite-int8", model, graph, images, ".tflite")


class OpenVinoBackend(OnnxBackend):
    """ONNX whose 8-bit models run in OpenVINO."""

    name = "openvino"

    def compile_quantized(self, graph: Graph, *arguments: Any, **settings: Any) -> Any:
        self.compiled = super().compile_quantized(graph, *arguments, **settings)
        return self.compiled

    def forward(self, model: Any, images: Any, *, training: bool = False) -> list[Any]:
        if model is not getattr(self, "compiled", None):
            return super().forward(model, images, training=training)
        return in_runtime(self, "openvino-int8", model, model.graph, images, ".onnx")


def in_runtime(backend: Any, runtime: str, model: Any, graph: Graph, images: Any, ending: str) -> list[Any]:
    """A model's outputs as a runtime computes them from its file."""
    with TemporaryDirectory(prefix="resnet-spec-") as folder:
        path = Path(folder) / f"model{ending}"
        names = [f"value{index}" for index in range(len(graph.outputs))]
        backend.write(model, graph.with_outputs(graph.outputs, names), path)
        opened = backend.open_runtime(runtime, graph.with_outputs(graph.outputs, names), path, 1)
        return [value.copy() for value in opened.values(opened.run(opened.convert(images)))]


@contextmanager
def registered(folder: Path) -> Generator[None]:
    """Register the backends of this module, for this process and its workers."""
    classes = {name: f"{__name__}:{own}" for name, own in CLASSES.items()}
    distribution(folder, "integer-backends", classes)
    with pytest.MonkeyPatch.context() as patch:
        on_path(patch, folder, ROOT)
        yield
