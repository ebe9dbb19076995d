"""``python -m tests.lab.calibration``: every shipped network, correct on both sides, beside the bounds it is judged by.

What a run finds is kept in ``calibration.json``, a spec at a time, so that it can be interrupted; networks whose
architecture has changed since are done again. ``docs/calibration.md`` is written from it.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any

import resnet_spec
from resnet_spec import Graph, summarize
from resnet_spec.comparison import Difference, ParityReport
from resnet_spec.errors import ResnetSpecError
from resnet_spec.parity import comparing
from resnet_spec.rounding import CONFIDENCE

RESULTS = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "calibration.md"

COSTLY = 10**9
"""Multiply-accumulates beyond which a network is run on smaller images."""

LARGE = 4 * 10**7
LONG = 300
"""Parameters, and nodes, beyond which logits alone are compared: the run is to take an hour, not a day."""

HUGE = 32 * 10**7
"""Parameters of a network whose two float64 models do not fit 24 GiB beside its weights."""

SIZES = (224, 160, 128, 112, 96, 75, 64)


def main() -> None:
    """Run what has no current result, or what the arguments' patterns name, and write the document."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    patterns = sys.argv[1:]
    todo = [name for name in resnet_spec.available() if not patterns or any(fnmatch(name, p) for p in patterns)]
    for start in range(0, len(todo), 10):
        names = [name for name in todo[start : start + 10] if not _is_current(name, results)]
        if names:
            # Started anew now and then, since what TensorFlow has compiled it keeps.
            with comparing(("torch", "tensorflow")) as comparison:
                for name in names:
                    results[name] = calibrated(comparison, name)
                    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
                    print(name, results[name].get("verdict"), flush=True)
    DOCUMENT.write_text(document(results))


def _is_current(name: str, results: dict[str, Any]) -> bool:
    found = results.get(name)
    return found is not None and found["fingerprint"] == resnet_spec.load(name).to_graph().fingerprint


def calibrated(comparison: Any, name: str) -> dict[str, Any]:
    """The figures of one network."""
    graph = resnet_spec.load(name).to_graph()
    totals = summarize(graph)
    found: dict[str, Any] = {"fingerprint": graph.fingerprint, "parameters": totals.parameters}
    if totals.parameters > HUGE:
        return found | {"verdict": "not run: too large for the machine"}
    size = size_for(graph, totals.macs)
    small = totals.parameters <= LARGE and len(graph.nodes) <= LONG
    report: ParityReport = comparison.run(name, size=size, batch=1, bisect=small)
    nodes: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for node in report.nodes:
        for difference in node.differences:
            nodes[node.operation][difference.dtype].append(share(difference))
    return found | {
        "size": "×".join(map(str, report.size)),
        "verdict": "agrees" if report.passed else "DIFFERS",
        "float64": max(d.relative for d in report.differences if d.dtype == "float64"),
        "float32": {d.backend: d.relative for d in report.differences if d.dtype == "float32"},
        "bound": CONFIDENCE * report.reach,
        "nodes": {op: {dtype: [max(s), median(s), len(s)] for dtype, s in both.items()} for op, both in nodes.items()},
        "alarms": [d.subject for node in report.nodes for d in node.differences if not d.passed],
        "findings": [finding.node for finding in report.findings],
    }


def share(difference: Difference) -> float:
    """The part of its bound that a difference takes up."""
    return difference.relative / difference.bound if difference.bound else float(difference.relative > 0)


def size_for(graph: Graph, macs: int) -> tuple[int, int] | None:
    """The largest of some sizes at which the network is cheap enough; its own where that is, or is all it takes."""
    if graph.input.features is not None or graph.depends_on_size or macs <= COSTLY:
        return None
    for size in SIZES:
        if macs * size**2 <= COSTLY * graph.input.height * graph.input.width and _runs(graph, size):
            return size, size
    return None


def _runs(graph: Graph, size: int) -> bool:
    try:
        graph.at_size(size, size)
    except ResnetSpecError:
        return False
    return True


def document(results: dict[str, Any]) -> str:
    """The document, from what was found."""
    ran = {name: found for name, found in results.items() if "bound" in found}
    lines = [
        "# Calibration of the bounds",
        "",
        "Made by `make calibration`; do not edit. Every shipped network under random weights, torch beside TensorFlow:",
        "how much of its bound a correct float32 result takes up (1 would be an alarm). How the bounds follow from a",
        "network is in [parity.md](parity.md). Sizes are smaller where a network is costly.",
        "",
        *_totals(results, ran),
        "",
        "## Operations",
        "",
        "The largest and the median share of its bound that a node takes up, given the same inputs.",
        "",
        "| operation | nodes | float64, largest | median | float32, largest | median |",
        "|---|---|---|---|---|---|",
        *_operations(ran.values()),
        "",
        "## Networks",
        "",
        "| network | size | float64 | float32: bound | torch | TensorFlow | largest share | nodes |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(name, results.get(name, {"verdict": "not run"})) for name in resnet_spec.available()),
    ]
    return "\n".join(lines) + "\n"


def _totals(results: dict[str, Any], ran: dict[str, Any]) -> list[str]:
    shares = sorted(max(found["float32"].values()) / found["bound"] for found in ran.values() if found["bound"])
    alarms = [name for name, found in ran.items() if found["verdict"] != "agrees"]
    doubles = max((found["float64"] for found in ran.values()), default=0.0)
    bisected = sum(bool(found["nodes"]) for found in ran.values())
    bounds = sorted(found["bound"] for found in ran.values())
    return [
        f"{len(ran)} of {len(resnet_spec.available())} networks were run, {bisected} of them node by node;"
        f" {len(alarms)} false alarms{': ' + ', '.join(alarms) if alarms else ''}.",
        f"Logits in float64 were {doubles:.1e} apart at most, in standard deviations. Bounds in float32 are from",
        f"{bounds[0]:.1e} to {bounds[-1]:.1e}; of its own a correct result took up {shares[-1]:.2f} at most, and",
        f"{median(shares):.2f} in the median.",
    ]


def _operations(found: Iterable[dict[str, Any]]) -> Iterable[str]:
    gathered: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for network in found:
        for op, both in network["nodes"].items():
            for dtype, figures in both.items():
                gathered[op][dtype].append(figures)
    for op, both in sorted(gathered.items()):
        count = sum(int(figures[2]) for figures in both["float64"])
        cells = [
            f"{max(f[0] for f in both[dtype]):.2f} | {median(f[1] for f in both[dtype]):.2f}"
            for dtype in ("float64", "float32")
        ]
        yield f"| `{op}` | {count:,} | {' | '.join(cells)} |"


def _row(name: str, found: dict[str, Any]) -> str:
    if "bound" not in found:
        return f"| {name} | {found['verdict']} | | | | | | |"
    theirs = found["float32"]
    largest = max(theirs.values()) / found["bound"] if found["bound"] else 0.0
    nodes = sum(int(both["float64"][2]) for both in found["nodes"].values()) or "not compared"
    figures = f"{found['float64']:.1e} | {found['bound']:.1e} | {theirs['torch']:.1e} | {theirs['tensorflow']:.1e}"
    return f"| {name} | {found['size']} | {figures} | {largest:.2f} | {nodes} |"


if __name__ == "__main__":
    main()
