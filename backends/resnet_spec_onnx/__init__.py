"""The ONNX backend of resnet-spec; the onnx package itself is imported at the first use of ``OnnxBackend``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.runtime import RuntimeKind

if TYPE_CHECKING:
    from resnet_spec_onnx.backend import OnnxBackend

__all__ = ["IMPORTS", "INPUTS", "MODEL_CLASSES", "OUTPUTS", "RUNTIMES", "OnnxBackend"]

OUTPUTS: Mapping[str, str] = MappingProxyType({".onnx": "ONNX model, for ONNX Runtime and other runtimes"})
"""What the backend writes, known without onnx."""

RUNTIMES: Mapping[str, RuntimeKind] = {
    "onnxruntime": RuntimeKind("ONNX Runtime", ".onnx"),
    "onnxruntime-optimized": RuntimeKind("ONNX Runtime, optimized", ".onnx", optimized=True),
    "onnxruntime-int8": RuntimeKind("ONNX Runtime, 8-bit", ".onnx", quantized=True),
    "openvino": RuntimeKind("OpenVINO", ".onnx"),
    "openvino-optimized": RuntimeKind("OpenVINO, optimized", ".onnx", optimized=True),
    "openvino-int8": RuntimeKind("OpenVINO, 8-bit", ".onnx", quantized=True),
}
"""In what `resnet-spec bench` runs its models."""

INPUTS = (".onnx",)
"""What the backend reads, known without onnx."""

IMPORTS = (".onnx",)
"""Models that it imports from a file."""

MODEL_CLASSES = ("onnx.onnx_ml_pb2.ModelProto",)
"""Models that it imports from Python."""


def __getattr__(name: str) -> Any:
    if name == "OnnxBackend":
        from resnet_spec_onnx.backend import OnnxBackend

        return OnnxBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
