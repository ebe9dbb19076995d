"""Locate where a model of another library differs: compute each node in a backend from the model's own values.

Any difference after a node comes from the node itself, since its inputs are what the model computed in float32. A node
without a value in the model, such as a pad that is part of a convolution there, hands on what the backend computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.graph import Graph, Node
from resnet_spec.parity.bisection import MOST_EXPLAINED, stages_and_blocks
from resnet_spec.parity.diagnosis import Explainer
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.process import BackendProcess, Progress
from resnet_spec.parity.report import Difference, Finding, NodeReport, largest_difference, ratio, root_mean_square
from resnet_spec.parity.rounding import rounding_tolerance
from resnet_spec.parity.walk import Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class ModelNodes:
    """A running backend, ready to compare its nodes with those of models, which reports call ``called``."""

    def __init__(self, process: BackendProcess, files: Scratch, progress: Progress, called: str) -> None:
        self._process = process
        self._files = files
        self._progress = progress
        self._called = called

    def run(
        self,
        graph: Graph,
        weights: Path,
        arrays: Arrays,
        images: NDArray[Any],
        values: Arrays,
        names: Mapping[str, str],
        seed: int,
    ) -> tuple[list[NodeReport], list[Finding]]:
        """Return a report on every node that has one of the model's ``values``, and the findings, in order.

        ``names`` are the names of the nodes in the model.
        """
        import numpy as np

        self._process.load(graph, weights, "float64")
        self._process.begin(images, leading=False, judging=True, seed=seed)
        places = stages_and_blocks(graph)
        shared, shared_file = Values(graph, images), None
        # The rounding error that nodes without a value in the model add to their results.
        carried: dict[str, float] = {}
        reports: list[NodeReport] = []
        suspects: list[tuple[Node, Difference, list[NDArray[Any]], NDArray[Any], NDArray[Any]]] = []
        for node in graph.nodes:
            self._progress(f"{graph.name}: nodes of {places.get(node.name, ('', ''))[1] or 'stem and head'}")
            self._process.step(shared_file)
            found = self._process.named_outputs()
            inputs = shared.take(node)
            exact = found["float64"]
            error = float(found["rounding_error"]) + sum(carried.get(name, 0.0) for name in node.inputs)
            value = _fitted(values.get(node.name), exact)
            if value is None:
                carried[node.name] = error
            else:
                difference = self._difference(node, value, exact, error)
                far = found.get("free")
                accumulated = float("inf") if far is None else ratio(largest_difference(far, value), difference.size)
                place = places.get(node.name, ("", ""))
                reports.append(NodeReport(node.name, node.operation.op, *place, node.shape, accumulated, (difference,)))
                if not difference.passed and len(suspects) < MOST_EXPLAINED:
                    suspects.append((node, difference, inputs, exact, value))
            given = exact if value is None else value.astype(np.float64)
            shared.put(node.name, given)
            shared_file = self._files.new("shared.npy")
            np.save(shared_file, given)
        return reports, [self._finding(graph, arrays, names, *suspect) for suspect in suspects]

    def _difference(self, node: Node, value: NDArray[Any], exact: NDArray[Any], error: float) -> Difference:
        reference = f"{self._process.name} float64"
        largest, allowed = largest_difference(value, exact), rounding_tolerance(error)
        size = root_mean_square(exact)
        return Difference("node", "float32", self._called, reference, largest, allowed, size, node.name)

    def _finding(
        self,
        graph: Graph,
        arrays: Arrays,
        names: Mapping[str, str],
        node: Node,
        difference: Difference,
        inputs: list[NDArray[Any]],
        exact: NDArray[Any],
        value: NDArray[Any],
    ) -> Finding:
        self._progress(f"{graph.name}: explaining {node.name}")
        explainer = Explainer(self._process, self._files)
        # The inputs are the model's own, so that every hypothesis applies.
        wide = replace(difference, dtype="float64")
        causes, tried = explainer.explain(graph, node, arrays, inputs, exact, value, wide)
        other = names[node.name]
        counterpart = other if other != node.name else ""
        return Finding(self._called, node.name, "node", difference, causes, tried, counterpart)


def _fitted(value: NDArray[Any] | None, like: NDArray[Any]) -> NDArray[Any] | None:
    """Return a model's value in the shape of a node's: only axes of size 1 may differ."""
    if value is None or [size for size in value.shape if size != 1] != [size for size in like.shape if size != 1]:
        return None
    return value.reshape(like.shape)
