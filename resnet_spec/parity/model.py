"""Compare a spec with a model of another library: its structure, then what it computes, then every node.

The model is read and run by its own library, if it is a file or named by a function in a process of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.source import SourceModel
from resnet_spec.errors import ModelError, SpecError, WeightsError, listed
from resnet_spec.graph import INPUT, Graph
from resnet_spec.importing.importer import read_source
from resnet_spec.operations import Dropout, Flatten, StochasticDepth
from resnet_spec.parity.compare import Comparison, at_size, loaded_spec
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.model_nodes import ModelNodes
from resnet_spec.parity.process import BackendProcess, Progress, started
from resnet_spec.parity.randomization import random_images
from resnet_spec.parity.report import (
    Difference,
    Finding,
    NodeReport,
    ParityReport,
    StructuralDifference,
    largest_difference,
    outline_of,
)
from resnet_spec.parity.source_process import SECONDS, SourceProcess
from resnet_spec.spec.loader import Overrides, load
from resnet_spec.spec.spec import Spec
from resnet_spec.structure import comparison as structure
from resnet_spec.structure.differences import MOST
from resnet_spec.structure.forms import form_of_graph
from resnet_spec.structure.matching import AmbiguityError, MismatchError
from resnet_spec.structure.steps import IncomparableError
from resnet_spec.weights.download import resolve
from resnet_spec.weights.formats.safetensors import write_safetensors
from resnet_spec.weights.io import read_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.operations.fields import Shape

    Arrays = Mapping[str, NDArray[Any]]

MODEL = "the model"
"""What reports and messages call the model."""

OWN = f"{MODEL}'s"
"""What reports call its weights."""


def compare_with_model(
    spec: str | Path | Spec,
    model: Any,
    backends: Sequence[str] = ("torch", "tensorflow"),
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    size: Shape | None = None,
    batch: int = 2,
    bisect: bool = False,
    seconds: float | None = SECONDS,
    progress: Progress = lambda step: None,
) -> ParityReport:
    """Compare a spec with a model of another library, run by that library.

    The layers and their connections are compared first, whatever the layers' names. If they are the same, the spec gets
    the model's weights, and the backends and the model are compared on random images: the backends as ``compare`` does,
    and the model's float32 result with the first backend's float64 result.

    Args:
        spec: A shipped name, a path that ends in .yaml or .yml, or a loaded spec.
        model: An ``nn.Module``, a Keras model, or the path of a model, such as a ``.onnx``, ``.keras`` or ``.pt2`` file
            or a SavedModel's folder. ``package.module:function`` calls a function that returns a model. Paths and
            functions are read in a process of their own.
        backends: One backend or more by name; the first is the reference.
        weights: A file of weights, or the name of published ones, for the spec; they are compared with the model's. By
            default the model's.
        seed: The seed of the images.
        overrides: Values to change in the spec, as ``resnet_spec.load`` takes them.
        size: The input's size, as ``compare`` takes it; by default the model's, and the spec's if the model accepts
            any.
        batch: How many images to compare.
        bisect: Whether to compare every node whose value the model's library gives, from the model's own inputs of it.
        seconds: How long the model's process may take to read it, or to compute a batch; None for any time.
        progress: A function that is called with a description of each step.

    Returns:
        A report; ``report.passed`` is False where the structure, the weights or the results differ.

    Raises:
        SpecError: The spec is wrong, or no backend is named.
        ModelError: The model cannot be read, has operations that the language cannot express, or takes an input that
            the spec does not accept.
        WeightsError: The weights do not fit the spec, or it is unclear which weights of the model are which.
        BackendError: A backend is missing, fails or dies; or the model's library does.

    Examples:
        >>> from torch import nn
        >>> import resnet_spec
        >>> network = resnet_spec.build("cifar/resnet20", "torch")
        >>> resnet_spec.compare_with_model("cifar/resnet20", network, ["torch"]).passed
        True
        >>> network.layer1[0].bn1.eps = 1e-3
        >>> report = resnet_spec.compare_with_model("cifar/resnet20", network, ["torch"])
        >>> report.structure[0].node
        'layer1.0.bn1'
    """
    if isinstance(backends, str) or not backends:
        raise SpecError(f"a comparison with a model takes one backend or more, such as ('torch',), not {backends!r}")
    shapes = _shapes(spec, overrides, size)
    if weights is not None:
        weights = resolve(spec if isinstance(spec, Spec) else load(spec, overrides), weights)
    with (
        _reading(model, shapes, seconds, progress) as (source, environment),
        ModelComparison.starting(backends, progress) as comparison,
    ):
        return comparison.run(
            spec,
            source,
            weights=weights,
            seed=seed,
            overrides=overrides,
            batch=batch,
            bisect=bisect,
            environment=environment,
        )


def _shapes(spec: str | Path | Spec, overrides: Overrides | None, size: Shape | None) -> list[Shape | None]:
    """Return the input shapes at which to read a model, the first that it accepts: the spec's, and its own."""
    if size is not None:
        return [loaded_spec(spec, overrides, size).input.shape]
    own = spec if isinstance(spec, Spec) else load(spec, overrides)
    return [own.input.shape, None]


@contextmanager
def _reading(
    model: Any, shapes: Sequence[Shape | None], seconds: float | None, progress: Progress
) -> Generator[tuple[SourceModel, Mapping[str, str]]]:
    """Yield a model that was read, in a process of its own unless it is in memory, and its library's versions."""
    progress("reading the model")
    if isinstance(model, str | Path):
        with SourceProcess(seconds) as process:
            source = process.read(model, shapes)
            yield source, process.environment
        return
    failure: ModelError | None = None
    for shape in shapes:
        try:
            source = read_source(model, shape)
        except ModelError as error:
            failure = failure or error
        else:
            yield source, {}
            return
    raise failure or ModelError("no input shape was given")


class ModelComparison:
    """Running backends, ready to be compared with models one after another."""

    def __init__(self, processes: Sequence[BackendProcess], folder: Path, progress: Progress) -> None:
        self.processes = processes
        self._folder = folder
        self._progress = progress

    @classmethod
    @contextmanager
    def starting(cls, backends: Sequence[str], progress: Progress = lambda step: None) -> Generator[ModelComparison]:
        """Start backends."""
        with (
            TemporaryDirectory(prefix="resnet-spec-", ignore_cleanup_errors=True) as folder,
            started(backends, progress) as processes,
        ):
            yield cls(processes, Path(folder), progress)

    def run(
        self,
        spec: str | Path | Spec,
        source: SourceModel,
        *,
        weights: str | Path | None = None,
        seed: int = 0,
        overrides: Overrides | None = None,
        batch: int = 2,
        bisect: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> ParityReport:
        """Compare a spec with a model that was read; see ``compare_with_model``."""
        whole = _at_the_models_size(spec, overrides, source.graph)
        graph = whole.with_outputs([*whole.outputs[:-1], whole.logits])
        given = None if weights is None else read_weights(Path(weights), whole)
        self._progress(f"{graph.name}: comparing the structure")
        try:
            found = structure.compare(graph, form_of_graph(source.graph, source.arrays), _names(source, graph), MODEL)
        except AmbiguityError as error:
            raise WeightsError(f"{graph.name}: {error}") from None
        except IncomparableError as error:
            raise ModelError(f"the model cannot be compared: {error}") from None
        except MismatchError as error:
            return _structural_report(graph, source, error, seed, batch)
        if wrong := _other_shapes(graph, found):
            return _report(graph, source, wrong, seed, batch)
        theirs: dict[str, Any] = {name: tensor.array for name, tensor in found.tensors.items()}
        pairs = {name: [*map(str, others)] for name, others in found.pairs.items() if name in graph.by_name}
        report = self._computed(graph, source, given or theirs, pairs, str(weights or OWN), seed, batch, bisect)
        differences = report.differences if given is None else (*_of_weights(given, theirs), *report.differences)
        notes = (*source.remarks, *found.remarks, *_in_training(graph, source.graph, pairs), *report.notes)
        everything = {**report.environment, **({MODEL: environment} if environment else {})}
        return replace(report, differences=differences, notes=notes, environment=everything)

    def _computed(
        self,
        graph: Graph,
        source: SourceModel,
        arrays: Arrays,
        pairs: Mapping[str, Sequence[str]],
        weights: str,
        seed: int,
        batch: int,
        bisect: bool,
    ) -> ParityReport:
        """Compare what the backends and the model compute."""
        images = random_images((batch, *graph.input.shape), seed + 1)
        several = len(self.processes) > 1
        comparison = Comparison(self.processes, self._folder, self._progress)
        report = comparison.compare(
            graph,
            arrays,
            seed=seed,
            batch=batch,
            weights=weights,
            bisect=bisect and several,
            original=lambda images: [_logits(source, images, pairs[graph.outputs[-1]])],
            called=MODEL,
        )
        if not bisect:
            return report
        if source.values is None:
            note = "the model's library gives no inner values, so that only its outputs were compared"
            return replace(report, notes=(note,))
        self._progress(f"{graph.name}: computing the model's nodes")
        inner = source.values(images.astype("float32"), [*dict.fromkeys(chain.from_iterable(pairs.values()))])
        names = {name: other for name, others in pairs.items() for other in reversed(others) if other in inner}
        values = {name: inner[other] for name, other in names.items()}
        files = Scratch(self._folder / "nodes")
        files.folder.mkdir(exist_ok=True)
        file = files.new("weights.safetensors")
        write_safetensors(file, arrays)
        nodes = ModelNodes(self.processes[0], files, self._progress, MODEL)
        reports, findings = nodes.run(graph, file, arrays, images, values, names, seed)
        missing = [node.name for node in graph.nodes if node.name not in values]
        notes = ()
        if missing:
            notes = (f"{len(missing)} of {len(graph.nodes)} nodes have no value of their own in the model",)
        merged = _merged(report.nodes, reports)
        return replace(
            report,
            nodes=merged,
            outline=outline_of(graph, merged),
            findings=_in_order(graph, (*report.findings, *findings)),
            notes=notes,
            remark="",
        )


def _at_the_models_size(spec: str | Path | Spec, overrides: Overrides | None, model: Graph) -> Graph:
    """Return the spec's graph at the size of the model's input."""
    own = (spec if isinstance(spec, Spec) else load(spec, overrides)).to_graph()
    wanted = model.input.shape
    if len(own.input.shape) != len(wanted) or own.input.shape[0] != wanted[0]:
        raise ModelError(f"the model's input is {_sizes(wanted)}, but the spec's is {_sizes(own.input.shape)}")
    if own.input.shape == wanted:
        return own
    try:
        if isinstance(spec, Spec):
            return structure.at_input_size(own, wanted)
        return load(spec, at_size(overrides, wanted[1:])).to_graph()
    except (MismatchError, SpecError) as error:
        raise ModelError(f"the model's input is {_sizes(wanted)}, which the spec does not accept: {error}") from None


def _sizes(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _names(source: SourceModel, graph: Graph) -> Mapping[str, str]:
    """Return the model's own names of parameters, if they are those of the spec."""
    own = {parameter.name: parameter.name for parameter in graph.parameters()}
    return own if source.named and own.keys() <= source.arrays.keys() else {}


def _structural_report(graph: Graph, source: SourceModel, error: MismatchError, seed: int, batch: int) -> ParityReport:
    """Return a report on all structural differences that are found, of which ``error`` is the first."""
    form = form_of_graph(source.graph, source.arrays)
    found = structure.structural_differences(graph, form, _names(source, graph), MODEL) or [error]
    differences = [StructuralDifference(str(one), one.node, one.counterpart) for one in found]
    notes = [f"the first {MOST} differences are listed; there may be more"] * (len(found) == MOST)
    return _report(graph, source, differences, seed, batch, notes)


def _other_shapes(graph: Graph, found: structure.Comparison) -> list[StructuralDifference]:
    """Return the parameters that have another shape in a model of the same layers."""
    return [
        StructuralDifference(
            f"{parameter.name!r} is {_sizes(array.shape)} in the model, but {_sizes(parameter.shape)} in the spec",
            parameter.node,
            str(found.pairs.get(parameter.node, ("",))[0]),
        )
        for parameter in graph.parameters()
        if (array := found.tensors[parameter.name].array) is not None and array.shape != parameter.shape
    ]


def _report(
    graph: Graph,
    source: SourceModel,
    differences: Sequence[StructuralDifference],
    seed: int,
    batch: int,
    notes: Sequence[str] = (),
) -> ParityReport:
    """Return the report on a model with another structure, whose values are not compared."""
    return ParityReport(
        spec=graph.name,
        fingerprint=graph.fingerprint,
        size=graph.input.shape[1:] or graph.input.shape,
        batch=batch,
        weights=OWN,
        seed=seed,
        deviation=nan,
        rounding_tolerance=nan,
        differences=(),
        structure=tuple(differences),
        notes=(*source.remarks, *notes),
    )


def _of_weights(given: Arrays, theirs: Arrays) -> list[Difference]:
    """Return the differences of the spec's weights from the model's, which are copies: none is allowed."""
    import numpy as np

    found: list[Difference] = []
    for name, array in theirs.items():
        largest = largest_difference(given[name].astype(np.float32), array.astype(np.float32))
        if largest:
            size = float(np.abs(array).max(initial=0))
            found.append(Difference("parameters", "float32", "the weights", MODEL, largest, 0.0, size, name))
    return found


def _logits(source: SourceModel, images: NDArray[Any], names: Sequence[str]) -> NDArray[Any]:
    """Return a model's value in place of the spec's logits, which a softmax may follow."""
    images = images.astype("float32")
    for name in names:
        if name in source.graph.outputs:
            return source.run(images)[source.graph.outputs.index(name)]
    found = source.values(images, names) if source.values is not None else {}
    if not found:
        raise ModelError(f"the model continues after {names[0]}, where the spec ends, and gives no value there")
    return next(iter(found.values()))


def _in_training(graph: Graph, model: Graph, pairs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what the layers of the spec and the model differ in that only training depends on, a sentence each."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, other in ((name, other) for name, others in pairs.items() for other in others if other != INPUT):
        ours, theirs = graph.by_name[name].operation, model.by_name[other].operation
        if ours.op == theirs.op:
            for field in ours.training_fields:
                values = getattr(ours, field), getattr(theirs, field)
                if values[0] != values[1]:
                    text = field.replace("_", " ")
                    found.setdefault((f"{text} {values[0]}", str(values[1])), []).append(name)
    ours, theirs = _regularized(graph), _regularized(model)
    for name, own in ours.items():
        others = [INPUT] if name == INPUT else pairs.get(name, ())
        read = [layer for other in others for layer in theirs.get(other, ())]
        if others and own != read:
            texts = (" and ".join(own) or "nothing", " and ".join(read) or "nothing")
            found.setdefault(texts, []).append(f"after {name}")
    return [
        f"differs in training only: {ours} in the spec, {theirs} as the model was read ({listed(names)})"
        for (ours, theirs), names in found.items()
    ]


def _regularized(graph: Graph) -> dict[str, list[str]]:
    """Return the layers that act in training only, such as ``dropout 0.5``, after each node that computes anything."""
    sources = {INPUT: INPUT}
    found: dict[str, list[str]] = {INPUT: []}
    for node in graph.nodes:
        operation = node.operation
        if isinstance(operation, Dropout | StochasticDepth):
            sources[node.name] = sources[node.inputs[0]]
            found[sources[node.name]].append(f"{operation.op.replace('_', ' ')} {operation.rate}")
        elif isinstance(operation, Flatten):
            # Dropout before it or after it is the same.
            sources[node.name] = sources[node.inputs[0]]
        else:
            sources[node.name] = node.name
            found[node.name] = []
    return found


def _merged(nodes: Sequence[NodeReport], others: Sequence[NodeReport]) -> tuple[NodeReport, ...]:
    """Return reports on the same nodes as one, if both are there."""
    if not nodes:
        return tuple(others)
    by_name = {node.name: node for node in others}
    return tuple(
        replace(node, differences=(*node.differences, *by_name[node.name].differences))
        if node.name in by_name
        else node
        for node in nodes
    )


def _in_order(graph: Graph, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    return tuple(sorted(findings, key=lambda finding: order[finding.node]))
