"""From a spec, its weights and images to an 8-bit network as data, and how far that is from the network in float."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from resnet_spec.backend.optimizing import core_forms
from resnet_spec.backend.registry import find, get_backend
from resnet_spec.building import weights_of
from resnet_spec.errors import QuantizationError, SpecError
from resnet_spec.graph import INPUT, Graph
from resnet_spec.parity.compare import loaded_spec
from resnet_spec.quantization import IntegerReference, Method, Quantization, calibrate, check, grids_of
from resnet_spec.spec.loader import Overrides
from resnet_spec.spec.spec import Spec
from resnet_spec.vision.preprocessing import check_reads_images, listed, preprocess
from resnet_spec.weights.published_lookup import is_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import Backend
    from resnet_spec.spec.published import Preprocessing
    from resnet_spec.vision.preprocessing import Photographs
    from resnet_spec.weights.io import Reading

BATCH = 4
"""Images whose values are in memory at once."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Loss:
    """How far an 8-bit network, computed exactly, is from the network in float, on some images.

    Attributes:
        images: Their number.
        agreeing: On how many both have the largest logit in the same place; None if the logits are no vector.
        decibels: The signal-to-noise ratio of each value that is on a grid: 10 times the logarithm of the sum of its
            squares in float over that of the differences. 20 is a tenth of the value, 40 a hundredth.
        logits: The ratio of the logits.
    """

    images: int
    agreeing: int | None
    decibels: Mapping[str, float]
    logits: float


def quantize(
    spec: str | Path | Spec,
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any],
    images: Photographs | NDArray[Any],
    *,
    method: Method = "minmax",
    keep: Sequence[str] = (),
    reduce_range: bool = False,
    backend: str = "torch",
    preprocessing: str | Preprocessing | None = None,
    overrides: Overrides | None = None,
    progress: Progress = lambda step: None,
    **reading: Unpack[Reading],
) -> Quantization:
    """Choose the 8-bit grid of every value and kernel of a network, from what images lead to.

    Args:
        spec: A shipped name, a path that ends in .yaml or .yml, or a loaded spec.
        weights: The weights, as ``build`` takes them.
        images: Photographs, as ``preprocess`` takes them; or what the network reads, as an array of floats
            (batch, channels, height, width). A few hundred that are like those of use.
        method: How the range of each value is chosen: ``minmax``, all that occurred; ``percentile``, all but the one in
            10,000 farthest from 0; ``mse``, that with the smallest squared error; ``entropy``, that with the smallest
            divergence (Migacz 2017). Kernels keep all their numbers.
        keep: Names of nodes, stages or blocks that stay in float, with ``*`` for any text.
        reduce_range: Whether kernels have 7 bits, for processors without instructions for 8-bit networks, which add two
            products in 16 bits.
        backend: The backend that computes the values, in float32.
        preprocessing: As for ``preprocess``; by default that of the weights, or of the spec's first.
        overrides: Changes of the spec.
        progress: A function that is called with a description of each step.
        **reading: How to read the weights, as in ``read_weights``.

    Returns:
        The quantization, which ``build`` takes; its ``to_json`` is the text of a file.

    Raises:
        QuantizationError: A name matches nothing, nothing is left to be quantized, or a value is not finite.
        SpecError: The spec is wrong, or states no preprocessing.
        ImageError: An image cannot be read.
        WeightsError: The weights do not fit.

    Examples:
        >>> import numpy as np
        >>> import resnet_spec
        >>> arrays = resnet_spec.initialize(resnet_spec.load("cifar/resnet20").to_graph())
        >>> images = np.random.default_rng(0).normal(size=(4, 3, 32, 32))
        >>> resnet_spec.quantize("cifar/resnet20", arrays, images)
        Quantization('cifar/resnet20', 31 values, 20 kernels, minmax)
    """
    network = _Network.of(spec, weights, backend, overrides, reading)
    batches = network.batches(images, preprocessing, weights, progress)
    return calibrate(
        network.graph,
        network.optimized,
        network.arrays,
        batches,
        network.runner,
        method=method,
        keep=keep,
        reduce_range=reduce_range,
    )


def loss_of(
    spec: str | Path | Spec,
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any],
    images: Photographs | NDArray[Any],
    quantization: Quantization,
    *,
    backend: str = "torch",
    preprocessing: str | Preprocessing | None = None,
    overrides: Overrides | None = None,
    progress: Progress = lambda step: None,
    **reading: Unpack[Reading],
) -> Loss:
    """Compare an 8-bit network, computed exactly in NumPy, with the network in float.

    Args:
        spec: As for ``quantize``, like all that follow.
        weights: The weights.
        images: The images.
        quantization: What is quantized.
        backend: The backend that computes what is in float.
        preprocessing: How photographs are prepared.
        overrides: Changes of the spec.
        progress: A function that is called with a description of each step.
        **reading: How to read the weights.

    Returns:
        How far they are apart.

    Raises:
        QuantizationError: The quantization is of another network.
    """
    import numpy as np

    network = _Network.of(spec, weights, backend, overrides, reading)
    check(network.optimized, quantization, network.graph.fingerprint)
    names = [name for name in grids_of(network.optimized, quantization) if name in quantization.values]
    nodes = [name for name in names if name != INPUT]
    logits = network.optimized.logits
    run = network.runner([*nodes, logits])
    exact = network.exact(quantization)
    signal, noise = dict.fromkeys([*names, ""], 0.0), dict.fromkeys([*names, ""], 0.0)
    count = agreeing = 0
    vectors = len(network.optimized.by_name[logits].shape) == 1
    for batch in network.batches(images, preprocessing, weights, progress)():
        *values, wanted = run(batch)
        in_float = {INPUT: batch} | dict(zip(nodes, values, strict=True))
        found = wanted
        for name, value in exact.walk(batch):
            if name in noise:
                signal[name] += float(np.square(in_float[name], dtype=np.float64).sum())
                noise[name] += float(np.square(in_float[name] - value.real).sum())
            if name == logits:
                found = value.real
        signal[""] += float(np.square(wanted, dtype=np.float64).sum())
        noise[""] += float(np.square(wanted - found).sum())
        count += len(batch)
        if vectors:
            agreeing += int((found.argmax(axis=1) == wanted.argmax(axis=1)).sum())
    ratios = {name: _decibels(signal[name], noise[name]) for name in noise}
    return Loss(count, agreeing if vectors else None, {name: ratios[name] for name in names}, ratios[""])


def _decibels(signal: float, noise: float) -> float:
    import numpy as np

    if not noise:
        return float("inf")
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.float64(signal) / np.float64(noise)))


@dataclass(frozen=True)
class _Network:
    """A network with its weights, as it is quantized."""

    spec: Spec
    graph: Graph
    optimized: Graph
    arrays: Mapping[str, NDArray[Any]]
    backend: Backend

    @classmethod
    def of(
        cls, spec: str | Path | Spec, weights: Any, backend: str, overrides: Overrides | None, reading: Reading
    ) -> _Network:
        loaded = loaded_spec(spec, overrides, None)
        graph = loaded.to_graph()
        find(backend)
        arrays = weights_of(loaded, graph, weights, 0, False, reading).arrays
        forms = core_forms(graph)
        rounded = forms.rewriting.arrays(arrays, "float32")
        return cls(loaded, graph, forms.graphs[-1], rounded, get_backend(backend))

    def runner(self, names: Sequence[str]) -> Callable[[NDArray[Any]], Sequence[NDArray[Any]]]:
        """Return a function that computes the values of these nodes in float32."""
        graph = self.optimized.with_outputs(dict.fromkeys(names))
        model = self.backend.compile(graph, dtype="float32")
        self.backend.load(model, graph, {p.name: self.arrays[p.name] for p in graph.parameters()})
        order = [graph.outputs.index(name) for name in names]

        def run(batch: NDArray[Any]) -> list[NDArray[Any]]:
            found = self.backend.forward(model, batch)
            return [found[index] for index in order]

        return run

    def exact(self, quantization: Quantization) -> IntegerReference:
        """Return the 8-bit network; this network's backend computes in float64 what stays in float."""
        graph = self.optimized
        model = self.backend.compile(graph, dtype="float64")
        self.backend.load(model, graph, {name: array.astype("float64") for name, array in self.arrays.items()})
        return IntegerReference(
            graph, self.arrays, quantization, lambda node, inputs: self.backend.apply(model, graph, node.name, inputs)
        )

    def batches(
        self, images: Any, preprocessing: str | Preprocessing | None, weights: Any, progress: Progress
    ) -> Callable[[], Iterator[NDArray[Any]]]:
        """Return a function that yields the prepared images in small batches."""
        if getattr(images, "dtype", None) is not None and images.dtype.kind == "f":
            if preprocessing is not None:
                raise SpecError("preprocessing is of photographs, and the images are what the network reads already")
            return lambda: self._given(images, progress)
        check_reads_images(self.spec)
        named = isinstance(weights, str) and not is_path(self.spec, weights)
        chosen = preprocessing or (weights if named else None)
        photographs = listed(images)

        def prepared() -> Iterator[NDArray[Any]]:
            for start in range(0, len(photographs), BATCH):
                part = photographs[start : start + BATCH]
                progress(f"{self.graph.name}: image {start + len(part)} of {len(photographs)}")
                yield preprocess(self.spec, part, chosen)

        return prepared

    def _given(self, images: NDArray[Any], progress: Progress) -> Iterator[NDArray[Any]]:
        import numpy as np

        shape = self.graph.input.shape
        if images.ndim != len(shape) + 1 or images.shape[1] != shape[0]:
            wanted = ", ".join(map(str, ("batch", *shape)))
            raise QuantizationError(f"the images are an array {list(images.shape)}, not ({wanted})")
        if len(images) and 0 in images.shape:
            raise QuantizationError(f"the images are an array {list(images.shape)}, without a number")
        for start in range(0, len(images), BATCH):
            progress(f"{self.graph.name}: image {min(start + BATCH, len(images))} of {len(images)}")
            with np.errstate(over="ignore"):
                part = images[start : start + BATCH].astype("float32")
            yield part
