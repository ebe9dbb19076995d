"""Comparing backends: time vs. a conversion that checks nothing, and memory vs. the size of all activations."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import torch

import resnet_spec
from benchmarks.pairs import Ratio, summarize
from benchmarks.weights_converting import RIVALS, THEIRS, timed

RUNS = 3
NETWORKS = ("torchvision/resnet50", "torchvision/resnet152")
GIB = 2**30
BATCH = 2


def run() -> Iterator[Ratio]:
    """Seconds and GiB."""
    yield from _versus_conversion()
    for network in NETWORKS:
        plain, bisected = ([_run(network, *options) for _ in range(RUNS)] for options in ((), ("--bisect",)))
        times = np.array([(b.seconds, p.seconds) for b, p in zip(bisected, plain, strict=True)])
        yield summarize(f"parity --bisect {network} vs. parity (seconds, whole commands)", times)
        memory = np.array([(b.peak / GIB, p.peak / GIB) for b, p in zip(bisected, plain, strict=True)])
        yield summarize(f"peak memory of parity --bisect {network} vs. parity (GiB, all processes)", memory)
        beyond = [((b.peak - p.peak) / GIB, _activations(network) / GIB) for b, p in zip(bisected, plain, strict=True)]
        label = f"additional memory of --bisect {network} vs. all float64 activations of both backends (GiB)"
        yield summarize(label, np.array(beyond), target="< 1")


def _versus_conversion() -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx = folder / "resnet50.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = resnet_spec.build(NETWORKS[0], "torch")
            torch.onnx.export(model, (torch.zeros(1, 3, 224, 224),), str(onnx), dynamo=False)
        sample = np.random.default_rng(0).random((20, 128, 128, 3), np.float32)
        np.save(folder / "calibration_image_sample_data_20x128x128x3_float32.npy", sample)
        rows = []
        for index in range(RUNS):
            _, theirs = timed(RIVALS / "bin" / "python", THEIRS, folder, onnx, folder / f"out{index}")
            rows.append((_run(NETWORKS[0]).seconds, theirs))
    label = "parity resnet50 (float64, float32 and their bounds) vs. a conversion by onnx2tf (whole processes)"
    yield summarize(label, np.array(rows), target="< 1")


class _Outcome:
    """The duration of a command, and the peak memory of it and its child processes together."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak = 0


def _run(network: str, *options: str) -> _Outcome:
    command = shutil.which("resnet-spec", path=str(Path(sys.executable).parent))
    assert command
    outcome, start = _Outcome(), time.perf_counter()
    arguments = [command, "parity", network, "--batch", str(BATCH), *options]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watcher = threading.Thread(target=_watch, args=(process, outcome))
    watcher.start()
    status = process.wait()
    outcome.seconds = time.perf_counter() - start
    watcher.join()
    assert status == 0, f"{network}: status {status}"
    return outcome


def _watch(process: subprocess.Popen[bytes], outcome: _Outcome) -> None:
    while process.poll() is None:
        held = sum(_resident(pid) for pid in [process.pid, *_children(process.pid)])
        outcome.peak = max(outcome.peak, held)
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]
    except OSError:
        return []


def _resident(pid: int) -> int:
    """Anonymous memory only: the system can drop pages of mapped files at any time."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def _activations(network: str) -> int:
    graph = resnet_spec.load(network).to_graph()
    return 2 * 8 * BATCH * sum(prod(node.shape) for node in graph.nodes)
