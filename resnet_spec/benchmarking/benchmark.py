"""Time a spec in several runtimes: alternately, in processes of their own, beside the agreement of their results."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.backend.registry import runtimes as installed_runtimes
from resnet_spec.benchmarking.process import Artifact, RuntimeProcess
from resnet_spec.benchmarking.report import BenchmarkReport, RuntimeReport, Timing, medians
from resnet_spec.errors import BackendError, MissingLibraryError, ResnetSpecError, SpecError, suggest
from resnet_spec.parity.compare import loaded_spec, prepared
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.logits import logits_difference
from resnet_spec.parity.process import Progress, started
from resnet_spec.parity.quantized import Exact, addressed, integer_reference
from resnet_spec.parity.randomization import random_images
from resnet_spec.parity.report import logits_size
from resnet_spec.quantization import Quantization
from resnet_spec.weights.formats.safetensors import write_safetensors

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph
    from resnet_spec.operations.fields import Shape
    from resnet_spec.parity.report import Difference
    from resnet_spec.parity.rounding import RoundingError
    from resnet_spec.spec.loader import Overrides
    from resnet_spec.spec.spec import Spec

PAUSE = 0.02
"""Seconds between the runs of two processes, in which the threads of the first stop waiting for more."""

SECONDS = 900.0
"""How long a runtime may take to load a network, or to run a batch."""


_PREFERRED = {"torch": 0, "tensorflow": 1}
"""Backends that train, which random weights need."""


class Plan(NamedTuple):
    """How runtimes are timed: batch sizes, threads, and how many rounds of how many seconds each."""

    batches: Sequence[int]
    threads: int
    rounds: int
    seconds: float


def benchmark(
    spec: str | Path | Spec,
    runtimes: Sequence[str] = (),
    *,
    batches: Sequence[int] = (1,),
    reference: str | None = None,
    weights: str | Path | None = None,
    quantization: str | Path | Quantization | None = None,
    overrides: Overrides | None = None,
    size: Shape | None = None,
    threads: int | None = None,
    rounds: int = 20,
    seconds: float = 0.1,
    seed: int = 0,
    progress: Progress = lambda step: None,
) -> BenchmarkReport:
    """Time a spec in several runtimes, and compare their results.

    Each runtime is in a process of its own and loads its own file. In every round each runs for some time, in an order
    of its own, so that all meet the same changes of the machine's speed. The logits are compared with those of
    the reference in float64, by the bound of ``compare``.

    Args:
        spec: A shipped name, a path that ends in .yaml or .yml, or a loaded spec.
        runtimes: Names of runtimes; ratios refer to the first. By default all that are installed.
        batches: Numbers of images of a run.
        reference: The backend whose float64 logits the results are compared with, and by which random weights are
            initialized; by default torch, or another that is installed.
        weights: A file of weights, or the name of published ones; random by default.
        quantization: What ``quantize`` returned, or its file: runtimes of the 8-bit form are then timed too, and their
            logits compared with those of an exact integer reference.
        overrides: Values to change in the spec, as ``load`` takes them.
        size: The input's size, as ``compare`` takes it; by default the spec's.
        threads: How many threads each runtime may compute with; by default as many as there are processors for this
            process.
        rounds: How many rounds to take; intervals are of their medians.
        seconds: How long a runtime runs in a round, at least once.
        seed: The seed of the weights and images.
        progress: A function that is called with a description of each step.

    Returns:
        Times, costs and agreement of each runtime. A runtime that fails has its error in place of figures.

    Raises:
        SpecError: The spec or a name of a runtime is wrong.
        WeightsError: The weights do not fit the spec.
        MissingLibraryError: A runtime that was named is not installed.
        BackendError: The backend of the reference is missing or fails.

    Examples:
        >>> from resnet_spec import benchmark
        >>> report = benchmark("cifar/resnet20", ["torch"], rounds=3, seconds=0.01)
        >>> report.runtimes[0].agrees
        True
    """
    if isinstance(runtimes, str):
        raise SpecError(f"runtimes is a list of names, not {runtimes!r}")
    plan = Plan(batches, threads or processors(), rounds, seconds)
    quantized = Quantization.read(quantization) if isinstance(quantization, str | Path) else quantization
    known = installed_runtimes(quantized=quantized is not None)
    first = reference or min(known.values(), key=lambda name: (_PREFERRED.get(name, 2), name), default="torch")
    every = sorted(known, key=lambda name: known[name] != first)
    chosen = {name: _backend_of(name, known) for name in runtimes or every}
    with TemporaryDirectory(prefix="resnet-spec-", ignore_cleanup_errors=True) as folder:
        loaded = loaded_spec(spec, overrides, size)
        exact = _Reference.of(loaded, weights, first, max(batches), seed, quantized, Path(folder), progress)
        artifacts, unwritten = _written(chosen, exact, Path(folder), progress)
        found = _timed(chosen, artifacts, exact, plan, seed, progress, required=bool(runtimes))
    reports = unwritten | found
    return BenchmarkReport(
        spec=exact.graph.name,
        shape=exact.graph.input.shape,
        weights=str(weights or "random"),
        reference=exact.backend,
        threads=plan.threads,
        machine=_machine(),
        runtimes=[reports[name] for name in chosen if name in reports],
    )


def _backend_of(name: str, known: Mapping[str, str]) -> str:
    if name not in known:
        if name in installed_runtimes(quantized=True):
            raise SpecError(f'{name} runs 8-bit networks, and needs quantization="q.json"')
        listed = ", ".join(known)
        raise SpecError(f"no runtime is named {name!r}{suggest(name, known)} (those of installed backends: {listed})")
    return known[name]


# -- the reference -----------------------------------------------------------------------------------------------------


class _Reference(NamedTuple):
    """The network, its weights, the images, and the float64 logits with the float32 rounding error to expect.

    ``optimized_error`` is that of the optimized form, whose layers round otherwise.
    """

    backend: str
    graph: Graph
    graph_file: Path
    weights_file: Path
    images: NDArray[Any]
    logits: NDArray[Any]
    error: RoundingError
    optimized_error: RoundingError
    quantized: Exact | None

    @classmethod
    def of(
        cls,
        spec: Spec,
        weights: str | Path | None,
        backend: str,
        batch: int,
        seed: int,
        quantization: Quantization | None,
        folder: Path,
        progress: Progress,
    ) -> _Reference:
        with started([backend], progress) as (process,):
            graph, arrays = prepared(process, Scratch(folder), spec, weights, seed, progress)
            graph_file, weights_file = folder / "graph.json", folder / "weights.safetensors"
            graph_file.write_text(graph.to_json(), "utf-8")
            write_safetensors(weights_file, arrays)
            images = random_images((batch, *graph.input.shape), seed + 1)

            def computed(*, optimize: bool) -> tuple[NDArray[Any], RoundingError]:
                form = "optimized form" if optimize else "reference"
                progress(f"{graph.name}: computing the {form} in float64")
                process.load(graph, weights_file, "float64", optimize=optimize)
                process.forward(images, "float64")
                logits = process.outputs()[-1]
                return logits, process.rounding_error(images, seed, logits)

            logits, error = computed(optimize=False)
            _, optimized_error = computed(optimize=True)
            quantized = None
            if quantization is not None:
                progress(f"{graph.name}: computing the 8-bit form in integers")
                own = addressed(quantization, spec.to_graph(), graph)
                quantized = integer_reference(process, Scratch(folder), graph, arrays, own, images, seed)
                if quantized.remark:
                    log.warning("%s", quantized.remark)
        images = images.astype("float32")
        return cls(backend, graph, graph_file, weights_file, images, logits, error, optimized_error, quantized)

    def difference(self, runtime: str, logits: NDArray[Any], form: str) -> Difference:
        """The difference of the logits of the first images, in a form of the network."""
        if form == "quantized" and self.quantized is not None:
            return self.quantized.difference(runtime, logits)
        wanted = self.logits[: len(logits)]
        size = logits_size(self.logits)
        error = self.optimized_error if form == "optimized" else self.error
        return logits_difference("float32", runtime, f"{self.backend} float64", logits, wanted, size, error)


# -- the runtimes ------------------------------------------------------------------------------------------------------


def _written(
    chosen: Mapping[str, str], reference: _Reference, folder: Path, progress: Progress
) -> tuple[dict[str, Artifact], dict[str, RuntimeReport]]:
    """Write the files of runtimes, each backend's in one process; return them, and reports on those that failed."""
    artifacts: dict[str, Artifact] = {}
    failed: dict[str, RuntimeReport] = {}
    for backend in dict.fromkeys(chosen.values()):
        progress(f"{reference.graph.name}: writing the files of the {backend} backend")
        with RuntimeProcess(backend, seconds=SECONDS) as process:
            for name in (name for name, own in chosen.items() if own == backend):
                own = folder / name
                own.mkdir()
                try:
                    file = reference.quantized.file if reference.quantized else None
                    artifacts[name] = process.write(name, reference.graph_file, reference.weights_file, own, file)
                except ResnetSpecError as error:
                    failed[name] = RuntimeReport(name, backend, error=str(error))
    return artifacts, failed


class _Loaded(NamedTuple):
    """A process whose runtime has loaded its file."""

    process: RuntimeProcess
    artifact: Artifact
    backend: str


def _timed(
    chosen: Mapping[str, str],
    artifacts: Mapping[str, Artifact],
    reference: _Reference,
    plan: Plan,
    seed: int,
    progress: Progress,
    *,
    required: bool,
) -> dict[str, RuntimeReport]:
    """Load and time runtimes that are all in memory at once.

    A runtime that is not installed is left out unless it is ``required``.
    """
    failed: dict[str, RuntimeReport] = {}
    loaded: dict[str, _Loaded] = {}
    timings: dict[str, list[Timing]] = {}
    with ExitStack() as stack:
        for name, artifact in artifacts.items():
            backend = chosen[name]
            progress(f"{reference.graph.name}: loading in {name}")
            process = stack.enter_context(RuntimeProcess(backend, name, SECONDS))
            try:
                process.open(artifact, plan.threads, reference.images[: plan.batches[0]])
            except MissingLibraryError:
                if required:
                    raise
            except ResnetSpecError as error:
                failed[name] = RuntimeReport(name, backend, artifact.description, error=str(error))
            else:
                loaded[name] = _Loaded(process, artifact, backend)
                timings[name] = []
        for batch in plan.batches:
            processes = {name: own.process for name, own in loaded.items()}
            found, errors = _timed_batch(processes, batch, reference, plan, seed, progress)
            for name, error in errors.items():
                own = loaded.pop(name)
                failed[name] = RuntimeReport(name, own.backend, own.artifact.description, error=str(error))
            for name, timing in found.items():
                timings[name].append(timing)
        reports = {
            name: RuntimeReport(
                name=name,
                backend=own.backend,
                description=own.artifact.description,
                size=own.artifact.size,
                load_seconds=own.process.load_seconds,
                memory=own.process.memory(),
                timings=timings[name],
                environment=own.process.environment,
            )
            for name, own in loaded.items()
        }
    return failed | reports


def _timed_batch(
    processes: Mapping[str, RuntimeProcess],
    batch: int,
    reference: _Reference,
    plan: Plan,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, Timing], dict[str, ResnetSpecError]]:
    """Time runtimes with one batch size, in rounds; return the errors of those that fail."""
    import numpy as np

    errors: dict[str, ResnetSpecError] = {}
    differences: dict[str, Difference] = {}
    rounds: dict[str, list[list[float]]] = {}
    for name, process in processes.items():
        try:
            logits = process.prepare(reference.images[:batch])
            differences[name] = reference.difference(name, logits, process.form)
            process.time(plan.seconds)
            rounds[name] = []
        except BackendError as error:
            errors[name] = error
    generator = np.random.default_rng(seed)
    for number in range(plan.rounds):
        progress(f"{reference.graph.name}: batch {batch}, round {number + 1} of {plan.rounds}")
        for name in generator.permutation([*rounds]):
            sleep(PAUSE)
            rounds[name].append(processes[name].time(plan.seconds))
    first = medians(next(iter(rounds.values()))) if rounds else []
    return {name: Timing(batch, found, first, differences[name]) for name, found in rounds.items()}, errors


# -- the machine -------------------------------------------------------------------------------------------------------


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _machine() -> dict[str, str]:
    """Return what the machine is, by name."""
    return {
        "processor": _processor(),
        "processors": str(processors()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
