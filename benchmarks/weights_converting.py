"""Converting resnet50 to a trainable Keras model vs. onnx2tf: after importing the frameworks, and as whole processes.

onnx2tf pins other versions of the same libraries, so it has its own environment, which ``make benchmark`` sets up.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import resnet_spec
from benchmarks.pairs import Ratio, summarize

RIVALS = Path(os.environ.get("RIVALS", Path(__file__).parent.parent / ".venv-rivals"))

RUNS = 3

OURS = """
import sys, time
import keras, torch
start = time.perf_counter()
import resnet_spec
model = resnet_spec.build("torchvision/resnet50", "tensorflow", weights=sys.argv[1])
assert model.trainable_variables
print("seconds", time.perf_counter() - start)
"""

# Without strict mode, which compares layers during conversion, and without writing TFLite, which ours does not do here.
THEIRS = """
import sys, time
import tensorflow, onnx2tf
import onnx2tf.onnx2tf as inside
start = time.perf_counter()
tensorflow.lite.TFLiteConverter.from_keras_model = None
class Done(Exception): pass
def stop(*args, **kwargs): raise Done
tensorflow.lite.TFLiteConverter.from_concrete_functions = stop
try:
    onnx2tf.convert(input_onnx_file_path=sys.argv[1], output_folder_path=sys.argv[2], non_verbose=True,
                    disable_strict_mode=True)
except Done:
    pass
print("seconds", time.perf_counter() - start)
"""


def run() -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pth, onnx = folder / "resnet50.pth", folder / "resnet50.onnx"
        model = resnet_spec.build("torchvision/resnet50", "torch")
        torch.save(model.state_dict(), pth)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(model, (torch.zeros(1, 3, 224, 224),), str(onnx), dynamo=False)
        # onnx2tf downloads this file if it is missing.
        sample = np.random.default_rng(0).random((20, 128, 128, 3), np.float32)
        np.save(folder / "calibration_image_sample_data_20x128x128x3_float32.npy", sample)
        rows = []
        for index in range(RUNS):
            ours = timed(sys.executable, OURS, folder, pth)
            theirs = timed(RIVALS / "bin" / "python", THEIRS, folder, onnx, folder / f"out{index}")
            rows.append((ours, theirs))
        times = np.array(rows)
    label = "resnet50.pth to a trainable Keras model vs. onnx2tf from ONNX"
    yield summarize(f"{label}, frameworks imported", times[:, :, 0], target="≤ 1/5")
    yield summarize(f"{label}, whole processes", times[:, :, 1], target="≤ 1/2.5")


def timed(python: str | Path, code: str, folder: Path, *arguments: Path) -> tuple[float, float]:
    """Seconds after imports, as the process prints them, and of the whole process."""
    start = time.perf_counter()
    process = subprocess.run(
        [python, "-c", code, *map(str, arguments)], cwd=folder, check=True, capture_output=True, text=True
    )
    whole = time.perf_counter() - start
    (seconds,) = re.findall(r"^seconds (\S+)$", process.stdout, re.MULTILINE)
    return float(seconds), whole
