"""Classifies photographs in one or several backends, each in its own process, from one preprocessed batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from itertools import chain
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Unpack

from resnet_spec import notebook
from resnet_spec.backend.registry import find
from resnet_spec.document.json_output import plain_data
from resnet_spec.errors import CONTROLS, BackendError, LabelsError, SpecError, shown
from resnet_spec.parity.compare import loaded_spec
from resnet_spec.parity.process import BackendProcess, Progress, started
from resnet_spec.parity.report import logits_size, ratio
from resnet_spec.parity.rounding import rounding_tolerance
from resnet_spec.spec.loader import Overrides, with_overrides
from resnet_spec.spec.published import Preprocessing
from resnet_spec.vision.preprocessing import (
    check_reads_images,
    checked_preprocessing,
    listed,
    path_of,
    preprocess,
    preprocessing_of,
)
from resnet_spec.weights.adapting import BACKGROUND
from resnet_spec.weights.formats.safetensors import write_safetensors
from resnet_spec.weights.io import Reading, read_weights
from resnet_spec.weights.matching import report_nonfinite
from resnet_spec.weights.published_lookup import is_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph
    from resnet_spec.spec.spec import Spec
    from resnet_spec.vision.preprocessing import Photographs

log = logging.getLogger(__name__)

MAX_LABELS = 2**20
"""The largest file of labels in bytes; ImageNet's take 22 KB."""

BATCH = 16
"""Images per batch."""


@dataclass(frozen=True)
class Prediction:
    """What ``predict`` found; ``logits`` are (images, classes) by backend, and the first is the reference.

    ``allowed`` is how far two backends' logits may be apart: twice the rounding tolerance of one (``parity.rounding``);
    0 if there is only one backend.
    """

    spec: str
    weights: str
    images: tuple[str, ...]
    labels: tuple[str, ...]
    logits: Mapping[str, NDArray[np.floating[Any]]]
    allowed: float
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])

    def __repr__(self) -> str:
        """Say in a line what was classified; ``top`` has the classes."""
        return f"Prediction({self.spec!r}, {len(self.images)} images, {', '.join(self.backends)})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the likeliest class of each image in each backend."""
        rows: list[list[str]] = []
        for index, image in enumerate(self.images):
            tops = {name: self.top(index, name, 1)[0] for name in self.backends}
            texts = ((self.labels[top], f"{self.probabilities[name][index, top]:.2%}") for name, top in tops.items())
            rows.append([image, *chain.from_iterable(texts)])
        headings = ["image", *chain.from_iterable((name, "probability") for name in self.backends)]
        return notebook.table(repr(self), headings, rows)

    @property
    def backends(self) -> tuple[str, ...]:
        """The backends, the reference first."""
        return tuple(self.logits)

    @cached_property
    def probabilities(self) -> Mapping[str, NDArray[np.float64]]:
        """The softmax of the logits, in float64."""
        return {name: softmax(logits) for name, logits in self.logits.items()}

    @cached_property
    def largest(self) -> float:
        """The largest difference of a probability between the reference and another backend."""
        return _largest(self.probabilities)

    @cached_property
    def relative(self) -> float:
        """The largest difference of a logit, in standard deviations of the reference's logits.

        For constant logits it is in their root mean square.
        """
        return ratio(_largest(self.logits), logits_size(self.logits[self.backends[0]]))

    @cached_property
    def bound(self) -> float:
        """The largest ``relative`` that is allowed; infinite if the reference's logits are all zero."""
        return ratio(self.allowed, logits_size(self.logits[self.backends[0]]))

    @property
    def passed(self) -> bool:
        """Whether the logits of all backends agree within their bound; never with NaN.

        Where they do, backends name different classes only if rounding explains that, too: if two logits are closer to
        each other than twice the bound.
        """
        largest = _largest(self.logits)
        return isfinite(largest) and isfinite(self.allowed) and largest <= self.allowed

    def top(self, image: int, backend: str, count: int = 5) -> list[int]:
        """Return the most probable classes of an image.

        Args:
            image: The image's index.
            backend: The backend's name.
            count: How many classes to return.

        Returns:
            The numbers of the classes, the most probable first.

        Examples:
            >>> import numpy as np
            >>> logits = {"torch": np.array([[0.1, 2.0, 1.0]])}
            >>> Prediction("tiny", "w.pth", ("cat.png",), ("ant", "cat", "dog"), logits, 0).top(0, "torch", 2)
            [1, 2]
        """
        order = (-self.logits[backend][image]).argsort(kind="stable")
        return [int(number) for number in order[:count]]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """Return the most probable classes as plain data, for JSON.

        Args:
            count: How many classes to include for each image.

        Returns:
            The verdict, the differences, and for each image and backend the classes with labels and probabilities.

        Examples:
            >>> import numpy as np
            >>> logits = {"torch": np.array([[0.0, 0.0]])}
            >>> data = Prediction("tiny", "w.pth", ("cat.png",), ("ant", "cat"), logits, 0).to_dict(count=1)
            >>> data["images"]
            [{'image': 'cat.png', 'top': {'torch': [{'class': 0, 'label': 'ant', 'probability': 0.5}]}}]
        """
        data = {
            "passed": self.passed,
            "spec": self.spec,
            "weights": self.weights,
            "largest": self.largest,
            "relative": self.relative,
            "bound": self.bound,
            "images": [
                {"image": name, "top": {backend: self._top(index, backend, count) for backend in self.backends}}
                for index, name in enumerate(self.images)
            ],
            "environment": self.environment,
        }
        return plain_data(data)

    def _top(self, image: int, backend: str, count: int) -> list[dict[str, Any]]:
        probabilities = self.probabilities[backend][image]
        return [
            {"class": number, "label": self.labels[number], "probability": float(probabilities[number])}
            for number in self.top(image, backend, count)
        ]


def predict(
    spec: str | Path | Spec,
    images: Photographs,
    weights: str | Path,
    backends: str | Sequence[str] = ("torch", "tensorflow"),
    *,
    overrides: Overrides | None = None,
    preprocessing: str | Preprocessing | Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    progress: Progress = lambda step: None,
    **reading: Unpack[Reading],
) -> Prediction:
    """Classify photographs in one backend or several.

    A final softmax is left out of the network and computed in float64, the same for every backend.

    Args:
        spec: A shipped name, or a path that ends in .yaml or .yml.
        images: A path, a Pillow image or a uint8 array (height, width, 3) or (height, width), or several of them.
        weights: A file or folder that ``read_weights`` reads, or the name of published weights.
        backends: Names of backends; the first is the reference.
        overrides: Values to change in the spec, as ``load`` takes them.
        preprocessing: The preprocessing to use, as an object or a mapping of its fields, or the name of the published
            weights that state it. By default that of ``weights`` if they are published, else that of the spec's first
            published weights.
        labels: The names of the classes, in order. By default ImageNet's for 1000 classes, or for 1001 with the
            background first; otherwise the classes' numbers.
        progress: A function that is called with a description of each step.
        **reading: How to read the weights: ``adapt``, ``take``, ``ema``, ``strict_graph`` and ``check_finite``, as in
            ``read_weights``.

    Returns:
        The logits (images, classes) of each backend, with the names of classes and images.

    Raises:
        ImageError: An image cannot be read.
        LabelsError: There are not as many labels as classes.
        SpecError: The spec is wrong, states no preprocessing, or is not a classifier.
        WeightsError: The weights do not fit the spec.
        DownloadError: Published weights cannot be downloaded.
        BackendError: A backend cannot be run.

    Examples:
        >>> import numpy as np
        >>> from resnet_spec import Preprocessing, initialize, load, write_weights
        >>> graph = load("cifar/resnet20").to_graph()
        >>> write_weights("resnet20.safetensors", graph, initialize(graph))
        >>> gray = np.full((32, 32, 3), 128, np.uint8)
        >>> found = predict("cifar/resnet20", gray, "resnet20.safetensors", ["torch"], preprocessing=Preprocessing())
        >>> found.logits["torch"].shape
        (1, 10)
    """
    from resnet_spec.weights.download import resolve

    names = backend_names(backends)
    loaded = loaded_spec(spec, overrides, None)
    check_reads_images(loaded)
    labeled = checked_labels(class_count(loaded.to_graph()), labels)
    chosen = preprocessing_for(loaded, weights, preprocessing)
    batch = preprocess(loaded, images, chosen)
    # At the images' size, which the spec's expressions may look at.
    graph = with_overrides(loaded, {"input.height": batch.shape[2], "input.width": batch.shape[3]}).to_graph()
    arrays = read_weights(resolve(loaded, weights), graph, **reading)
    report_nonfinite(arrays, str(weights))
    with started(names, progress) as processes, TemporaryDirectory(prefix="resnet-spec-") as folder:
        path = Path(folder, "weights.safetensors")
        write_safetensors(path, arrays)
        progress(f"{graph.name}: {len(batch)} image{'s' if len(batch) > 1 else ''}")
        for process in processes:
            process.load(graph.with_outputs([graph.logits]), path)
        logits = _logits(processes, batch)
        allowed = 0.0
        if len(processes) > 1:
            progress(f"{graph.name}: estimating float32 rounding error")
            allowed = allowed_difference(processes[0], graph.with_outputs([graph.logits]), path, batch[:BATCH])
        environment = {process.name: process.environment for process in processes}
    sources = tuple(path_of(image) or f"image {number}" for number, image in enumerate(listed(images), start=1))
    return Prediction(graph.name, str(weights), sources, labeled, logits, allowed, environment)


def imagenet_labels() -> tuple[str, ...]:
    """The names of ImageNet-1k's classes, in the order of their numbers."""
    return tuple(files("resnet_spec.vision").joinpath("labels", "imagenet1k.txt").read_text("utf-8").splitlines())


def imagenet_wnids() -> tuple[str, ...]:
    """The WordNet ids of ImageNet-1k's classes, in the order of their numbers, which is that of the ids."""
    return tuple(files("resnet_spec.vision").joinpath("labels", "imagenet1k_wnids.txt").read_text("utf-8").splitlines())


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Read the names of classes from a text file, one a line.

    Args:
        path: A UTF-8 file of at most 1 MiB, in the order of the classes.

    Returns:
        One name for each line, without the space around it.

    Raises:
        LabelsError: The file cannot be read, or holds characters that are not printable.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("labels.txt").write_text("cat\\ndog\\n", "utf-8")
        >>> read_labels("labels.txt")
        ('cat', 'dog')
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_LABELS + 1)
        lines = content.decode("utf-8-sig").strip().split("\n")
    except OSError as error:
        raise LabelsError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise LabelsError(f"{path}: is not UTF-8 text") from None
    if len(content) > MAX_LABELS:
        raise LabelsError(f"{path}: larger than 1 MiB")
    for number, line in enumerate(lines, 1):
        if found := CONTROLS.search(line.strip()):
            raise LabelsError(f"{path}: line {number}: character U+{ord(found[0]):04X} is not printable")
    return tuple(line.strip() for line in lines)


def backend_names(backends: str | Sequence[str]) -> list[str]:
    """The names of backends; raises BackendError if there are none, or one twice."""
    names = [find(name).name for name in ([backends] if isinstance(backends, str) else backends)]
    if not names or len(names) > len(set(names)):
        raise BackendError("name at least one backend, and each only once")
    return names


def class_count(graph: Graph) -> int:
    """The number of classes of a network; raises SpecError if it is not a classifier."""
    node = graph.by_name[graph.logits]
    if len(node.shape) != 1:
        raise SpecError(f"{graph.name} ends in {node.name!r} of shape {list(node.shape)}, not in a vector of classes")
    if node.operation.op == "sigmoid":
        raise SpecError(f"{graph.name} ends in the sigmoid {node.name!r}, whose classes do not exclude each other")
    return node.shape[0]


def checked_labels(classes: int, labels: Sequence[str] | None) -> tuple[str, ...]:
    """The labels of a number of classes, by default ImageNet's or numbers; raises LabelsError for another number."""
    if isinstance(labels, str):
        message = f"not a list of {classes} labels; read_labels(PATH) reads them from a file"
        raise LabelsError(f"{shown(labels)} is one text, {message}")
    if labels is not None:
        if len(labels) != classes:
            raise LabelsError(f"got {len(labels)} labels for {classes} classes")
        return tuple(labels)
    if classes in (BACKGROUND, BACKGROUND - 1):
        return ("background",) * (classes == BACKGROUND) + imagenet_labels()
    return tuple(map(str, range(classes)))


def preprocessing_for(
    spec: Spec, weights: str | Path, wanted: str | Preprocessing | Mapping[str, Any] | None
) -> Preprocessing:
    """The requested preprocessing, else that of the weights, else the spec's default, which is then reported."""
    if isinstance(wanted, Preprocessing):
        return wanted
    if isinstance(wanted, Mapping):
        return checked_preprocessing(dict(wanted))
    if wanted is None and not is_path(spec, str(weights)):
        wanted = str(weights)
    chosen = preprocessing_of(spec, wanted)
    if wanted is None:
        log.warning("%s: preprocessed as for %s's published weights %s", weights, spec.name, next(iter(spec.weights)))
    return chosen


def _logits(processes: Sequence[BackendProcess], batch: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    import numpy as np

    parts: dict[str, list[NDArray[Any]]] = {process.name: [] for process in processes}
    for start in range(0, len(batch), BATCH):
        for process in processes:
            process.forward(batch[start : start + BATCH])
        for process in processes:
            parts[process.name].append(process.outputs()[-1])
    return {name: np.concatenate(part) for name, part in parts.items()}


def allowed_difference(process: BackendProcess, graph: Graph, weights: Path, batch: NDArray[np.float32]) -> float:
    """The largest difference of two backends' logits that rounding explains."""
    import numpy as np

    images = batch.astype(np.float64)
    process.load(graph, weights, "float64")
    process.forward(images, "float64")
    exact = process.outputs()[-1]
    return 2 * rounding_tolerance(process.rounding_error(images, 0, exact).float32)


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """The probabilities of logits, in float64."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        exponents = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)


def _largest(values: Mapping[str, NDArray[Any]]) -> float:
    """The largest difference from the first; also of the first from itself, which reveals NaN and infinity."""
    import numpy as np

    reference = next(iter(values.values())).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return float(np.max([np.abs(value - reference).max() for value in values.values()]))
