"""Compiles resnet-spec graphs to native Keras models; importing this package imports no framework yet."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.runtime import RuntimeKind
from resnet_spec_keras import OUTPUTS as KERAS_OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resnet_spec_tensorflow.backend import TensorFlowBackend

__all__ = ["IMPORTS", "INPUTS", "MODEL_CLASSES", "OUTPUTS", "PROCESS_SETTINGS", "RUNTIMES", "TensorFlowBackend"]

PROCESS_SETTINGS: Mapping[str, str] = MappingProxyType({"KERAS_BACKEND": "tensorflow"})
"""Environment variables that the backend needs in a process of its own, read when Keras is imported."""

INPUTS = (".index", ".ckpt", "")
"""What the backend reads, known without TensorFlow; a SavedModel is a folder and has no ending."""

IMPORTS = (".keras", ".h5", ".pb", "")
"""Files of whole models, of which the backend reads the network too; a SavedModel is a folder."""

MODEL_CLASSES = ("keras.src.models.model.Model",)
"""Live models that it reads."""

OUTPUTS: Mapping[str, str] = MappingProxyType(
    {
        **KERAS_OUTPUTS,
        "": "TensorFlow SavedModel folder, for serving",
        ".tflite": "TensorFlow Lite model",
        ".ckpt": "TensorFlow 1 checkpoint in one file, under TF-Slim's names",
    }
)
"""What it writes."""

RUNTIMES: Mapping[str, RuntimeKind] = {
    "tensorflow": RuntimeKind("TensorFlow, SavedModel", ""),
    "tensorflow-optimized": RuntimeKind("TensorFlow, optimized SavedModel with constant weights", "", optimized=True),
    "tensorflow-xla": RuntimeKind("TensorFlow, SavedModel compiled by XLA", ""),
    "tflite": RuntimeKind("TensorFlow Lite", ".tflite"),
    "tflite-optimized": RuntimeKind("TensorFlow Lite, optimized", ".tflite", optimized=True),
    "tflite-int8": RuntimeKind("TensorFlow Lite, 8-bit", ".tflite", quantized=True),
}
"""In what `resnet-spec bench` runs its models."""


def __getattr__(name: str) -> Any:
    if name == "TensorFlowBackend":
        from resnet_spec_tensorflow.backend import TensorFlowBackend

        return TensorFlowBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
