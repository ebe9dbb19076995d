"""Compare the 8-bit form of a network in each backend with the exact integer reference; see ``quantization``.

Given the same codes, a runtime's code may differ by one from the reference's, as it multiplies by scales and rounds in
its own way. What such differences may do to the logits is measured: the reference is run again with each of its codes
moved at random by -1, 0 or 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.backend.optimizing import core_forms
from resnet_spec.graph import INPUT
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.quantized_nodes import FLOAT, JudgedCodes, between_midpoints
from resnet_spec.parity.report import Difference, Finding, largest_difference, logits_size
from resnet_spec.parity.rounding import ROUNDING_FACTOR, draws_for
from resnet_spec.quantization import Quantization, check
from resnet_spec.weights.formats.safetensors import write_safetensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph
    from resnet_spec.parity.process import BackendProcess, Progress

    Arrays = Mapping[str, NDArray[Any]]

REFERENCE = "integers"
"""What a report calls the reference."""


def addressed(quantization: Quantization, whole: Graph, graph: Graph) -> Quantization:
    """Check that a quantization is of a network, and return it for the part of it that is compared, without softmax."""
    check(core_forms(whole).graphs[-1], quantization, whole.fingerprint)
    kept = core_forms(graph).graphs[-1].by_name
    values = {name: grid for name, grid in quantization.values.items() if name == INPUT or name in kept}
    return quantization.model_copy(update={"fingerprint": graph.fingerprint, "values": values})


class Exact(NamedTuple):
    """What an 8-bit network computes of some images, and how far a runtime may be from it.

    Attributes:
        graph: The optimized graph.
        weights: A file of its arrays.
        file: A file of the quantization.
        logits: The exact logits.
        allowed: The largest difference that the roundings of a runtime explain.
        remark: What to say of the weights, if they are not those of the calibration.
    """

    graph: Graph
    weights: Path
    file: Path
    logits: NDArray[Any]
    allowed: float
    remark: str

    def difference(self, name: str, logits: NDArray[Any]) -> Difference:
        """Return the difference of the logits of the first images."""
        largest = largest_difference(logits, self.logits[: len(logits)])
        return Difference("logits", "int8", name, REFERENCE, largest, self.allowed, logits_size(self.logits))


def integer_reference(
    process: BackendProcess, files: Scratch, graph: Graph, arrays: Arrays, quantization: Quantization,
    images: NDArray[Any], seed: int,
) -> Exact:  # fmt: skip
    """Compute an 8-bit network exactly, and how far a runtime may be from it.

    Args:
        process: The backend that computes what stays in float.
        files: Where files are written.
        graph: The spec's graph.
        arrays: Its arrays.
        quantization: What is quantized.
        images: (N, *input).
        seed: The seed of the moved codes.

    Returns:
        The reference.

    Raises:
        QuantizationError: The quantization is of another network.
    """
    forms = core_forms(graph)
    optimized = forms.graphs[-1]
    check(optimized, quantization, graph.fingerprint)
    weights, file = files.new("quantized.safetensors"), files.new("quantization.json")
    computed = forms.rewriting.arrays(arrays, "float32")
    write_safetensors(weights, computed)
    file.write_text(quantization.to_json(), "utf-8")
    process.load(optimized, weights, "float64")
    outputs = len(images) * prod(optimized.by_name[optimized.outputs[-1]].shape)
    process.integers(images, file, seed, draws_for(outputs))
    exact, *moved = process.outputs()
    # At least what float32 makes of what is not on a grid.
    moves = max(largest_difference(other, exact) for other in moved)
    allowed = max(ROUNDING_FACTOR * moves, FLOAT * logits_size(exact))
    return Exact(optimized, weights, file, exact, allowed, quantization.remark_on(computed))


class QuantizedComparison:
    """Running backends, whose 8-bit forms are compared with the reference; the first computes what stays in float."""

    def __init__(self, processes: Sequence[BackendProcess], files: Scratch, progress: Progress) -> None:
        self._processes = processes
        self._files = files
        self._progress = progress

    def run(
        self, graph: Graph, arrays: Arrays, quantization: Quantization, images: NDArray[Any], seed: int, *,
        bisect: bool,
    ) -> tuple[list[Difference], list[Finding], str]:  # fmt: skip
        """Return the differences of the logits, with ``bisect`` the first wrong node of each backend, and a remark."""
        self._progress(f"{graph.name}: 8-bit reference")
        images = between_midpoints(images, quantization)
        exact = integer_reference(self._processes[0], self._files, graph, arrays, quantization, images, seed)
        differences: list[Difference] = []
        findings: list[Finding] = []
        for process in self._processes:
            self._progress(f"{graph.name}: 8-bit in {process.name}")
            process.load(exact.graph, exact.weights, quantization=exact.file)
            process.forward(images)
            differences.append(exact.difference(process.name, process.outputs()[-1]))
            if bisect:
                wrong = next((node for node in process.quantized_nodes(images) if not node.passed), None)
                if wrong is not None:
                    findings.append(_finding(process.name, wrong))
        return differences, findings, exact.remark


def _finding(backend: str, node: JudgedCodes) -> Finding:
    difference = Difference("node", "int8", backend, REFERENCE, node.largest, node.allowed, node.size, node.name)
    return Finding(backend, node.name, "node", difference, tuple(node.causes), node.tried)
