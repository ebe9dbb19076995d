"""Evaluate a network on a folder of images: in one backend or several, and in files of models, on the same arrays."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from math import nan, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Any, Unpack

from resnet_spec import __version__
from resnet_spec.backend.registry import versions
from resnet_spec.benchmarking.benchmark import processors
from resnet_spec.errors import ImageError, ModelError, Problem, SpecError, listed
from resnet_spec.evaluating import runners
from resnet_spec.evaluating.classes import Classes, match_folders
from resnet_spec.evaluating.folders import ClassFolders, find_images
from resnet_spec.evaluating.journal import Journal, Record, check_state
from resnet_spec.evaluating.reading import Batch, Readers
from resnet_spec.evaluating.report import EvaluationReport
from resnet_spec.evaluating.runners import Runner
from resnet_spec.evaluating.scores import TOP, Changes, Results, Scores, change, is_probabilities, score
from resnet_spec.parity.compare import loaded_spec
from resnet_spec.parity.process import BackendProcess, Progress, started
from resnet_spec.spec.loader import Overrides, with_overrides
from resnet_spec.spec.published import Accuracy, Preprocessing
from resnet_spec.vision.prediction import allowed_difference, class_count, preprocessing_for
from resnet_spec.vision.preprocessing import check_reads_images, prepare, preprocessing_of
from resnet_spec.weights.formats.safetensors import write_safetensors
from resnet_spec.weights.io import Reading, read_weights
from resnet_spec.weights.matching import report_nonfinite
from resnet_spec.weights.published_lookup import find, is_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph
    from resnet_spec.spec.spec import Spec

log = logging.getLogger(__name__)

BATCH = 32
"""Images per batch."""

EXAMINED = 16
"""Images from which the rounding error of the network is estimated."""

MAX_WORKERS = 8
"""The most processes that read images unless more are asked for."""

_PREFERRED = ("torch", "tensorflow")
"""The backends of which the first that is installed is the default."""


def evaluate(
    spec: str | Path | Spec,
    images: str | Path,
    weights: str | Path | None = None,
    backends: str | Sequence[str] | None = None,
    *,
    labels: Sequence[str] | None = None,
    preprocessing: str | Preprocessing | Mapping[str, Any] | None = None,
    overrides: Overrides | None = None,
    batch: int = BATCH,
    workers: int | None = None,
    state: str | Path | None = None,
    progress: Progress = lambda step: None,
    **reading: Unpack[Reading],
) -> EvaluationReport:
    """Measure the accuracy of a network on the images of a folder that has a folder for each class.

    Every image is preprocessed once, by processes that read ahead, and all backends and models compute from the same
    array. An image that cannot be read is listed in the report, and counts neither as right nor as wrong.

    Args:
        spec: A shipped name, a path that ends in .yaml or .yml, or a loaded spec.
        images: The folder, which has a folder for each class with images in it or in folders below it. Folders are
            matched with the network's classes by ``labels``, ImageNet's WordNet ids or names, numbers, or their sorted
            order, as torchvision's ``ImageFolder`` does.
        weights: A file or folder that ``read_weights`` reads, or the name of published weights; not needed where only
            files of models are evaluated.
        backends: Names of backends, and paths of models (``.onnx``, ``.tflite``, ``.keras``, a SavedModel, ...); the
            first is the reference that others are compared with. By default torch, or another that is installed.
        labels: The names of the classes, in order; by default ImageNet's for as many classes.
        preprocessing: The preprocessing to use, as in ``predict``.
        overrides: Values to change in the spec, as ``load`` takes them.
        batch: How many images are computed at a time.
        workers: How many processes read images; by default as many as there are processors, up to 8.
        state: A file in which results are recorded at once, so that an evaluation that was ended continues where it
            was; it is deleted at the end. A file of other weights, images, preprocessing, backends, models or versions
            is replaced.
        progress: A function that is called with a description of each step.
        **reading: How to read the weights, as in ``read_weights``.

    Returns:
        Accuracy with 95 % intervals, beside what the publisher of the weights reports, and the images that differ.

    Raises:
        ImageError: There is no such folder, or no image can be read.
        LabelsError: A folder is not a class of the network.
        SpecError: The spec is wrong, states no preprocessing, or is not a classifier; or no backend is named, or one
            twice.
        WeightsError: The weights do not fit the spec.
        ModelError: The file of a model cannot be read, or has another number of classes.
        DownloadError: Published weights cannot be downloaded.
        OutputError: ``state`` cannot be written, is another file, or is used by another evaluation.
        BackendError: A backend cannot be run.

    Examples:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from PIL import Image
        >>> from resnet_spec import Preprocessing, initialize, load, write_weights
        >>> graph = load("cifar/resnet20").to_graph()
        >>> write_weights("resnet20.safetensors", graph, initialize(graph))
        >>> for number in range(10):
        ...     Path(f"images/{number}").mkdir(parents=True)
        ...     Image.fromarray(np.full((32, 32, 3), 25 * number, np.uint8)).save(f"images/{number}/0.png")
        >>> weights = "resnet20.safetensors"
        >>> report = evaluate("cifar/resnet20", "images", weights, "torch", preprocessing=Preprocessing(), workers=1)
        >>> report.count, report.results["torch"].top1.low <= report.results["torch"].top1.share
        (10, True)
    """
    from resnet_spec.weights.download import resolve

    if batch < 1 or (workers is not None and workers < 1):
        raise SpecError("batch and workers are 1 or more")
    given = [backends] if isinstance(backends, str) else backends
    names = runners.checked_names(_default_backends() if given is None else given)
    if state is not None:
        check_state(Path(state))
    loaded = loaded_spec(spec, overrides, None)
    check_reads_images(loaded)
    if loaded.input.channels != 3:
        raise SpecError(f"{loaded.name} reads {loaded.input.channels} channels, not color images")
    classes_of_network = class_count(loaded.to_graph())
    compiled = [name for name in names if not runners.is_file(name)]
    if weights is None and compiled:
        raise SpecError(f"weights are needed for {listed(compiled)}")
    if weights is None and preprocessing is None:
        chosen = preprocessing_of(loaded)
    else:
        chosen = preprocessing_for(loaded, weights or "", preprocessing)
    progress(f"{loaded.name}: looking for images")
    folders = find_images(images)
    classes = match_folders(folders.names, classes_of_network, labels)
    size = _size(folders, chosen)
    graph = with_overrides(loaded, {"input.height": size[0], "input.width": size[1]}).to_graph()
    with TemporaryDirectory(prefix="resnet-spec-", ignore_cleanup_errors=True) as scratch:
        file = None
        if weights is not None:
            file = Path(scratch, "weights.safetensors")
            arrays = read_weights(resolve(loaded, weights), graph, **reading)
            report_nonfinite(arrays, str(weights))
            write_safetensors(file, arrays)
            del arrays
        task = _Task(
            graph, file, folders, classes, chosen, size, names, batch, workers or _workers(), Path(scratch), progress
        )
        found = task.run(Path(state) if state is not None else None)
    if not found.read.any():
        raise ImageError([Problem(why, folders.images[place][0]) for place, why in sorted(found.problems.items())])
    return EvaluationReport(
        spec=graph.name,
        weights=str(weights or ""),
        folder=str(images),
        preprocessing=chosen,
        labels=classes.labels,
        matched=classes.by,
        images=tuple((path, classes.numbers[place]) for path, place in folders.images),
        read=found.read,
        unreadable={folders.images[place][0]: why for place, why in sorted(found.problems.items())},
        scores=found.scores,
        changes=found.changes,
        deviation=found.deviation,
        allowed=found.allowed,
        published=_published(loaded, weights),
        environment=found.environment,
        notes=(*folders.notes, *classes.notes, *found.notes(folders)),
        throughput=found.throughput,
    )


def _default_backends() -> list[str]:
    libraries = versions()
    usable = (name for name in _PREFERRED if "not installed" not in libraries.get(name, {}).values())
    return [next(usable, _PREFERRED[0])]


def _workers() -> int:
    return min(processors(), MAX_WORKERS)


def _published(spec: Spec, weights: str | Path | None) -> Accuracy | None:
    """What the publisher of weights reports; None of a file."""
    return None if weights is None or is_path(spec, str(weights)) else find(spec, str(weights)).accuracy


def _size(folders: ClassFolders, preprocessing: Preprocessing) -> tuple[int, int]:
    """The height and width that all images have after preprocessing; without a crop, those of the first image."""
    crop, resize = preprocessing.crop, preprocessing.resize
    if crop is not None:
        return crop if isinstance(crop, tuple) else (crop, crop)
    if isinstance(resize, tuple):
        return resize
    problems: list[Problem] = []
    for place, (name, _) in enumerate(folders.images):
        try:
            found = prepare(folders.path(place), preprocessing)
        except ImageError as error:
            problems += [problem._replace(path=name) for problem in error.problems]
        else:
            return found.shape[2], found.shape[3]
    raise ImageError(problems)


class _Found:
    """What is known of each image, filled batch by batch."""

    def __init__(self, count: int, names: Sequence[str], classes: int) -> None:
        import numpy as np

        def numbers() -> NDArray[np.float64]:
            return np.zeros(count)

        kept = min(TOP, classes)
        self.count = 0
        self.read = np.zeros(count, bool)
        self.turned: list[int] = []
        self.problems: dict[int, str] = {}
        self.scores = {
            name: Scores(np.zeros((count, kept), np.int32), np.zeros(count, np.int32), numbers()) for name in names
        }
        self.changes = {name: Changes(numbers(), numbers(), numbers()) for name in names[1:]}
        self.sums = np.zeros(3)
        self.allowed = 0.0
        self.environment: dict[str, Mapping[str, str]] = {}
        self.throughput = 0.0

    def add(self, batch: Record) -> None:
        """Add the results of a batch."""
        self.count += batch.count
        self.read[batch.read] = True
        self.turned += batch.turned
        self.problems.update(dict(batch.problems))
        if batch.read:
            kept = (*self.scores.values(), *self.changes.values())
            for arrays, values in zip(kept, (*batch.scores, *batch.changes), strict=True):
                for array, own in zip(arrays, values, strict=True):
                    array[batch.read] = own
        self.sums += batch.sums

    @property
    def deviation(self) -> float:
        """The standard deviation of the reference's logits, or of constant ones the root mean square."""
        count, total, squares = self.sums.tolist()
        if not count:
            return nan
        variance = squares / count - (total / count) ** 2
        return sqrt(variance) if variance > 1e-12 * squares / count else sqrt(squares / count)

    def notes(self, folders: ClassFolders) -> list[str]:
        """What a reader must know of the images."""
        if not self.turned:
            return []
        many = len(self.turned) > 1
        are = f"{len(self.turned):,} images are" if many else "1 image is"
        used = "they are stored" if many else "it is stored"
        names = listed(folders.images[place][0] for place in self.turned)
        return [f"{are} stored turned (EXIF orientation) and used as {used}: {names}"]


@dataclass(frozen=True)
class _Task:
    """What is to be evaluated."""

    graph: Graph
    weights: Path | None
    folders: ClassFolders
    classes: Classes
    preprocessing: Preprocessing
    size: tuple[int, int]
    names: Sequence[str]
    batch: int
    workers: int
    scratch: Path
    progress: Progress

    def run(self, state: Path | None) -> _Found:
        """Evaluate every image, from where the state ends."""
        found = _Found(len(self.folders.images), self.names, len(self.classes.labels))
        compiled = [name for name in self.names if not runners.is_file(name)]
        with ExitStack() as stack:
            readers = stack.enter_context(
                Readers(self.preprocessing, self.size, self.workers, self.batch, self.scratch)
            )
            processes = stack.enter_context(started(compiled, self.progress)) if compiled else []
            opened = self._open(stack, processes, readers, found)
            journal = None
            if state is not None:
                journal = stack.enter_context(Journal(state, self._subject(found.environment)))
                if journal.changed:
                    log.warning("%s: is of another evaluation (%s); starting again", state, ", ".join(journal.changed))
                for batch in journal.batches(len(found.read)):
                    found.add(batch)
                if found.count:
                    log.info("%s: continuing after %s images", state, f"{found.count:,}")
            try:
                self._evaluate(readers, opened, journal, found)
            except KeyboardInterrupt:
                if journal is not None:
                    of = f"{found.count:,} of {len(found.read):,} images"
                    log.warning("%s: has the results of %s; the same command continues after them", state, of)
                raise
            if (known := int(found.read.sum()) + len(found.problems)) != len(found.read):
                raise ImageError(f"results are of {known:,} of {len(found.read):,} images only")
            if journal is not None:
                journal.remove()
        return found

    def _open(
        self, stack: ExitStack, processes: Sequence[BackendProcess], readers: Readers, found: _Found
    ) -> list[Runner]:
        """Load the network into each backend, and the models, and estimate what rounding explains."""
        opened: dict[str, Runner] = {}
        network = self.graph.with_outputs([self.graph.logits])
        if processes and self.weights is not None:
            if len(self.names) > 1:
                self.progress(f"{self.graph.name}: estimating float32 rounding error")
                found.allowed = self._allowed(processes[0], network, self.weights, readers)
            self.progress(f"{self.graph.name}: loading the weights")
            for process in processes:
                opened[process.name] = runners.of_backend(process, network, self.weights)
        for name in self.names:
            if name not in opened:
                self.progress(f"{self.graph.name}: reading {name}")
                opened[name] = runners.of_file(stack, name, self.graph, self.scratch)
        found.environment = {name: opened[name].environment for name in self.names}
        return [opened[name] for name in self.names]

    def _allowed(self, process: BackendProcess, network: Graph, weights: Path, readers: Readers) -> float:
        """How far rounding moves a logit, from a few images of the whole folder."""
        import numpy as np

        count = min(self.batch, EXAMINED)
        paths = self._paths()
        allowed = 0.0
        for batch in readers.batches(paths[:: max(1, len(paths) // count)][:count]):
            if batch.read:
                allowed = allowed_difference(process, network, weights, np.load(batch.path))
        return allowed

    def _evaluate(self, readers: Readers, opened: Sequence[Runner], journal: Journal | None, found: _Found) -> None:
        total, first, begin = len(found.read), found.count, monotonic()
        probabilities: dict[str, bool] = {}
        for batch in readers.batches(self._paths(), first):
            results = self._computed(batch, opened, probabilities)
            if journal is not None:
                journal.record(results)
            found.add(results)
            found.throughput = (found.count - first) / (monotonic() - begin)
            left = (total - found.count) / found.throughput
            self.progress(
                f"{self.graph.name}: {found.count:,} of {total:,} images, {found.throughput:,.0f} a second, "
                f"{left // 60:.0f} min {left % 60:02.0f} s left"
            )

    def _computed(self, batch: Batch, opened: Sequence[Runner], probabilities: dict[str, bool]) -> Record:
        """Compute a batch everywhere at once, and return what is recorded of it."""
        scores, changes, sums = self._scored(batch, opened, probabilities) if batch.read else ([], [], (0.0, 0.0, 0.0))
        return Record(
            first=batch.first,
            count=batch.images,
            read=batch.read,
            problems=[*batch.problems.items()],
            turned=batch.turned,
            scores=[(top.tolist(), rank.tolist(), probability.tolist()) for top, rank, probability in scores],
            changes=[(a.tolist(), b.tolist(), c.tolist()) for a, b, c in changes],
            sums=sums,
        )

    def _scored(
        self, batch: Batch, opened: Sequence[Runner], probabilities: dict[str, bool]
    ) -> tuple[list[Scores], list[Changes], tuple[float, float, float]]:
        import numpy as np

        own = np.array([self.classes.numbers[self.folders.images[place][1]] for place in batch.read])
        for runner in opened:
            runner.ask(batch.path)
        found = [self._results(runner, len(batch.read), probabilities) for runner in opened]
        scores = [score(results, own) for results in found]
        reference, ours = found[0], scores[0].top[:, 0]
        others = zip(found[1:], scores[1:], strict=True)
        changes = [change(reference, results, ours, theirs.top[:, 0]) for results, theirs in others]
        if reference.probabilities:
            return scores, changes, (0.0, 0.0, 0.0)
        exact = reference.values.astype(np.float64)
        return scores, changes, (float(exact.size), float(exact.sum()), float(np.square(exact).sum()))

    def _results(self, runner: Runner, images: int, probabilities: dict[str, bool]) -> Results:
        values, classes = runner.logits(), len(self.classes.labels)
        if values.shape != (images, classes):
            shape = "×".join(map(str, values.shape))
            raise ModelError(
                f"{runner.name}: returned {shape} numbers for {images} images, not {images}×{classes} logits"
            )
        if runner.name not in probabilities:
            probabilities[runner.name] = runners.is_file(runner.name) and is_probabilities(values)
        return Results(values, probabilities[runner.name])

    def _paths(self) -> list[str]:
        return [self.folders.path(place) for place in range(len(self.folders.images))]

    def _subject(self, environment: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """What results depend on, by what a message calls it."""
        listing = hashlib.sha256()
        for place, path in enumerate(self._paths()):
            name, folder = self.folders.images[place]
            with suppress(OSError):
                status = os.stat(path)
                text = f"{name}\0{self.classes.numbers[folder]}\0{status.st_size}\0{status.st_mtime_ns}\0"
                listing.update(text.encode("utf-8", "surrogateescape"))
        files = {name: runners.digest(name) for name in self.names if runners.is_file(name)}
        return {
            "network": self.graph.fingerprint,
            "weights": runners.digest(str(self.weights)) if self.weights else "",
            "images": listing.hexdigest(),
            "size": "×".join(map(str, self.size)),
            "preprocessing": self.preprocessing.model_dump_json(),
            "backends": ", ".join(self.names),
            "models": json.dumps(files),
            "versions": json.dumps({"resnet-spec": __version__, **environment}, sort_keys=True),
        }
