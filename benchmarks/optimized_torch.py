"""Optimized models in PyTorch and in ONNX Runtime vs. torchvision's, torch's own export and each other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import torch
import torch._inductor.config
from torch import nn

import resnet_spec
from benchmarks.pairs import Ratio, measure
from benchmarks.torch_running import inference
from tests.oracles.torchvision_original import models

EAGER = {"resnet50": {1: "≤ 0.91", 8: "≤ 0.76"}, "resnext50_32x4d": {1: "", 8: ""}}
PAIRS = {1: 60, 8: 20}


def session(path: Path, level: str = "ORT_ENABLE_ALL") -> onnxruntime.InferenceSession:
    """ONNX Runtime with PyTorch's number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return onnxruntime.InferenceSession(path, options)


def running(session: onnxruntime.InferenceSession, images: torch.Tensor) -> Callable[[], Any]:
    """A function that runs a session once."""
    feed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, feed)


def frozen(model: nn.Module, images: torch.Tensor) -> Callable[[], Any]:
    """A function that runs a model which ``torch.compile`` has compiled with its parameters as constants."""
    torch._dynamo.reset()
    with torch._inductor.config.patch(freezing=True), torch.inference_mode():
        compiled = torch.compile(model)
        compiled(images)
    return inference(compiled, images)


def run() -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as folder:
        for name, targets in EAGER.items():
            theirs = getattr(models(), name)(weights=None).eval()
            arrays = {key: value.numpy() for key, value in theirs.state_dict().items()}
            ours = resnet_spec.build(f"torchvision/{name}", "torch", weights=arrays, optimize=True)
            mine, exported = Path(folder) / f"{name}.onnx", Path(folder) / f"{name}-torch.onnx"
            resnet_spec.save(ours, mine)
            for batch, target in targets.items():
                images, pairs = torch.randn(batch, 3, 224, 224), PAIRS[batch]
                what = f"{name}, batch {batch}"
                eager = inference(theirs, images)
                yield measure(f"{what}: optimized in torch vs. torchvision", inference(ours, images), eager, pairs,
                              target=target)  # fmt: skip
                ort = running(session(mine), images)
                goal = "≤ 1.03" if batch == 1 else "≤ 1.22"
                compiled = frozen(ours, images)
                yield measure(f"{what}: optimized, compiled and frozen vs. ONNX Runtime", compiled, ort, pairs,
                              target=goal)  # fmt: skip
                torch.onnx.export(theirs, (images,), exported, dynamo=False)
                other = running(session(exported), images)
                yield measure(f"{what}: our ONNX file vs. torch's own, in ONNX Runtime", ort, other, pairs,
                              target="≤ 1")  # fmt: skip
                plain = running(session(mine, "ORT_DISABLE_ALL"), images)
                yield measure(f"{what}: our ONNX file without and with ONNX Runtime's optimizer", plain, ort, pairs)
