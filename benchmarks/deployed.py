"""Files that runtimes load, each runtime in a process of its own: against each other, torch's own export, and float."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

import resnet_spec
from benchmarks.pairs import Ratio, summarize
from resnet_spec.benchmarking.process import Artifact, RuntimeProcess
from resnet_spec.weights.formats.safetensors import write_safetensors
from tests.oracles.torchvision_original import models

NAMES = ("resnet50", "resnext50_32x4d")
PAIRS = 11
SECONDS = 0.3
ORT = "onnxruntime-optimized"
FROZEN = {1: "≤ 1.03", 8: "≤ 1.22"}
BACKENDS = {"torch-frozen": "torch", "tflite-optimized": "tensorflow", "tflite-int8": "tensorflow"}


def rounds(name: str, ours: RuntimeProcess, theirs: RuntimeProcess, images: Any, target: str = "") -> Ratio:
    """Time two processes in turns; a time is the median of a turn."""
    for process in (ours, theirs):
        process.prepare(images)
        process.time(SECONDS)
    times = np.empty((PAIRS, 2))
    for index in range(PAIRS):
        for side in (0, 1) if index % 2 else (1, 0):
            # The threads of the other process stop waiting for more.
            time.sleep(0.02)
            times[index, side] = np.median((ours, theirs)[side].time(SECONDS))
    return summarize(name, times, target)


class Opened:
    """The processes of one network's files, each opened at its first use."""

    def __init__(self, files: dict[str, Artifact], stack: ExitStack) -> None:
        self._files, self._stack = files, stack
        self._processes: dict[tuple[str, str], RuntimeProcess] = {}

    def __call__(self, runtime: str, images: Any, file: str = "") -> RuntimeProcess:
        """A runtime that has loaded the file of this name, by default its own."""
        key = runtime, file or runtime
        if key not in self._processes:
            process = self._stack.enter_context(RuntimeProcess(BACKENDS.get(runtime, "onnx"), runtime, 900.0))
            process.open(self._files[key[1]], torch.get_num_threads(), images)
            self._processes[key] = process
        return self._processes[key]


def artifacts(name: str, module: torch.nn.Module, folder: Path) -> dict[str, Artifact]:
    """What each runtime loads, written by its backend, and torch's own ONNX file."""
    graph = resnet_spec.load(f"torchvision/{name}").to_graph()
    arrays = {key: value.numpy() for key, value in module.state_dict().items()}
    graph_file, weights_file, grids = folder / "graph.json", folder / "weights.safetensors", folder / "q.json"
    graph_file.write_text(graph.to_json(), "utf-8")
    write_safetensors(weights_file, arrays)
    images = np.random.default_rng(0).standard_normal((2, 3, 224, 224), np.float32)
    grids.write_text(resnet_spec.quantize(f"torchvision/{name}", arrays, images).to_json(), "utf-8")
    written: dict[str, Artifact] = {}
    for runtime in ("torch-frozen", ORT, "onnxruntime-int8", "tflite-optimized", "tflite-int8"):
        own = folder / runtime
        own.mkdir(parents=True)
        with RuntimeProcess(BACKENDS.get(runtime, "onnx"), seconds=900.0) as process:
            written[runtime] = process.write(runtime, graph_file, weights_file, own, grids)
    ours = resnet_spec.build(f"torchvision/{name}", "onnx", weights=arrays, optimize=True)
    any_size = {"input": {0: "batch", 2: "height", 3: "width"}}
    for batch in FROZEN:
        shape = (batch, 3, 224, 224)
        resnet_spec.save(ours, folder / f"fixed-{batch}.onnx", fixed=shape)
        for form, axes in (("exported", any_size), (f"exported-{batch}", None)):
            torch.onnx.export(module, (torch.zeros(shape),), folder / f"{form}.onnx", dynamo=False,
                              input_names=["input"], dynamic_axes=axes)  # fmt: skip
    for path in folder.glob("*.onnx"):
        written[path.stem] = written[ORT]._replace(path=path)
    return written


def run() -> Iterator[Ratio]:
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            opened = Opened(artifacts(name, original(name), Path(folder)), stack)
            for batch, goal in FROZEN.items():
                images = np.random.default_rng(batch).standard_normal((batch, 3, 224, 224), np.float32)
                what = f"{name}, batch {batch}"
                ort = opened(ORT, images)
                yield rounds(f"{what}: optimized, compiled and frozen vs. our ONNX file in ONNX Runtime",
                             opened("torch-frozen", images), ort, images, goal)  # fmt: skip
                for runtime, called in ((ORT, "ONNX Runtime"), ("openvino-optimized", "OpenVINO")):
                    mine, theirs = opened(runtime, images, ORT), opened(runtime, images, "exported")
                    pair = f"{what}: our ONNX file vs. torch's own, in {called}"
                    yield rounds(pair, mine, theirs, images, "≤ 1")
                    mine, theirs = (opened(runtime, images, f"{form}-{batch}") for form in ("fixed", "exported"))
                    yield rounds(f"{pair}, both of fixed size", mine, theirs, images, "≤ 1")
                yield rounds(
                    f"{what}: 8 bits vs. float in ONNX Runtime", opened("onnxruntime-int8", images), ort, images
                )
                lite = opened("tflite-int8", images), opened("tflite-optimized", images)
                yield rounds(f"{what}: 8 bits vs. float in TFLite", *lite, images)


def original(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return getattr(models(), name)(weights=None).eval()
