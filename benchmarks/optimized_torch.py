"""Optimized models in PyTorch vs. torchvision's, and what ONNX Runtime's own optimizer still gains."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import torch

import resnet_spec
from benchmarks.pairs import Ratio, measure
from benchmarks.torch_running import inference
from tests.oracles.torchvision_original import models

EAGER = {"resnet50": {1: "≤ 0.91", 8: "≤ 0.76"}, "resnext50_32x4d": {1: "", 8: ""}}
PAIRS = {1: 60, 8: 20}


def session(path: Path, level: str) -> onnxruntime.InferenceSession:
    """ONNX Runtime with PyTorch's number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait for more work would slow down the other session.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return onnxruntime.InferenceSession(path, options)


def running(session: onnxruntime.InferenceSession, images: torch.Tensor) -> Callable[[], Any]:
    """A function that runs a session once."""
    feed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, feed)


def run() -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as folder:
        for name, targets in EAGER.items():
            theirs = getattr(models(), name)(weights=None).eval()
            arrays = {key: value.numpy() for key, value in theirs.state_dict().items()}
            ours = resnet_spec.build(f"torchvision/{name}", "torch", weights=arrays, optimize=True)
            mine = Path(folder) / f"{name}.onnx"
            resnet_spec.save(ours, mine)
            for batch, target in targets.items():
                images, pairs = torch.randn(batch, 3, 224, 224), PAIRS[batch]
                what = f"{name}, batch {batch}"
                eager = inference(theirs, images)
                yield measure(f"{what}: optimized in torch vs. torchvision", inference(ours, images), eager, pairs,
                              target=target)  # fmt: skip
                default, plain = (
                    running(session(mine, level), images) for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL")
                )
                yield measure(f"{what}: our ONNX file without and with ONNX Runtime's optimizer", plain, default, pairs)
