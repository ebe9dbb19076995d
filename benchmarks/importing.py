"""Importing resnet50 from each kind of source, in processes of their own, after the frameworks are imported.

CPU seconds, which do not depend on what else the machine does; on two cores the import takes at most as long.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.pairs import Ratio, summarize

LIMIT = 10.0
"""Seconds that an import may take on two cores."""

REPEATS = 1

TORCH = "import onnxruntime, torch; from tests.oracles.torchvision_original import models; make = models().resnet50"
KERAS = "import keras, tensorflow; make = lambda: keras.applications.ResNet50(weights=None)"

WRITTEN = {
    "model.pt2": f"{TORCH}; images = torch.zeros(2, 3, 224, 224);"
    "torch.export.save(torch.export.export(make().eval(), (images,)), path)",
    "model.onnx": f"{TORCH}; torch.onnx.export(make().eval(), (torch.zeros(1, 3, 224, 224),), path, dynamo=False)",
    "model.keras": f"{KERAS}; make().save(path)",
    "model": f"{KERAS}; make().export(path, format='tf_saved_model', verbose=False)",
}
"""How each file is written by its own library."""

SOURCES = {
    "torchvision's module": (TORCH, "make()"),
    "a .pt2 of torch.export": (TORCH, "model.pt2"),
    "an .onnx of torch.onnx.export": (TORCH, "model.onnx"),
    "a model of keras.applications": (KERAS, "make()"),
    "a .keras file": (KERAS, "model.keras"),
    "a SavedModel of model.export": (KERAS, "model"),
}


def run() -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as folder:
        for name, code in WRITTEN.items():
            path = str(Path(folder) / name)
            command = [sys.executable, "-c", f"path = {path!r}; {code}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name, (code, source) in SOURCES.items():
            text = source if source == "make()" else repr(str(Path(folder) / source))
            times = np.array([(seconds(code, text), LIMIT) for _ in range(REPEATS)])
            yield summarize(
                f"import resnet50 from {name}, frameworks imported (CPU) vs. {LIMIT:.0f} s", times, target="≤ 1"
            )


def seconds(code: str, source: str) -> float:
    """The time that an import takes in a new process."""
    timed = (
        "import time, resnet_spec; model = SOURCE; start = time.process_time();"
        "imported = resnet_spec.import_model(model, input=(3, 224, 224)); print(time.process_time() - start);"
        "assert imported.arrays"
    ).replace("SOURCE", source)
    command = [sys.executable, "-c", f"{code}; {timed}"]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return float(done.stdout.split()[-1])
