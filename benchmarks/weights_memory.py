"""Peak memory of conversions: a process's memory after imports vs. the file plus its largest tensor."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import resnet_spec
from benchmarks.pairs import Ratio, summarize

NETWORK = "torchvision/resnet152"

CONVERSIONS = ((".pth", ".safetensors"), (".safetensors", ".pth"), (".safetensors", ".onnx"), (".pth", ".keras"))

RUNS = 3

CODE = """
import json, re, sys
from pathlib import Path
import resnet_spec
from resnet_spec.backend.registry import get_backend, readers, writers
from resnet_spec.weights.converting import convert, find_target
source, target = map(Path, sys.argv[1:3])
graph = resnet_spec.load(sys.argv[3]).to_graph()
for known in (readers(), writers()):
    for path in (source, target):
        if path.suffix in known:
            get_backend(known[path.suffix])
def peak():
    # Not ru_maxrss, which a process inherits from its parent.
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
imported = peak()
convert(graph, resnet_spec.read_weights(source, graph), find_target(target))
print(json.dumps({"beyond": peak() - imported, "file": source.stat().st_size}))
"""


def run() -> Iterator[Ratio]:
    graph = resnet_spec.load(NETWORK).to_graph()
    largest = max(4 * np.prod(parameter.shape) for parameter in graph.parameters())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = folder / "weights.safetensors"
        resnet_spec.write_weights(first, graph, resnet_spec.initialize(graph, 0))
        measured(first, folder / "weights.pth")
        for before, after in CONVERSIONS:
            rows = []
            for index in range(RUNS):
                figures = measured(folder / f"weights{before}", folder / f"{index}{after}")
                rows.append((figures["beyond"] / 2**30, (figures["file"] + largest) / 2**30))
            label = (
                f"peak memory of resnet152{before} to {after} after imports vs. the file plus its largest tensor (GiB)"
            )
            yield summarize(label, np.array(rows), target="≤ 1")


def measured(source: Path, target: Path) -> dict[str, int]:
    command = [sys.executable, "-c", CODE, str(source), str(target), NETWORK]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(process.stdout.splitlines()[-1])
