"""A network that is trained here, on scikit-learn's digits, and its accuracy in 8 bits in two runtimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resnet_spec
from resnet_spec.benchmarking.process import RuntimeProcess
from tests.needs import need

need("torch")
need("tensorflow")
need("onnx")

SPEC = """
input: {channels: 1, height: 8, width: 8}
layers:
  norm: {batch_norm: {epsilon: 1.0e-5, momentum: 0.1, running_variance: unbiased}}
  act: relu
stem:
  conv: {conv2d: {channels: 16, kernel: 3, padding: 1}}
  norm: norm
  act: act
stages:
  first: {block: basic_block, channels: 16}
  second: {block: basic_block, channels: 32, stride: 2}
head:
  pool: global_avg_pool
  flatten: flatten
  fc: {linear: {features: 10}}
"""
RUNTIMES = {"onnxruntime-int8": "onnx", "tflite-int8": "tensorflow"}


@pytest.mark.slow
def test_8_bits_cost_no_accuracy_on_digits(tmp_path: Path) -> None:
    import torch
    from sklearn.datasets import load_digits

    spec, weights, file, graph_file = (tmp_path / name for name in ("digits.yaml", "w.safetensors", "q.json", "g.json"))
    spec.write_text(SPEC)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = (digits.images[order, None] / 16 - 0.5).astype("float32")
    classes = digits.target[order]
    training, tested = slice(0, 1300), slice(1300, None)

    torch.manual_seed(0)
    model = resnet_spec.build(spec, "torch").train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(6):
        for start in range(0, 1300, 50):
            batch = slice(start, start + 50)
            loss = torch.nn.functional.cross_entropy(
                model(torch.from_numpy(images[batch])), torch.from_numpy(classes[batch])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        in_float = model(torch.from_numpy(images[tested])).numpy()
    accuracy = float((in_float.argmax(1) == classes[tested]).mean())
    assert accuracy > 0.95

    resnet_spec.save(model, weights)
    found = resnet_spec.quantize(spec, weights, images[training][:200], reduce_range=True)
    file.write_text(found.to_json())
    graph_file.write_text(resnet_spec.load(spec).to_graph().to_json())
    for runtime, backend in RUNTIMES.items():
        folder = tmp_path / runtime
        folder.mkdir()
        with RuntimeProcess(backend) as process:
            artifact = process.write(runtime, graph_file, weights, folder, file)
        with RuntimeProcess(backend, runtime) as process:
            process.open(artifact, 1, images[:1])
            logits = process.prepare(images[tested])
        assert (logits.argmax(1) == in_float.argmax(1)).mean() >= 0.99, runtime
        assert abs(float((logits.argmax(1) == classes[tested]).mean()) - accuracy) <= 0.01, runtime
