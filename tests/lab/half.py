"""``python -m tests.lab.half``: compare half precision with float64, for the table in docs/precision.md.

``--networks PATTERN`` chooses among all shipped networks; what is recorded in ``half.json`` is not repeated without
``--again``. ``--seconds 300`` ends it after the network during which that time passes.
"""

from __future__ import annotations

import argparse
import json
import time
from fnmatch import fnmatch
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import resnet_spec
from resnet_spec.backend.dtypes import HALF_PRECISIONS
from resnet_spec.parity.compare import loaded_spec, prepared
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.half import HalfComparison
from resnet_spec.parity.process import BackendProcess, started
from resnet_spec.parity.randomization import random_images
from tests.lab.calibration import runs

RESULTS = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "precision.md"
HEADING = "## Half precision against float64\n"
BACKENDS = ("torch", "tensorflow")

EXAMPLES = {
    "cifar/resnet20": "the network of the papers",
    "torchvision/resnet18": "basic blocks",
    "torchvision/resnet50": "bottlenecks",
    "torchvision/resnext50_32x4d": "grouped convolutions",
    "keras/resnet50v2": "pre-activation",
    "timm/seresnet50": "squeeze and excitation",
    "timm/resnest14d": "split attention",
    "timm/nf_resnet26": "no normalization, standardized kernels",
    "timm/resnetv2_50x1_bit": "group normalization, standardized kernels",
    "timm/resnetv2_50d_evos": "EvoNorm",
    "timm/regnety_002": "RegNet, SiLU in the gate",
    "timm/resnet50_clip": "attention pool",
    "faces/iresnet18": "PReLU, normalization of vectors",
}

SIZE = (64, 64)
"""Height and width of the images, where a network allows it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="*")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--seconds", type=float, default=inf)
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() and not options.again else {}
    named = dict.fromkeys((*EXAMPLES, *resnet_spec.available()))
    with started(BACKENDS) as processes, TemporaryDirectory() as folder:
        for name in named:
            if time.monotonic() < end and fnmatch(name, options.networks) and name not in results:
                results[name] = row(processes, Scratch(Path(folder)), name)
                print(name, results[name], flush=True)
                RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(text.partition(HEADING)[0] + HEADING + table(results), encoding="utf-8")


def row(processes: list[BackendProcess], files: Scratch, name: str) -> dict[str, Any]:
    """The relative differences of each precision and backend, and the bounds."""
    whole = resnet_spec.load(name).to_graph()
    size = SIZE if whole.input.features is None and not whole.depends_on_size and runs(whole, SIZE[0]) else None
    graph, arrays = prepared(processes[0], files, loaded_spec(name, None, size), None, 0, lambda step: None)
    images = random_images((2, *graph.input.shape), 1)
    halves = HalfComparison(processes, files, lambda step: None)
    found: dict[str, Any] = {}
    for dtype in HALF_PRECISIONS:
        differences, _ = halves.run(graph, arrays, images, 0, dtype)
        found[dtype] = {difference.backend: difference.relative for difference in differences}
        found[dtype]["bound"] = differences[0].bound
    return found


def table(results: dict[str, Any]) -> str:
    """The section of the document."""
    used = {name: max(map(share, found.values())) for name, found in results.items()}
    alarms = sum(part > 1 for part in used.values())
    lines = [
        "",
        f"By `python -m tests.lab.half`, under random weights: {len(results)} networks, {alarms} false alarms; correct",
        f"backends use at most {max(used.values()):.0%} of the bound. The larger one of the differences of PyTorch and",
        "TensorFlow, in standard deviations of the logits, with the bound:",
        "",
        f"| {' | '.join(['network', 'covers', *HALF_PRECISIONS])} |",
        "|---" * (2 + len(HALF_PRECISIONS)) + "|",
    ]
    for name, covers in sorted(EXAMPLES.items()):
        if name in results:
            figures = (results[name][dtype] for dtype in HALF_PRECISIONS)
            cells = [f"{max(own[each] for each in BACKENDS):.0e} of {own['bound']:.0e}" for own in figures]
            lines.append(f"| `{name}` | {covers} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def share(found: dict[str, float]) -> float:
    """The largest share of a bound that a backend uses."""
    return max(found[name] for name in BACKENDS) / found["bound"]


if __name__ == "__main__":
    main()
