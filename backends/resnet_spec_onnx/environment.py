"""The versions and settings that change rounding, for reports."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

import onnx

from resnet_spec_onnx.execution import PROVIDERS


def environment() -> dict[str, str]:
    """Return the versions of onnx and ONNX Runtime, its execution providers and the number of CPU cores."""
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
