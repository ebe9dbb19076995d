"""Compare backends, each in a process of its own, with the same weights and images.

float64 proves structure: two correct backends differ by around 10⁻¹⁴, so that any other difference shows. In float32
each backend is compared with its own float64 result, and the allowed difference follows from the network
(``rounding``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.dtypes import HALF_PRECISIONS, HalfPrecision, ModelDType
from resnet_spec.errors import SpecError
from resnet_spec.graph import SIZE_NAMES, Graph
from resnet_spec.operations.fields import MAX_RANK, Shape
from resnet_spec.parity.bisection import Bisection
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.half import HalfComparison
from resnet_spec.parity.logits import judged, logits_difference
from resnet_spec.parity.optimized import OptimizedComparison
from resnet_spec.parity.plan import Plan
from resnet_spec.parity.process import BackendProcess, Progress, started
from resnet_spec.parity.quantized import QuantizedComparison, addressed
from resnet_spec.parity.randomization import random_images, randomize
from resnet_spec.parity.report import (
    ParityReport,
    logits_size,
    outline_of,
    ratio,
    remark_on,
    standard_deviation,
)
from resnet_spec.parity.rounding import RoundingError, rounding_tolerance
from resnet_spec.parity.training import TrainingComparison
from resnet_spec.quantization import Quantization
from resnet_spec.spec.loader import Overrides, load
from resnet_spec.spec.spec import Spec
from resnet_spec.weights.download import resolve
from resnet_spec.weights.formats.safetensors import write_safetensors
from resnet_spec.weights.io import read_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]
    Original = Callable[[NDArray[Any]], Sequence[NDArray[Any]]]

ORIGINAL = "the original"
"""What a report calls a model of another library, run by that library."""


def compare(
    spec: str | Path | Spec,
    backends: Sequence[str] = ("torch", "tensorflow"),
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    size: Shape | None = None,
    batch: int = 2,
    bisect: bool = False,
    training_steps: int | None = None,
    replicas: int | None = None,
    optimize: bool = False,
    quantization: str | Path | Quantization | None = None,
    half: HalfPrecision | None = None,
    progress: Progress = lambda step: None,
) -> ParityReport:
    """Compare what backends compute for a spec, given the same weights and random images.

    Each backend runs in a process of its own. In float64 each is compared with the first, in float32 each with its own
    float64 result; what is allowed follows from the network (``resnet_spec.parity.rounding``). A final softmax is left
    out.

    Args:
        spec: A shipped name, a path that ends in .yaml or .yml, or a loaded spec.
        backends: Two backends or more by name; the first is the reference.
        weights: A file of weights, or the name of published ones; by default random weights under which every mistake
            shows.
        seed: The seed of images and random weights.
        overrides: Values to change in the spec, as ``resnet_spec.load`` takes them.
        size: (height, width) of the images in pixels, (length,) of signals, or (depth, height, width) of volumes; by
            default the spec's.
        batch: How many images to compare.
        bisect: Whether to compare every node too, and look for the cause of a difference.
        training_steps: How many steps of each optimizer to compare, with gradients and running statistics; 0 compares
            these alone, None nothing of training. With ``half``, gradients and statistics in half precision too, and
            steps under a mixed policy.
        replicas: A number of replicas, each of which trains on its part of the batch, to compare with one process too:
            ``DistributedDataParallel`` in PyTorch, ``MirroredStrategy`` in TensorFlow.
        optimize: Whether to compare the optimized form in each backend too (``build(..., optimize=True)``).
        quantization: What ``quantize`` returned, or its file: the 8-bit form in each backend is then compared with an
            exact integer reference too.
        half: A half precision in which each backend is compared with its own float64 too, under weights and images
            rounded to it; ``mixed_float16`` and ``mixed_bfloat16`` are Keras' mixed policies and PyTorch's autocast.
        progress: A function that is called with a description of each step.

    Returns:
        A report; ``report.passed`` is False where the backends differ.

    Raises:
        SpecError: The spec is wrong, fewer than two backends are named, or the batch cannot be divided among replicas.
        WeightsError: The weights do not fit the spec.
        BackendError: A backend is missing, fails or dies.

    Examples:
        >>> report = compare("cifar/resnet20", ("torch", "onnx"), size=(16, 16))
        >>> report.passed
        True
    """
    if replicas is not None:
        check_replicas(replicas, batch, training_steps)
    with comparing(backends, progress, replicas) as comparison:
        return comparison.run(
            spec,
            weights=weights,
            seed=seed,
            overrides=overrides,
            size=size,
            batch=batch,
            bisect=bisect,
            training_steps=training_steps,
            optimize=optimize,
            quantization=quantization,
            half=half,
        )


def check_replicas(replicas: int, batch: int, training_steps: int | None) -> None:
    """Raise SpecError where nothing trains, or a batch cannot be divided among the replicas."""
    if training_steps is None:
        raise SpecError("replicas are compared in training only: give training_steps=5 too")
    if replicas < 2:
        raise SpecError(f"there are 2 replicas or more, not {replicas}")
    if batch % replicas:
        raise SpecError(f"a batch of {batch} cannot be divided equally among {replicas} replicas")


@contextmanager
def comparing(
    backends: Sequence[str], progress: Progress = lambda step: None, replicas: int | None = None
) -> Generator[Comparison]:
    """Start backends once for several specs, and the replicas of each for training."""
    if isinstance(backends, str) or len(backends) < 2:
        raise SpecError(f"a comparison takes two backends or more, such as ('torch', 'tensorflow'), not {backends!r}")
    # On Windows a killed worker may keep a file open for a moment.
    with (
        TemporaryDirectory(prefix="resnet-spec-", ignore_cleanup_errors=True) as folder,
        started(backends, progress, replicas) as processes,
    ):
        count = len(backends)
        yield Comparison(processes[:count], Path(folder), progress, processes[count:])


class Comparison:
    """Running backends, ready to compare specs one after the other.

    After a BackendError the next comparison restarts backends that died, and waits for the others.
    """

    def __init__(
        self,
        processes: Sequence[BackendProcess],
        folder: Path,
        progress: Progress,
        replicas: Sequence[BackendProcess] = (),
    ) -> None:
        self._processes = processes
        self._replicas = replicas
        self._files = Scratch(folder)
        self._failed = False
        self._progress = progress

    def run(
        self,
        spec: str | Path | Spec,
        *,
        weights: str | Path | None = None,
        seed: int = 0,
        overrides: Overrides | None = None,
        size: Shape | None = None,
        batch: int = 2,
        bisect: bool = False,
        training_steps: int | None = None,
        optimize: bool = False,
        quantization: str | Path | Quantization | None = None,
        half: HalfPrecision | None = None,
    ) -> ParityReport:
        """Compare one spec; see ``compare``."""
        if half is not None and half not in HALF_PRECISIONS:
            raise SpecError(f"half is one of {', '.join(HALF_PRECISIONS)}, not {half!r}")
        quantized = Quantization.read(quantization) if isinstance(quantization, str | Path) else quantization
        loaded = loaded_spec(spec, overrides, size)
        with self._recovering():
            graph, arrays = prepared(self._processes[0], self._files, loaded, weights, seed, self._progress)
            if quantized is not None:
                quantized = addressed(quantized, loaded.to_graph(), graph)
            return self._compared(
                graph,
                arrays,
                seed,
                batch,
                str(weights or "random"),
                bisect=bisect,
                training_steps=training_steps,
                optimize=optimize,
                quantization=quantized,
                half=half,
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
        original: Original | None = None,
        called: str = ORIGINAL,
    ) -> ParityReport:
        """Compare one graph under given arrays; and with an ``original``, if there is one, as reports call it."""
        with self._recovering():
            return self._compared(
                graph,
                arrays,
                seed,
                batch,
                weights,
                bisect=bisect,
                training_steps=training_steps,
                original=original,
                called=called,
            )

    @contextmanager
    def _recovering(self) -> Generator[None]:
        """Recover backends if the last comparison failed."""
        if self._failed:
            for process in (*self._processes, *self._replicas):
                process.recover()
        self._failed = True
        yield
        self._failed = False

    def _compared(
        self,
        graph: Graph,
        arrays: Arrays,
        seed: int,
        batch: int,
        weights: str,
        *,
        bisect: bool,
        training_steps: int | None,
        optimize: bool = False,
        quantization: Quantization | None = None,
        half: HalfPrecision | None = None,
        original: Original | None = None,
        called: str = ORIGINAL,
    ) -> ParityReport:
        names = [process.name for process in self._processes]
        if bisect and (twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]):
            raise SpecError(f"{' and '.join(twice)} cannot be bisected against itself; name each backend once")
        images = random_images((batch, *graph.input.shape), seed + 1)
        file = self._files.new("weights.safetensors")
        write_safetensors(file, arrays)
        exact, error = self._exact(graph, file, images, seed)
        rounded = self._rounded(graph, file, images)
        size = logits_size(exact[0])
        differences = judged(self._processes, exact, rounded, size, error)
        if original is not None:
            self._progress(f"{graph.name}: running {called}")
            logits = original(images)[-1]
            reference = f"{self._processes[0].name} float64"
            differences.append(logits_difference("float32", called, reference, logits, exact[0], size, error))
        nodes, findings, notes = (), (), ()
        if bisect:
            first, *others = self._processes
            bisection = Bisection(first, others, self._files, self._progress, explaining=lambda: first)
            nodes, findings = bisection.run(graph, file, arrays, images, seed, error.float64)
        if optimize:
            optimized = OptimizedComparison(self._processes, self._progress)
            more, wrong = optimized.run(graph, file, images, seed, exact[0], size, bisect=bisect)
            differences += more
            findings = (*findings, *wrong)
        if quantization is not None:
            quantized = QuantizedComparison(self._processes, self._files, self._progress)
            more, wrong, remark = quantized.run(graph, arrays, quantization, images, seed, bisect=bisect)
            differences += more
            findings, notes = (*findings, *wrong), (remark,) if remark else ()
        if half is not None:
            halves = HalfComparison(self._processes, self._files, self._progress)
            more, note = halves.run(graph, arrays, images, seed, half)
            differences += more
            notes = (*notes, note)
        if training_steps is not None:
            training = TrainingComparison([*self._processes, *self._replicas], self._files, self._progress)
            precisions: list[ModelDType] = ["float64", "float32", *([half] if half else [])]
            for precision in precisions:
                differences += training.run(graph, arrays, plan=Plan(training_steps, batch, seed + 2, precision))
        return ParityReport(
            spec=graph.name,
            fingerprint=graph.fingerprint,
            size=graph.input.shape[1:] or graph.input.shape,
            batch=batch,
            weights=weights,
            seed=seed,
            deviation=standard_deviation(exact[0]),
            rounding_tolerance=ratio(rounding_tolerance(error.float32), size),
            differences=tuple(differences),
            environment={process.name: process.environment for process in self._processes},
            nodes=nodes,
            findings=findings,
            outline=outline_of(graph, nodes),
            remark="" if bisect else remark_on(exact[0]),
            notes=notes,
        )

    def _exact(
        self, graph: Graph, weights: Path, images: NDArray[Any], seed: int
    ) -> tuple[list[NDArray[Any]], RoundingError]:
        """Return every backend's float64 logits, and the first's estimated rounding error."""
        self._progress(f"{graph.name}: float64")
        for process in self._processes:
            process.load(graph, weights, "float64")
            process.forward(images, "float64")
        exact = [process.outputs()[-1] for process in self._processes]
        self._progress(f"{graph.name}: estimating float32 rounding error")
        return exact, self._processes[0].rounding_error(images, seed, exact[0])

    def _rounded(self, graph: Graph, weights: Path, images: NDArray[Any]) -> list[NDArray[Any]]:
        self._progress(f"{graph.name}: float32")
        for process in self._processes:
            process.load(graph, weights)
            process.forward(images)
        return [process.outputs()[-1] for process in self._processes]


def compare_with_original(
    graph: Graph,
    arrays: Arrays,
    original: Original,
    backends: Sequence[str],
    *,
    seed: int = 0,
    batch: int = 2,
    progress: Progress = lambda step: None,
) -> ParityReport:
    """Compare backends with a model of another library, under its own weights.

    The original's float32 result is compared with the first backend's float64 result.

    Args:
        graph: The network.
        arrays: The original's weights, by the graph's names.
        original: Computes the outputs of images (batch, channels, height, width) by the original's own library.
        backends: One backend or more.
        seed: The seed of the images.
        batch: How many images to compare.
        progress: A function that is called with a description of each step.

    Returns:
        A report; ``report.passed`` is False where one of the backends or the original differs.
    """
    with (
        TemporaryDirectory(prefix="resnet-spec-", ignore_cleanup_errors=True) as folder,
        started(backends, progress) as processes,
    ):
        comparison = Comparison(processes, Path(folder), progress)
        return comparison.compare(graph, arrays, seed=seed, batch=batch, weights="the original's", original=original)


def loaded_spec(spec: str | Path | Spec, overrides: Overrides | None, size: Shape | None) -> Spec:
    """Return a spec with overrides at an input size; neither applies to a loaded spec."""
    # The size is an override, not Graph.at_size, since a spec's expressions may use it.
    changes = at_size(overrides, size)
    if not isinstance(spec, Spec):
        return load(spec, changes)
    if changes:
        raise SpecError(f"{spec.name} is loaded already: give overrides and the size to load()")
    return spec


def prepared(
    first: BackendProcess, files: Scratch, spec: Spec, weights: str | Path | None, seed: int, progress: Progress
) -> tuple[Graph, Arrays]:
    """Return the graph of a spec up to its logits, and the arrays of a file or random ones.

    Running statistics of random weights are computed from a batch by a running backend.
    """
    whole = spec.to_graph()
    graph = whole.with_outputs([*whole.outputs[:-1], whole.logits])
    if weights is not None:
        return graph, read_weights(resolve(spec, weights), whole)

    def train(calibrated: Graph, arrays: Arrays, images: Any) -> Arrays:
        path = files.new("calibration.safetensors")
        write_safetensors(path, arrays)
        first.load(calibrated, path)
        first.forward(images, training=True)
        return first.arrays_after()

    progress(f"{graph.name}: initializing weights")
    return graph, randomize(graph, train, seed)


def at_size(overrides: Overrides | None, size: Shape | None) -> Overrides | None:
    """Return overrides with the input's sizes among them: (height, width), (length,) or (depth, height, width)."""
    if size is None:
        return overrides
    if isinstance(size, str) or not isinstance(size, Sequence) or not 1 <= len(size) <= MAX_RANK:  # pyright: ignore
        others = "signals have (length,) and volumes (depth, height, width)"
        raise SpecError(f"size is a pair (height, width), not {size!r}; {others}")
    sizes = dict(zip((f"input.{name}" for name in SIZE_NAMES[len(size) + 1][1:]), size, strict=True))
    overrides = [overrides] if isinstance(overrides, str) else overrides
    if isinstance(overrides, Mapping):
        return {**overrides, **sizes}
    return [*(overrides or ()), *(f"{name}={number}" for name, number in sizes.items())]
