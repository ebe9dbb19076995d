"""Versions and settings of ONNX and ONNX Runtime that change rounding."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

import onnx

from resnet_spec_onnx.execution import PROVIDERS


def describe() -> dict[str, str]:
    """Return versions, execution providers and the number of CPU cores by name, as reports show them."""
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
