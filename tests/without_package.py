"""Runs an artifact in a process of its own, by its own runtime, in which this package cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = """
import sys

import numpy as np

for name in ("", "_torch", "_keras", "_tensorflow", "_jax", "_onnx"):
    sys.modules[f"resnet_spec{name}"] = None
x, path = np.load("x.npy"), sys.argv[1]
"""

RUNTIMES = {
    ".pt2": "import torch; y = torch.export.load(path).module()(torch.from_numpy(x)).detach().numpy()",
    "int8.pt2": (
        "import torch, torch.ao.quantization.fx._decomposed as _;"
        " y = torch.export.load(path).module()(torch.from_numpy(x)).detach().numpy()"
    ),
    ".onnx": "import onnxruntime as o; y = o.InferenceSession(path).run(None, {'input': x})[0]",
    ".keras": "import keras; y = keras.models.load_model(path)(x).numpy()",
    "": "import tensorflow as t; (y,) = t.saved_model.load(path).signatures['serving_default'](t.constant(x)).values()",
    ".tflite": (
        "import tensorflow as t; i = t.lite.Interpreter(path); (y,) = i.get_signature_runner()(input=x).values()"
    ),
}
"""Code that computes ``y`` from ``x`` by the artifact at ``path``, by the name or the ending of the path."""


def run_without_package(path: Path, images: np.ndarray) -> Any:
    """The output of an artifact for a batch."""
    folder = path.parent
    np.save(folder / "x.npy", images)
    code = f"{BLOCK}{RUNTIMES.get(path.name, RUNTIMES.get(path.suffix))}\nnp.save('y.npy', y)"
    subprocess.run([sys.executable, "-I", "-W", "ignore", "-c", code, str(path)], check=True, cwd=folder)
    return np.load(folder / "y.npy")
