"""Backends and files of models in processes of their own, on the same images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

import resnet_spec
from resnet_spec import Preprocessing, evaluate, initialize, load, preprocess, write_weights
from resnet_spec.backend.registry import get_backend
from resnet_spec.benchmarking.process import RuntimeProcess
from tests.needs import need
from tests.resnet_spec.conftest import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kept_backends")]

PREPROCESSING = Preprocessing(resize=20, crop=16, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
WRITE = """
import resnet_spec
model = resnet_spec.build("net.yaml", "tensorflow", "net.safetensors")
resnet_spec.save(model, "net.keras")
resnet_spec.save(model, "one.tflite", fixed=(1, 3, 16, 16))
"""


def test_models_in_files_are_evaluated_beside_backends(
    write: Callable[..., Path], python: Callable[..., Any], tmp_path: Path
) -> None:
    for framework in ("torch", "tensorflow", "onnx"):
        need(framework)
    spec = write(SMALL, "net.yaml")
    graph = load(spec).to_graph()
    write_weights("net.safetensors", graph, initialize(graph, seed=3))
    photographs = [data.chelsea(), data.coffee(), data.astronaut()]
    for number in range(30):
        path = Path("images", str(number % 5), f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photographs[number % 3][10 * number :, : 400 - 10 * number]).save(path)
    done = python(WRITE)
    assert done.status == 0, done.err
    model = resnet_spec.build("net.yaml", "torch", "net.safetensors")
    names = ["torch", "net.keras", "one.tflite", "int8.onnx"]
    files = sorted(map(str, Path("images").rglob("*.png")))
    found = resnet_spec.quantize("net.yaml", "net.safetensors", files, preprocessing=PREPROCESSING, reduce_range=True)
    Path("q.json").write_text(found.to_json(), "utf-8")
    Path("graph.json").write_text(graph.to_json(), "utf-8")
    with RuntimeProcess("onnx") as process:
        Path("int8").mkdir()
        written = process.write(
            "onnxruntime-int8",
            Path("graph.json").resolve(),
            Path("net.safetensors").resolve(),
            Path("int8").resolve(),
            Path("q.json").resolve(),
        )
    written.path.rename("int8.onnx")

    report = evaluate("net.yaml", "images", "net.safetensors", names, preprocessing=PREPROCESSING, batch=7, workers=2)
    assert report.count == 30
    batch = preprocess("net.yaml", [f"images/{name}" for name, _ in report.images], PREPROCESSING)
    logits = get_backend("torch").forward(model, batch)[0]
    right = logits.argmax(axis=1) == [number for _, number in report.images]
    assert report.results["torch"].top1.share == right.mean()
    assert np.array_equal(report.scores["torch"].top, np.argsort(-logits, axis=1, kind="stable"))
    for name in ("net.keras", "one.tflite"):
        assert report.results[name].logits < report.bound < 1e-3
        assert all(image.is_tie for image in report.results[name].differing)
    assert 1e-3 < report.results["int8.onnx"].logits < 0.5
    assert report.environment["int8.onnx"]
