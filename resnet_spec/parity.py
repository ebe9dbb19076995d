"""Do two backends compute the same? The same weights and images go through both, each in a process of its own."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from resnet_spec.backends import DType
from resnet_spec.checkpoints.safetensors_files import write_safetensors
from resnet_spec.downloads import resolve
from resnet_spec.errors import BackendError, SpecError
from resnet_spec.fields import Shape
from resnet_spec.graph import Graph
from resnet_spec.loading import Overrides, load
from resnet_spec.processes import BackendProcess, Progress, started
from resnet_spec.randomization import random_images, randomize
from resnet_spec.weights import read_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

GATES: dict[DType, float] = {"float64": 1e-9, "float32": 3e-5}
"""Largest difference allowed, in standard deviations of the float64 logits: 64 proves structure, 32 bounds rounding."""


@dataclass(frozen=True)
class Difference:
    """One comparison: the largest absolute difference over the standard deviation of the reference's logits."""

    dtype: DType
    backend: str
    reference: str
    largest: float
    relative: float
    gate: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the gate; NaN never is."""
        return self.relative <= self.gate


@dataclass(frozen=True)
class ParityReport:
    """What ``compare`` found.

    ``size`` is (height, width), or (features,) of a vector; ``deviation`` is the standard deviation of the reference's
    float64 logits.
    """

    spec: str
    fingerprint: str
    size: Shape
    batch: int
    weights: str
    deviation: float
    differences: tuple[Difference, ...]
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])

    @property
    def passed(self) -> bool:
        """Whether every difference is within its gate."""
        return all(difference.passed for difference in self.differences)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, for JSON."""
        data = asdict(self)
        data["differences"] = [asdict(d) | {"passed": d.passed} for d in self.differences]
        return {"passed": self.passed, **data}


def compare(
    spec: str | Path,
    backends: Sequence[str] = ("torch", "tensorflow"),
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    size: tuple[int, int] | None = None,
    batch: int = 2,
    progress: Progress = lambda step: None,
) -> ParityReport:
    """Run a spec in two backends or more on the same random images and compare their logits with the first's.

    ``weights`` is a file or the name of published ones; without, they are drawn so that every mistake shows
    (``randomization``). ``size`` is (height, width), by default the spec's. A final softmax is left out. In float64
    each backend is held to the first; in float32 to the first too, and each to the first's float64. Raises BackendError
    where a backend cannot be run.
    """
    with comparing(backends, progress) as comparison:
        return comparison.run(spec, weights=weights, seed=seed, overrides=overrides, size=size, batch=batch)


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
    ) -> ParityReport:
        """Compare one spec; see ``compare``."""
        # An override, not Graph.at_size, since a spec's expressions may look at the size.
        loaded = load(spec, at_size(overrides, size))
        whole = loaded.to_graph()
        graph = whole.with_outputs([*whole.outputs[:-1], whole.logits])
        if weights is None:
            self._progress(f"{graph.name}: drawing weights")
            arrays: Mapping[str, NDArray[Any]] = randomize(graph, self._train, seed)
        else:
            arrays = read_weights(resolve(loaded, weights), whole)
        return self.compare(graph, arrays, seed=seed, batch=batch, weights=str(weights or "random"))

    def compare(
        self, graph: Graph, arrays: Mapping[str, NDArray[Any]], *, seed: int = 0, batch: int = 2, weights: str = "given"
    ) -> ParityReport:
        """Compare one graph under given arrays."""
        images = random_images((batch, *graph.input.shape), seed + 1)
        write_safetensors(self._weights, arrays)
        logits = {dtype: self._logits(graph, images, dtype) for dtype in GATES}
        exact = logits["float64"][0]
        deviation = float(exact.std())
        first, *others = self._processes
        differences = [
            _difference(dtype, process.name, first.name, results, logits[dtype][0], deviation)
            for dtype in GATES
            for process, results in zip(others, logits[dtype][1:], strict=True)
        ]
        differences += [
            _difference("float32", process.name, f"{first.name} float64", results, exact, deviation)
            for process, results in zip(self._processes, logits["float32"], strict=True)
        ]
        return ParityReport(
            spec=graph.name,
            fingerprint=graph.fingerprint,
            size=graph.input.shape[1:] or graph.input.shape,
            batch=batch,
            weights=weights,
            deviation=deviation,
            differences=tuple(differences),
            environment={process.name: process.environment for process in self._processes},
        )

    def _train(self, graph: Graph, arrays: Mapping[str, Any], images: Any) -> Mapping[str, Any]:
        process = self._processes[0]
        write_safetensors(self._weights, arrays)
        process.load(graph, self._weights)
        process.forward(images, training=True)
        process.outputs()
        return process.arrays_after()

    def _logits(self, graph: Graph, images: NDArray[Any], dtype: DType) -> list[NDArray[Any]]:
        self._progress(f"{graph.name}: {dtype}")
        for process in self._processes:
            process.load(graph, self._weights, dtype)
            process.forward(images)
        return [process.outputs()[-1] for process in self._processes]


def at_size(overrides: Overrides | None, size: tuple[int, int] | None) -> Overrides | None:
    """Overrides with the input's (height, width) among them."""
    if size is None:
        return overrides
    height, width = size
    if isinstance(overrides, Mapping):
        return {**overrides, "input.height": height, "input.width": width}
    return [*(overrides or ()), f"input.height={height}", f"input.width={width}"]


def _difference(
    dtype: DType, backend: str, reference: str, result: NDArray[Any], wanted: NDArray[Any], deviation: float
) -> Difference:
    import numpy as np

    if result.shape != wanted.shape:
        raise BackendError(f"{backend} gave logits of shape {list(result.shape)}, {reference} {list(wanted.shape)}")
    largest = float(np.abs(result.astype(np.float64) - wanted.astype(np.float64)).max())
    relative = largest / deviation if deviation else float("inf")
    return Difference(dtype, backend, reference, largest, relative, GATES[dtype])
