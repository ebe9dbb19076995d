"""Compare half precision with float64 in each backend, under weights and images that both hold exactly.

The weights and images are first rounded to the half precision, so that only the rounding of values is left to differ.
A value is rounded once it is computed; the partial sums of convolutions, linear layers and averages are float32, in
every framework that is compared. The bound is derived as float32's is, from a float64 run with that noise
(``rounding``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.dtypes import HalfPrecision, computed_in
from resnet_spec.parity.precision import PRECISIONS
from resnet_spec.parity.report import Difference, largest_difference, logits_size, ratio
from resnet_spec.parity.rounding import RELATIVE_TOLERANCE, ROUNDING_FACTOR, SMALLEST, Noise
from resnet_spec.weights.formats.safetensors import write_safetensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph
    from resnet_spec.parity.exchange import Scratch
    from resnet_spec.parity.process import BackendProcess, Progress


class HalfComparison:
    """Running backends, each of which is compared with its own float64."""

    def __init__(self, processes: Sequence[BackendProcess], files: Scratch, progress: Progress) -> None:
        self._processes = processes
        self._files = files
        self._progress = progress

    def run(
        self, graph: Graph, arrays: Mapping[str, NDArray[Any]], images: NDArray[Any], seed: int, dtype: HalfPrecision
    ) -> tuple[list[Difference], str]:
        """Return the differences of the logits, and a note on which mistakes this precision hides."""
        rounded = PRECISIONS[computed_in(dtype)]
        weights, given = self._files.new("weights.safetensors"), rounded(images)
        write_safetensors(
            weights, {name: rounded(array.astype("float64")).astype("float32") for name, array in arrays.items()}
        )
        self._progress(f"{graph.name}: estimating {dtype} rounding error")
        first = self._processes[0]
        exact = self._logits(first, graph, weights, given, "float64")
        allowed = ROUNDING_FACTOR * first.effect(Noise.of(dtype), given, seed, exact) + SMALLEST[computed_in(dtype)]
        size = logits_size(exact)
        found: list[Difference] = []
        for process in self._processes:
            self._progress(f"{graph.name}: {dtype} in {process.name}")
            own = exact if process is first else self._logits(process, graph, weights, given, "float64")
            largest = largest_difference(self._logits(process, graph, weights, given, dtype), own)
            found.append(Difference("logits", dtype, process.name, f"{process.name} float64", largest, allowed, size))
        return found, _note(dtype, ratio(allowed, size))

    def _logits(self, process: BackendProcess, graph: Graph, weights: Any, images: NDArray[Any], dtype: Any) -> Any:
        process.load(graph, weights, dtype)
        process.forward(images, dtype)
        return process.outputs()[-1]


def _note(dtype: HalfPrecision, bound: float) -> str:
    if not bound < 1:
        return f"rounding in {dtype} may move the logits by as much as their size: that {dtype} agrees says nothing"
    return (
        f"{dtype} hides mistakes that move the logits by less than {bound:.0e} of their size; float64 shows those of"
        f" {RELATIVE_TOLERANCE:.0e}"
    )
