"""Do two backends compute the same? The same weights and images go through both, each in a process of its own.

float64 proves structure: there, two correct backends are some 10⁻¹³ apart, and whatever else differs shows. In float32
each backend is held to its own float64 result, by the distance that rounding may take this very network (``rounding``).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from resnet_spec.errors import SpecError
from resnet_spec.graph import Graph
from resnet_spec.parity.bisection import Bisection
from resnet_spec.parity.process import BackendProcess, Progress, started
from resnet_spec.parity.randomization import random_images, randomize
from resnet_spec.parity.report import Difference, ParityReport, largest_difference, ratio
from resnet_spec.parity.rounding import CONFIDENCE, STRUCTURE, draws_for
from resnet_spec.parity.training import Plan, TrainingComparison
from resnet_spec.spec.loader import Overrides, load
from resnet_spec.weights.download import resolve
from resnet_spec.weights.formats.safetensors import write_safetensors
from resnet_spec.weights.io import read_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


def compare(
    spec: str | Path,
    backends: Sequence[str] = ("torch", "tensorflow"),
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    size: tuple[int, int] | None = None,
    batch: int = 2,
    bisect: bool = False,
    training_steps: int | None = None,
    progress: Progress = lambda step: None,
) -> ParityReport:
    """Run a spec in two backends or more on the same random images and compare them with the first.

    ``weights`` is a file or the name of published ones; without, they are drawn so that every mistake shows
    (``randomization``). ``size`` is (height, width), by default the spec's. A final softmax is left out. In float64
    each backend is held to the first, in float32 each to its own float64. ``bisect`` compares every node too, and
    looks for the cause of what differs. ``training_steps``, which may be 0, compares gradients and running statistics
    too, and so many steps of each optimizer. Raises BackendError where a backend cannot be run.
    """
    with comparing(backends, progress) as comparison:
        return comparison.run(
            spec,
            weights=weights,
            seed=seed,
            overrides=overrides,
            size=size,
            batch=batch,
            bisect=bisect,
            training_steps=training_steps,
        )


@contextmanager
def comparing(backends: Sequence[str], progress: Progress = lambda step: None) -> Generator[Comparison]:
    """Backends started once for several specs."""
    if len(backends) < 2:
        raise SpecError("a comparison takes two backends or more")
    with started(backends, progress) as processes, TemporaryDirectory(prefix="resnet-spec-") as folder:
        yield Comparison(processes, Path(folder), progress)


class Comparison:
    """Running backends, ready to compare specs one after the other."""

    def __init__(self, processes: Sequence[BackendProcess], folder: Path, progress: Progress) -> None:
        self._processes = processes
        self._folder = folder
        self._weights = folder / "weights.safetensors"
        self._progress = progress

    def run(
        self,
        spec: str | Path,
        *,
        weights: str | Path | None = None,
        seed: int = 0,
        overrides: Overrides | None = None,
        size: tuple[int, int] | None = None,
        batch: int = 2,
        bisect: bool = False,
        training_steps: int | None = None,
    ) -> ParityReport:
        """Compare one spec; see ``compare``."""
        graph, arrays = prepared(
            self._processes[0], self._weights, spec, weights, seed, overrides, size, self._progress
        )
        return self.compare(
            graph,
            arrays,
            seed=seed,
            batch=batch,
            weights=str(weights or "random"),
            bisect=bisect,
            training_steps=training_steps,
        )

    def compare(
        self,
        graph: Graph,
        arrays: Arrays,
        *,
        seed: int = 0,
        batch: int = 2,
        weights: str = "given",
        bisect: bool = False,
        training_steps: int | None = None,
    ) -> ParityReport:
        """Compare one graph under given arrays."""
        images = random_images((batch, *graph.input.shape), seed + 1)
        write_safetensors(self._weights, arrays)
        exact, reach = self._exact(graph, images, seed)
        rounded = self._rounded(graph, images)
        deviation = float(exact[0].std())
        differences = judged(self._processes, exact, rounded, deviation, reach / deviation if deviation else 0.0)
        nodes, findings = (), ()
        if bisect:
            first, *others = self._processes
            bisection = Bisection(first, others, self._folder, self._progress, explaining=lambda: first)
            nodes, findings = bisection.run(graph, self._weights, arrays, images, seed)
        if training_steps is not None:
            training = TrainingComparison(self._processes, self._folder, self._progress)
            plan = Plan(training_steps, batch, seed + 2)
            differences += training.run(graph, arrays, plan=plan)
        return ParityReport(
            spec=graph.name,
            fingerprint=graph.fingerprint,
            size=graph.input.shape[1:] or graph.input.shape,
            batch=batch,
            weights=weights,
            seed=seed,
            deviation=deviation,
            reach=reach / deviation if deviation else 0.0,
            differences=tuple(differences),
            environment={process.name: process.environment for process in self._processes},
            nodes=nodes,
            findings=findings,
        )

    def _exact(self, graph: Graph, images: NDArray[Any], seed: int) -> tuple[list[NDArray[Any]], float]:
        """Everyone's float64 logits, and how far float32's rounding may move the first's."""
        import numpy as np

        self._progress(f"{graph.name}: float64")
        for process in self._processes:
            process.load(graph, self._weights, "float64")
            process.forward(images, "float64")
        exact = [process.outputs()[-1] for process in self._processes]
        self._progress(f"{graph.name}: what rounding may do")
        first = self._processes[0]
        first.jitter(images, seed, draws_for(exact[0].size))
        return exact, max(float(np.abs(moved - exact[0]).max()) for moved in first.outputs())

    def _rounded(self, graph: Graph, images: NDArray[Any]) -> list[NDArray[Any]]:
        self._progress(f"{graph.name}: float32")
        for process in self._processes:
            process.load(graph, self._weights)
            process.forward(images)
        return [process.outputs()[-1] for process in self._processes]


def prepared(
    first: BackendProcess,
    path: Path,
    spec: str | Path,
    weights: str | Path | None,
    seed: int,
    overrides: Overrides | None,
    size: tuple[int, int] | None,
    progress: Progress,
) -> tuple[Graph, Arrays]:
    """The graph of a spec up to its logits, and the arrays of a file or, without one, random ones.

    Those are drawn with the help of a running backend, by way of a file at ``path``.
    """
    # An override, not Graph.at_size, since a spec's expressions may look at the size.
    loaded = load(spec, at_size(overrides, size))
    whole = loaded.to_graph()
    graph = whole.with_outputs([*whole.outputs[:-1], whole.logits])
    if weights is not None:
        return graph, read_weights(resolve(loaded, weights), whole)

    def train(calibrated: Graph, arrays: Arrays, images: Any) -> Arrays:
        write_safetensors(path, arrays)
        first.load(calibrated, path)
        first.forward(images, training=True)
        return first.arrays_after()

    progress(f"{graph.name}: drawing weights")
    return graph, randomize(graph, train, seed)


def judged(
    processes: Sequence[BackendProcess],
    exact: Sequence[NDArray[Any]],
    rounded: Sequence[NDArray[Any]],
    deviation: float,
    reach: float,
) -> list[Difference]:
    """The differences of the logits: in float64 from the first backend, in float32 from each backend's own float64."""
    first, *others = processes
    found: list[Difference] = []
    for process, logits in zip(others, exact[1:], strict=True):
        largest = largest_difference(logits, exact[0])
        found.append(
            Difference("logits", "float64", process.name, first.name, largest, ratio(largest, deviation), STRUCTURE)
        )
    for process, own, logits in zip(processes, exact, rounded, strict=True):
        largest = largest_difference(logits, own)
        relative, reference = ratio(largest, deviation), f"{process.name} float64"
        found.append(Difference("logits", "float32", process.name, reference, largest, relative, CONFIDENCE * reach))
    return found


def at_size(overrides: Overrides | None, size: tuple[int, int] | None) -> Overrides | None:
    """Overrides with the input's (height, width) among them."""
    if size is None:
        return overrides
    height, width = size
    overrides = [overrides] if isinstance(overrides, str) else overrides
    if isinstance(overrides, Mapping):
        return {**overrides, "input.height": height, "input.width": width}
    return [*(overrides or ()), f"input.height={height}", f"input.width={width}"]
