"""``python -m tests.lab.half``: compare half precision with float64, for the table in docs/precision.md.

``--networks PATTERN`` chooses; what is recorded in ``half.json`` is not repeated without ``--again``.
"""

from __future__ import annotations

import argparse
import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from resnet_spec.backend.dtypes import HALF
from resnet_spec.parity.compare import comparing

RESULTS = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "precision.md"
HEADING = "## Half precision against float64\n"
BACKENDS = ("torch", "tensorflow")

NETWORKS = {
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
SIZE = 64
"""Height and width of the images, where a network allows it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="*")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with comparing(BACKENDS) as comparison:
        for name in NETWORKS:
            if fnmatch(name, options.networks) and (options.again or name not in results):
                results[name] = row(comparison, name)
                print(name, results[name], flush=True)
                RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(text.partition(HEADING)[0] + HEADING + table(results), encoding="utf-8")


def row(comparison: Any, name: str) -> dict[str, Any]:
    """The relative differences of each precision and backend, and the bounds."""
    found: dict[str, Any] = {}
    for dtype in HALF:
        size = None if name in ("timm/resnet50_clip", "faces/iresnet18", "cifar/resnet20") else (SIZE, SIZE)
        report = comparison.run(name, size=size, half=dtype)
        halves = [difference for difference in report.differences if difference.dtype == dtype]
        found[dtype] = {difference.backend: difference.relative for difference in halves}
        found[dtype]["bound"] = halves[0].bound
    return found


def table(results: dict[str, Any]) -> str:
    """The section of the document."""
    every = [own for found in results.values() for own in found.values()]
    used = [max(own[name] for name in BACKENDS) / own["bound"] for own in every]
    alarms = sum(part > 1 for part in used)
    heads = ["network", "covers", *(f"{dtype}: {name}" for dtype in HALF for name in (*BACKENDS, "bound"))]
    lines = [
        "",
        f"By `python -m tests.lab.half`, under random weights: {len(results)} networks, {alarms} false alarms; correct",
        f"backends use at most {max(used):.0%} of the bound. Differences are in standard deviations of the logits.",
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
    ]
    for name, found in sorted(results.items()):
        figures = [f"{found[dtype][key]:.0e}" for dtype in HALF for key in (*BACKENDS, "bound")]
        lines.append(f"| `{name}` | {NETWORKS[name]} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
