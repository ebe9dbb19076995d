"""Locate differences: run every node in every backend with the same inputs.

The inputs of a node are the reference's float64 values, so that any difference after the node comes from the node
itself. Nodes are compared one by one as they are computed, and a value is dropped after its last use. If all nodes are
correct and the whole model is not, a backend connects nodes differently from the graph; then prefixes of the network
are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from resnet_spec.graph import INPUT, Graph, Node, Scope
from resnet_spec.parity.diagnosis import Explainer, rewirings
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.process import BackendProcess, Progress
from resnet_spec.parity.report import Difference, Finding, NodeReport, largest_difference, ratio, root_mean_square
from resnet_spec.parity.rounding import rounding_tolerance, structure_tolerance
from resnet_spec.parity.walk import Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import DType

    Arrays = Mapping[str, NDArray[Any]]

MOST_EXPLAINED = 8
"""The largest number of nodes of one backend that are diagnosed; they often have the same cause."""


class _Suspect(NamedTuple):
    """A node that exceeds its bound, with the values that its diagnosis needs."""

    node: Node
    difference: Difference
    inputs: list[NDArray[Any]]
    exact: NDArray[Any]
    observed: NDArray[Any]


class Side(Protocol):
    """One side of a bisection: a running backend, or for the reference a trace of one; see ``BackendProcess``."""

    name: str

    def load(self, graph: Graph, weights: Path, *dtypes: DType) -> None:
        """Load the network, in each precision."""
        ...

    def begin(self, images: NDArray[Any], *, leading: bool, judging: bool, seed: int) -> None:
        """Begin a walk over the nodes."""
        ...

    def step(self, shared: Path | None) -> None:
        """Go on to the next node."""
        ...

    def named_outputs(self) -> dict[str, NDArray[Any]]:
        """Return what ``walk.Walk.step`` found at the node."""
        ...


class Bisection:
    """Sides ready to be compared node by node; the first is the reference, the others are running backends.

    ``explaining`` returns a backend that computes hypotheses, which should not be the one that is wrong; it is called
    only if there is something to explain.
    """

    def __init__(
        self,
        reference: Side,
        others: Sequence[BackendProcess],
        files: Scratch,
        progress: Progress,
        explaining: Callable[[], BackendProcess | None],
    ) -> None:
        self._reference = reference
        self._others = others
        self._sides: list[Side] = [reference, *others]
        self._running = [side for side in self._sides if isinstance(side, BackendProcess)]
        # A trace cannot estimate rounding errors, so the first running backend does.
        self._judging = self._running[0]
        self._files = files
        self._progress = progress
        self._explaining = explaining

    def run(
        self, graph: Graph, weights: Path, arrays: Arrays, images: NDArray[Any], seed: int, error: float
    ) -> tuple[tuple[NodeReport, ...], tuple[Finding, ...]]:
        """Return a report on every node in order of execution, and the findings, the first node first.

        ``error`` is the float32 rounding error estimated for the logits.
        """
        import numpy as np

        for side in self._sides:
            side.load(graph, weights, "float64", "float32")
            side.begin(images, leading=side is self._reference, judging=side is self._judging, seed=seed)
        places = stages_and_blocks(graph)
        shared = Values(graph, images)
        shared_file: Path | None = None
        nodes: list[NodeReport] = []
        suspects: dict[str, list[_Suspect]] = {side.name: [] for side in self._sides}
        last: dict[str, Mapping[str, NDArray[Any]]] = {}
        for node in graph.nodes:
            stage_and_block = places.get(node.name, ("", ""))
            self._progress(f"{graph.name}: nodes of {stage_and_block[1] or 'stem and head'}")
            for side in self._sides:
                side.step(shared_file)
            last = {side.name: side.named_outputs() for side in self._sides}
            report = self._report(node, stage_and_block, last)
            nodes.append(report)
            inputs = shared.take(node)
            exact = last[self._reference.name]["float64"]
            for difference in report.differences:
                found = suspects[difference.backend]
                # One finding per node and backend: a float64 difference, which comes first, may cause one in float32.
                is_new = not found or found[-1].node is not node
                if not difference.passed and is_new and len(found) < MOST_EXPLAINED:
                    values = exact, last[difference.backend]["float64"]
                    if difference.dtype == "float32":
                        values = self._in_both(difference.backend, node, inputs)
                    found.append(_Suspect(node, difference, inputs, *values))
            shared.put(node.name, exact)
            shared_file = self._files.new("shared.npy")
            np.save(shared_file, exact)
        misassembled = self._misassembled(images, last, error)
        findings = self._explained(graph, arrays, suspects)
        order = {node.name: index for index, node in enumerate(graph.nodes)}
        for process in misassembled:
            if not suspects[process.name]:
                findings += self._assembly(graph, weights, arrays, images, process, misassembled)
        return tuple(nodes), tuple(sorted(findings, key=lambda finding: order[finding.node]))

    def _in_both(self, backend: str, node: Node, inputs: list[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return a node's value in float64 and in float32, computed by a running backend."""
        process = next(process for process in self._running if process.name == backend)
        process.inspect(node.name, inputs)
        narrow, wide = process.outputs()
        return wide, narrow

    def _report(
        self, node: Node, stage_and_block: tuple[str, str], found: Mapping[str, Mapping[str, NDArray[Any]]]
    ) -> NodeReport:
        reference = self._reference.name
        exact = found[reference]["float64"]
        size = root_mean_square(exact)
        error = float(found[self._judging.name]["rounding_error"])

        def judged(dtype: DType, backend: str, against: str, largest: float) -> Difference:
            return Difference(
                "node", dtype, backend, against, largest, rounding_tolerance(error, dtype), size, node.name
            )

        others = [side.name for side in self._others]
        differences = [
            judged("float64", name, reference, largest_difference(found[name]["float64"], exact)) for name in others
        ]
        differences += [
            judged("float32", side.name, f"{side.name} float64", float(found[side.name]["float32_difference"]))
            for side in self._running
        ]
        accumulated = [
            ratio(largest_difference(found[name]["free"], exact), size) for name in others if "free" in found[name]
        ]
        # A plain max() could lose a NaN.
        worst = max(accumulated, key=lambda value: (isnan(value), value)) if len(accumulated) == len(others) else inf
        return NodeReport(node.name, node.operation.op, *stage_and_block, node.shape, worst, tuple(differences))

    def _misassembled(
        self, images: NDArray[Any], last: Mapping[str, Mapping[str, NDArray[Any]]], error: float
    ) -> list[BackendProcess]:
        """Return the backends whose whole model differs from its own nodes, run one after another."""
        for process in self._running:
            process.forward(images, "float64")
        misassembled: list[BackendProcess] = []
        for process in self._running:
            whole, values = process.outputs()[-1], last[process.name]
            by_nodes = values["float64"] if process is self._reference else values.get("free")
            if by_nodes is not None and not _agree(whole, by_nodes, error):
                misassembled.append(process)
        return misassembled

    def _explained(self, graph: Graph, arrays: Arrays, suspects: Mapping[str, list[_Suspect]]) -> list[Finding]:
        findings: list[Finding] = []
        witness = self._explaining() if any(suspects.values()) else None
        explainer = Explainer(witness, self._files) if witness else None
        for backend, found in suspects.items():
            for suspect in found:
                self._progress(f"{graph.name}: explaining {suspect.node.name}")
                causes, tried = (), 0
                if explainer is not None:
                    causes, tried = explainer.explain(
                        graph, suspect.node, arrays, suspect.inputs, suspect.exact, suspect.observed, suspect.difference
                    )
                findings.append(Finding(backend, suspect.node.name, "node", suspect.difference, causes, tried))
        return findings

    def _assembly(
        self,
        graph: Graph,
        weights: Path,
        arrays: Arrays,
        images: NDArray[Any],
        process: BackendProcess,
        misassembled: list[BackendProcess],
    ) -> list[Finding]:
        """Return the first node whose value in the whole model is wrong, with the connections that explain it."""
        witness = next((other for other in self._running if other not in misassembled), None) or self._explaining()
        if witness is None or witness in misassembled:
            return [self._assembly_finding(process, process, graph.outputs[-1])]

        def differing(names: list[str]) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
            """Return the values of each differing node in the whole models of the backend and of the witness."""
            part = graph.with_outputs(names)
            for side in (process, witness):
                side.load(part, weights, "float64")
                side.forward(images, "float64")
            results = zip(names, process.outputs(), witness.outputs(), strict=True)
            return {name: (ours, theirs) for name, ours, theirs in results if not _agree(ours, theirs)}

        self._progress(f"{graph.name}: comparing the connections of {process.name}")
        ends = _landmarks(graph)
        differing_nodes = differing(ends)
        if not differing_nodes:
            return [self._assembly_finding(process, witness, graph.outputs[-1])]
        end = next(name for name in ends if name in differing_nodes)
        start = ends[ends.index(end) - 1] if end != ends[0] else INPUT
        between = _between(graph, start, end)
        inside = differing(between) or {end: differing_nodes[end]}
        name = next(node for node in between if node in inside)
        value, wanted = inside[name]
        causes: list[str] = []
        trials = rewirings(graph, graph.by_name[name])
        for description, rewired in trials:
            witness.load(rewired.with_outputs([name]), weights, "float64")
            witness.forward(images, "float64")
            if _agree(witness.outputs()[-1], value):
                causes.append(description)
        largest, size = largest_difference(value, wanted), root_mean_square(wanted)
        finding = self._assembly_finding(process, witness, name, largest, size, tuple(causes), len(trials))
        if causes:
            return [finding]
        # The input is the right one, but may be changed on its way to the node.
        node = graph.by_name[name]
        inputs, exact = _given(graph, weights, images, witness, node)
        explainer = Explainer(witness, self._files)
        found, tried = explainer.explain(graph, node, arrays, inputs, exact, value, finding.difference)
        return [replace(finding, causes=found, tried=finding.tried + tried)]

    def _assembly_finding(
        self,
        process: BackendProcess,
        witness: BackendProcess,
        name: str,
        largest: float = inf,
        size: float = 0.0,
        causes: tuple[str, ...] = (),
        tried: int = 0,
    ) -> Finding:
        allowed = structure_tolerance(size)
        difference = Difference("assembly", "float64", process.name, witness.name, largest, allowed, size, name)
        return Finding(process.name, name, "assembly", difference, causes, tried)


def _given(
    graph: Graph, weights: Path, images: NDArray[Any], process: BackendProcess, node: Node
) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """Return the inputs of a node in a correct model, and its value."""
    names = [*dict.fromkeys(name for name in node.inputs if name != INPUT), node.name]
    process.load(graph.with_outputs(names), weights, "float64")
    process.forward(images, "float64")
    values = {INPUT: images, **dict(zip(names, process.outputs(), strict=True))}
    return [values[name] for name in node.inputs], values[node.name]


def stages_and_blocks(graph: Graph) -> dict[str, tuple[str, str]]:
    """Return the names of the stage and block of each node; nodes of the stem and the head are missing."""
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    found: dict[str, tuple[str, str]] = {}
    blocks = sorted(_outer_blocks(graph), key=lambda scope: order[scope.output])
    stages = sorted((s for s in graph.scopes if s.kind == "stage"), key=lambda scope: order[scope.output])
    if not blocks:
        return found
    first = _first_node(graph, blocks[0].name, order)
    for index, node in enumerate(graph.nodes):
        block = next((s.name for s in blocks if index <= order[s.output]), "")
        stage = next((s.name for s in stages if index <= order[s.output]), "")
        if index >= first:
            found[node.name] = (stage, block)
    return found


def _outer_blocks(graph: Graph) -> list[Scope]:
    """Return the blocks that every path passes, without shortcuts or gates within them."""
    blocks = [scope for scope in graph.scopes if scope.kind == "block"]
    return [scope for scope in blocks if scope.residual] or blocks


def _first_node(graph: Graph, scope: str, order: Mapping[str, int]) -> int:
    """Return the index of the first node of a block, by its prefix; 0 if names are not nested."""
    inside = [order[node.name] for node in graph.nodes if node.name.startswith((f"{scope}.", f"{scope}_"))]
    return min(inside, default=0)


def _landmarks(graph: Graph) -> list[str]:
    """Return nodes that every path passes: the ends of blocks, and the output."""
    ends = {scope.output for scope in _outer_blocks(graph)} | {graph.outputs[-1]}
    return [node.name for node in graph.nodes if node.name in ends]


def _between(graph: Graph, start: str, end: str) -> list[str]:
    names = [node.name for node in graph.nodes]
    return names[names.index(start) + 1 if start != INPUT else 0 : names.index(end) + 1]


def _agree(result: NDArray[Any], wanted: NDArray[Any], error: float = 0.0) -> bool:
    return largest_difference(result, wanted) <= structure_tolerance(root_mean_square(wanted), error)
