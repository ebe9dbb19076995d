"""``python -m tests.lab.calibration``: compare correct backends on every shipped network, for docs/calibration.md.

What a run finds is kept in ``calibration.json``, a spec at a time, so that it can be interrupted; networks whose
architecture has changed since are done again. ``docs/calibration.md`` is written from it.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import resnet_spec
from resnet_spec import Graph, summarize
from resnet_spec.errors import BackendError, ResnetSpecError
from resnet_spec.parity.compare import comparing
from resnet_spec.parity.report import Difference, ParityReport
from resnet_spec.parity.trace import compare_with_trace, record

RESULTS = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "calibration.md"

COSTLY = 10**9
"""Networks with more multiply-accumulates run on smaller images."""

LARGE = 10**8
LONG = 850
"""Only the logits of networks with more parameters or nodes are compared, so that a run takes an hour or two."""

HUGE = 25 * 10**7
"""With more parameters, two float64 models do not fit 24 GiB: one backend is compared with a trace of the other."""

FRESH = 2 * 10**8
"""Processes restart after this many parameters, since TensorFlow keeps what it compiles."""

SIZES = (224, 160, 128, 112, 96, 75, 64)


def main() -> None:
    """Run the networks that match the arguments' patterns and have no current result, and write the page."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    patterns = sys.argv[1:]
    graphs = {name: resnet_spec.load(name).to_graph() for name in resnet_spec.available()}
    named = [name for name in graphs if not patterns or any(fnmatch(name, pattern) for pattern in patterns)]
    todo = [name for name in named if not _is_current(graphs[name], name, results)]
    for names in _batches({name: summarize(graphs[name]).parameters for name in todo}):
        for name, found in calibrated({name: graphs[name] for name in names}):
            results[name] = found
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
            print(name, found["verdict"], flush=True)
    DOCUMENT.write_text(document(results))


def _is_current(graph: Graph, name: str, results: dict[str, Any]) -> bool:
    found = results.get(name)
    if found is None or "bound" not in found or found["roundings"] != roundings(graph):
        return False
    return found["fingerprint"] == graph.fingerprint and (bool(found["nodes"]) or not _by_node(graph))


def roundings(graph: Graph) -> int:
    """Return the number of roundings, from which the bounds follow, to detect changes."""
    return sum(node.operation.roundings(*graph.input_shapes(node)) for node in graph.nodes)


def _by_node(graph: Graph) -> bool:
    return summarize(graph).parameters <= LARGE and len(graph.nodes) <= LONG


def _batches(parameters: dict[str, int]) -> Iterator[list[str]]:
    """Yield the names that the same processes run, in order; large networks run on their own."""
    batch: list[str] = []
    for name, count in parameters.items():
        if batch and sum(parameters[one] for one in batch) + count > FRESH:
            yield batch
            batch = []
        batch.append(name)
    if batch:
        yield batch


def calibrated(graphs: dict[str, Graph]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the figures of networks that run in the same processes, up to the first failure of a backend."""
    if any(summarize(graph).parameters > HUGE for graph in graphs.values()):
        for name, graph in graphs.items():
            yield name, or_failure(graph, partial(_by_trace, name, graph))
        return
    with comparing(("torch", "tensorflow")) as comparison:
        for name, graph in graphs.items():
            size = size_for(graph)
            found = or_failure(graph, partial(comparison.run, name, size=size, batch=1, bisect=_by_node(graph)))
            yield name, found
            if "bound" not in found:
                return


def _by_trace(name: str, graph: Graph) -> ParityReport:
    with TemporaryDirectory() as folder:
        path = Path(folder, "trace.safetensors")
        record(name, "torch", path, size=size_for(graph), batch=1)
        return compare_with_trace(path, "tensorflow")


def or_failure(graph: Graph, run: Callable[[], ParityReport]) -> dict[str, Any]:
    """Return the figures of a comparison, or why it failed."""
    about = {"fingerprint": graph.fingerprint, "parameters": summarize(graph).parameters, "roundings": roundings(graph)}
    started = time.perf_counter()
    try:
        report = run()
    except BackendError as error:
        return about | {"verdict": f"not run: {str(error).splitlines()[0]}"}
    return about | figures(report) | {"seconds": round(time.perf_counter() - started)}


def figures(report: ParityReport) -> dict[str, Any]:
    """Return the recorded figures of a report."""
    nodes: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for node in report.nodes:
        for difference in node.differences:
            nodes[node.operation][difference.dtype].append(share(difference))
    return {
        "size": "×".join(map(str, report.size)),
        "verdict": "agrees" if report.passed else "DIFFERS",
        "float64": max(d.relative for d in report.differences if d.dtype == "float64"),
        "float32": {d.backend.removesuffix(" (trace)"): d.relative for d in report.differences if d.dtype == "float32"},
        "bound": report.rounding_tolerance,
        "nodes": {op: {dtype: [max(s), median(s), len(s)] for dtype, s in both.items()} for op, both in nodes.items()},
        "failed": [d.subject for node in report.nodes for d in node.differences if not d.passed],
        "findings": [finding.node for finding in report.findings],
    }


def share(difference: Difference) -> float:
    """Return the share of its bound that a difference uses."""
    return difference.relative / difference.bound if difference.bound else float(difference.relative > 0)


def size_for(graph: Graph) -> tuple[int, int] | None:
    """Return the largest size at which the network is cheap enough; None for the network's own."""
    macs = summarize(graph).macs
    if graph.input.features is not None or graph.depends_on_size or macs <= COSTLY:
        return None
    for size in SIZES:
        if macs * size**2 <= COSTLY * graph.input.height * graph.input.width and runs(graph, size):
            return size, size
    return None


def runs(graph: Graph, size: int) -> bool:
    """Return whether a network takes images of a size."""
    try:
        graph.at_size(size, size)
    except ResnetSpecError:
        return False
    return True


def document(results: dict[str, Any]) -> str:
    """Return the page for results."""
    ran = {name: found for name, found in results.items() if "bound" in found}
    lines = [
        "# Calibration of the bounds",
        "",
        "Generated by `make calibration`; do not edit. Which share of its bound does a correct float32 result use? A",
        "share above 1 is a false alarm. Every shipped network runs with random weights in PyTorch and TensorFlow.",
        "[parity.md](parity.md#bounds) explains the bounds. Large networks run at smaller sizes. Only the logits are",
        f"compared for networks with more than {LARGE // 10**6} million parameters or {LONG} nodes; with more than"
        f" {HUGE // 10**6} million",
        "parameters, one backend is compared with a trace of the other, since both do not fit into memory.",
        "",
        *_totals(results, ran),
        "",
        "## Operations",
        "",
        "The largest and the median share of its bound that a node uses, given the same inputs.",
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
    failed = [name for name, found in ran.items() if found["verdict"] != "agrees"]
    doubles = max((found["float64"] for found in ran.values()), default=0.0)
    bisected = sum(bool(found["nodes"]) for found in ran.values())
    bounds = sorted(found["bound"] for found in ran.values())
    return [
        f"{len(ran)} of {len(resnet_spec.available())} networks ran, {bisected} of them node by node;"
        f" {len(failed)} false alarms{': ' + ', '.join(failed) if failed else ''}.",
        f"The float64 logits differ by at most {doubles:.1e} standard deviations. The float32 bounds range from",
        f"{bounds[0]:.1e} to {bounds[-1]:.1e}; a correct result uses at most {shares[-1]:.2f} of its bound, and",
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
