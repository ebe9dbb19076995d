"""ResNets as data: a YAML spec becomes a native PyTorch model and a native TensorFlow model that agree.

Nothing below imports a framework until a model is asked for; names are imported when they are first used, so that
``resnet-build --help`` answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "BackendError",
    "DownloadError",
    "Graph",
    "GraphError",
    "ImageError",
    "LabelsError",
    "OutputError",
    "ParityReport",
    "Prediction",
    "Preprocessing",
    "Problem",
    "ResnetSpecError",
    "Spec",
    "SpecError",
    "Summary",
    "WeightsError",
    "__version__",
    "available",
    "build",
    "compare",
    "initialize",
    "load",
    "predict",
    "preprocess",
    "read_weights",
    "summarize",
    "write_weights",
]

if TYPE_CHECKING:
    from resnet_spec.backends import Backend
    from resnet_spec.building import build
    from resnet_spec.catalogue import available
    from resnet_spec.comparison import ParityReport
    from resnet_spec.errors import (
        BackendError,
        DownloadError,
        GraphError,
        ImageError,
        LabelsError,
        OutputError,
        Problem,
        ResnetSpecError,
        SpecError,
        WeightsError,
    )
    from resnet_spec.graph import Graph
    from resnet_spec.initialization import initialize
    from resnet_spec.loading import load
    from resnet_spec.parity import compare
    from resnet_spec.prediction import Prediction, predict
    from resnet_spec.preprocessing import preprocess
    from resnet_spec.published import Preprocessing
    from resnet_spec.spec import Spec
    from resnet_spec.summary import Summary, summarize
    from resnet_spec.weights import read_weights, write_weights

_HOMES = {
    "Backend": "backends",
    "BackendError": "errors",
    "DownloadError": "errors",
    "Graph": "graph",
    "GraphError": "errors",
    "ImageError": "errors",
    "LabelsError": "errors",
    "OutputError": "errors",
    "ParityReport": "comparison",
    "Prediction": "prediction",
    "Preprocessing": "published",
    "Problem": "errors",
    "ResnetSpecError": "errors",
    "Spec": "spec",
    "SpecError": "errors",
    "Summary": "summary",
    "WeightsError": "errors",
    "available": "catalogue",
    "build": "building",
    "compare": "parity",
    "initialize": "initialization",
    "load": "loading",
    "predict": "prediction",
    "preprocess": "preprocessing",
    "read_weights": "weights",
    "summarize": "summary",
    "write_weights": "weights",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"resnet_spec.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
