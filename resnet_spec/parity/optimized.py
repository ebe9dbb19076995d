"""Compare the optimized form of a network with the network itself, in each backend; see ``backend.optimizing``.

In float64 its parameters are not rounded, and the bound is that of a correct backend. In float32 each computed
parameter was rounded once more than the others: one rounding more in each term of the layer's sums, which the estimate
of the rounding error counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.parity.report import Difference, Finding, largest_difference
from resnet_spec.parity.rounding import rounding_tolerance, structure_tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import DType
    from resnet_spec.graph import Graph
    from resnet_spec.parity.process import BackendProcess, Progress


class OptimizedComparison:
    """Running backends, whose optimized forms are compared with the first one's float64 result."""

    def __init__(self, processes: Sequence[BackendProcess], progress: Progress) -> None:
        self._processes = processes
        self._progress = progress

    def run(
        self, graph: Graph, weights: Path, images: NDArray[Any], seed: int, exact: NDArray[Any], size: float, *,
        bisect: bool,
    ) -> tuple[list[Difference], list[Finding]]:  # fmt: skip
        """Return the differences of the logits, and the first node that differs in each backend that does.

        ``exact`` are the first backend's float64 logits of the graph itself, and ``size`` their size.
        """
        differences: list[Difference] = []
        findings: list[Finding] = []
        for process in self._processes:
            self._progress(f"{graph.name}: optimized in {process.name}")
            found = self._logits(process, graph, weights, images, seed, exact, size)
            differences += found
            if bisect:
                process.load(graph, weights, "float64", "float32", optimize=True)
                nodes = process.optimized_nodes(images, seed)
                wrong = next((node for node in nodes if not node.passed), None)
                if wrong is not None:
                    causes, tried = self._passes(process, graph, weights, images, exact, found[0])
                    findings.append(Finding(wrong.backend, wrong.subject, "node", wrong, causes, tried))
        return differences, findings

    def _logits(
        self, process: BackendProcess, graph: Graph, weights: Path, images: NDArray[Any], seed: int,
        exact: NDArray[Any], size: float,
    ) -> list[Difference]:  # fmt: skip
        name = f"{process.name} optimized"
        process.load(graph, weights, "float64", optimize=True)
        process.forward(images, "float64")
        own = process.outputs()[-1]
        error = process.rounding_error(images, seed, own)
        process.load(graph, weights, optimize=True)
        process.forward(images)
        rounded = process.outputs()[-1]

        def judged(
            dtype: DType, reference: str, value: NDArray[Any], wanted: NDArray[Any], allowed: float
        ) -> Difference:
            return Difference("logits", dtype, name, reference, largest_difference(value, wanted), allowed, size)

        return [
            judged("float64", self._processes[0].name, own, exact, structure_tolerance(size, error.float64)),
            judged("float32", f"{name} float64", rounded, own, rounding_tolerance(error.float32)),
        ]

    def _passes(
        self, process: BackendProcess, graph: Graph, weights: Path, images: NDArray[Any], exact: NDArray[Any],
        difference: Difference,
    ) -> tuple[tuple[str, ...], int]:  # fmt: skip
        """Return the first pass after which the logits differ, and how many were tried."""
        from resnet_spec.optimization.pipeline import PASSES

        if difference.passed:
            return (), 0
        names = ["finish", *(rewrite.__name__ for rewrite in PASSES), "group_parts"]
        for count, name in enumerate(names):
            process.load(graph, weights, "float64", optimize=True, passes=count if name != "group_parts" else None)
            process.forward(images, "float64")
            if largest_difference(process.outputs()[-1], exact) > difference.allowed:
                return (f"the pass {name}",), count + 1
        return (), len(names)
