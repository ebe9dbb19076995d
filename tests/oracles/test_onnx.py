"""Originals compared with the ONNX files written from their weights, which ONNX Runtime runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resnet_spec
from resnet_spec import read_weights
from resnet_spec_onnx import OnnxBackend

from .gates import GATES
from .original import images, key
from .verification import run_original

# A plain one; `same` strides; a pad of zeros before a max pool of signed maps; standardized kernels and group norms.
NETWORKS = ("torchvision/resnet18", "slim/resnet_v1_50", "keras/resnet50v2", "timm/resnetv2_50x1_bit")

# Even and odd at every stage.
PLAN = [(64, 64, 2), (75, 75, 1)]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_computes_what_the_original_computes(name: str, tmp_path: Path) -> None:
    import onnxruntime

    graph = resnet_spec.load(name).to_graph()
    _, wanted, read = run_original(graph, PLAN, tmp_path)
    weights = read_weights(read, graph)
    compared = graph.with_outputs([graph.logits])
    backend, path = OnnxBackend(), tmp_path / "x.onnx"
    models = {dtype: backend.compile(compared, dtype=dtype) for dtype in GATES}
    for model in models.values():
        backend.load(model, compared, weights)
    backend.write(models["float32"], compared, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(dtype: str, batch: Any) -> Any:
        if dtype == "float64":
            return backend.forward(models[dtype], batch)[0]
        return session.run(None, {"input": batch.astype(np.float32)})[0]

    deviation = np.concatenate([wanted[key("float64", size)].ravel() for size in PLAN]).std()
    for dtype, gate in GATES.items():
        for size in PLAN:
            height, width, batch = size
            exact = wanted[key(dtype, size)]
            error = np.abs(run(dtype, images((batch, 3, height, width))) - exact).max() / deviation
            assert error < gate, f"{dtype} at {size}: {error:.1e} × std"
