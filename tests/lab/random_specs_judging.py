"""The outcome of a random spec: rejected with a located error, or run by two backends in float64 and compared.

Both inference and training are compared: outputs, the loss, the gradients of parameters and input, running statistics.
"""

from __future__ import annotations

import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Literal, NamedTuple, TypeVar
from unittest.mock import patch

import numpy as np

from resnet_spec.errors import BackendError, ResnetSpecError
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import VARIANCES
from resnet_spec.parity.plan import random_batch
from resnet_spec.parity.process import BackendProcess, started
from resnet_spec.parity.randomization import random_images, randomize, undropped
from resnet_spec.parity.report import ratio
from resnet_spec.parity.rounding import RELATIVE_TOLERANCE, ROUNDING_FACTOR, UNIT, with_noise
from resnet_spec.parity.trainable import trainable_parameters
from resnet_spec.parity.training import biased
from resnet_spec.spec.loader import load
from resnet_spec.weights.formats.safetensors import write_safetensors

Arrays = Mapping[str, np.ndarray]
Answer = TypeVar("Answer")

BACKENDS = ("torch", "tensorflow")

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
"""The environment of a process; its networks are too small for several threads."""

LARGEST = 10**6
"""Parameters, or values of one image over all nodes, beyond which a network is not run."""

TRAINING_BATCH = 4

PERTURBED_RUNS = 4
"""Perturbed runs of the reference, to judge a difference by rounding errors."""

Kind = Literal["refused", "inexpressible", "too large", "not finite", "ill-conditioned", "agreed", "failed"]


class Outcome(NamedTuple):
    """The outcome of one spec: why it was refused or failed, or the largest difference.

    Of a network that agrees, ``operations`` are those that it has, and ``fields`` the values of their fields.
    """

    kind: Kind
    reason: str = ""
    largest: float = 0.0
    operations: frozenset[str] = frozenset()
    fields: frozenset[tuple[str, str]] = frozenset()


class Lab:
    """Two running backends, of which the first is the reference, and a folder, for one spec after the other.

    After a failure both are restarted, since one may have died.
    """

    def __init__(self, backends: Sequence[str] = BACKENDS) -> None:
        self._backends = backends

    def __enter__(self) -> Lab:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="resnet-spec-")))
        self._running = ExitStack()
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()
        self._stack.close()

    def _start(self) -> None:
        self._running.close()
        with patch.dict(os.environ, THREADS):
            self._processes = self._running.enter_context(started(self._backends))

    def judge(self, text: str) -> Outcome:
        """The outcome of a spec's text; weights, images and the kind of statistics depend on the text only."""
        try:
            graph = self._graph(text)
        except ResnetSpecError as error:
            return refusal(error)
        except Exception as error:
            return Outcome("failed", f"the core fails: {type(error).__name__}: {error}")
        if _size(graph) > LARGEST:
            return Outcome("too large", "too large to be run here")
        try:
            outcome = self._compared(graph, zlib.crc32(text.encode()) % 2**16)
        except BackendError as error:
            outcome = inexpressible(error, graph)
        except Exception as error:
            outcome = Outcome("failed", f"the comparison fails: {type(error).__name__}: {error}")
        if outcome.kind == "failed":
            self._start()
        return outcome

    def _graph(self, text: str) -> Graph:
        path = self._folder / "spec.yaml"
        path.write_text(text)
        spec = load(path)
        graph = spec.to_graph()
        path.write_text(spec.to_yaml())
        if load(path).to_graph() != graph:
            raise AssertionError("the resolved text describes another network")
        return graph

    def _compared(self, graph: Graph, number: int) -> Outcome:
        arrays = self._randomized(graph, number)
        case = _Case(with_logits(graph), number, self._folder / "weights.safetensors")
        write_safetensors(case.weights, arrays)
        results = case.run(self._processes)
        reference, other = results
        for process, result in zip(self._processes, results, strict=True):
            if wrong := case.wrong_shapes(result):
                return Outcome("failed", f"{process.name}: {wrong}")
        if not reference.finite:
            alike = all(np.array_equal(np.isfinite(a), np.isfinite(b)) for a, b in zip(*_values(results), strict=True))
            return Outcome("not finite" if alike else "failed", "results that are not finite")
        first, second = self._processes
        sides = (second.running_variance, first.running_variance)
        found = case.differences(other, reference, arrays, sides)
        largest = max(found.values(), key=lambda value: (np.isnan(value), value))
        if largest <= RELATIVE_TOLERANCE:
            return Outcome("agreed", "", largest, frozenset(map(_kind, graph.nodes)), _fields(graph))
        errors = self._rounding_errors(case, arrays, reference)
        unexplained = {
            name: value for name, value in found.items() if not value <= ROUNDING_FACTOR * errors[_quantity(name)]
        }
        worst = {name: value for name, value in unexplained.items() if not value <= RELATIVE_TOLERANCE}
        if worst:
            return Outcome("failed", ", ".join(f"{name} {value:.1e}" for name, value in worst.items()), largest)
        return Outcome("ill-conditioned", "rounding alone explains the difference", largest)

    def _randomized(self, graph: Graph, number: int) -> Arrays:
        path, first = self._folder / "random.safetensors", self._processes[0]

        def train(calibrated: Graph, arrays: Arrays, images: Any) -> Arrays:
            write_safetensors(path, arrays)
            first.load(calibrated, path)
            first.forward(images, training=True)
            return first.arrays_after()

        return randomize(graph, train, number)

    def _rounding_errors(self, case: _Case, arrays: Arrays, reference: _Result) -> Counter[str]:
        """The rounding error of each kind of quantity: its largest change where parameters and images are perturbed.

        The largest of a kind counts for all of it: if rounding changes one gradient, the others are no more certain.
        """
        first = self._processes[0]
        errors: Counter[str] = Counter()
        for draw in range(PERTURBED_RUNS):
            generator = np.random.default_rng([case.number, draw])
            write_safetensors(case.weights, moved(case.graph, arrays, generator))
            (perturbed,) = case.run([first], generator)
            sides = (first.running_variance, first.running_variance)
            for name, value in case.differences(perturbed, reference, arrays, sides).items():
                errors[_quantity(name)] = max(errors[_quantity(name)], value)
        return errors


# ---------------------------------------------------------------------------------------------------------------
# One comparison


class _Result(NamedTuple):
    outputs: Sequence[np.ndarray]
    loss: float
    gradients: Arrays
    after: Arrays

    @property
    def finite(self) -> bool:
        values = (*self.outputs, *self.gradients.values(), *self.after.values())
        return all(bool(np.isfinite(value).all()) for value in values)


def _values(results: Iterable[_Result]) -> list[list[np.ndarray]]:
    return [[*r.outputs, *(r.gradients[name] for name in sorted(r.gradients))] for r in results]


@dataclass(frozen=True)
class _Case:
    """One graph, the number that everything random follows from, and the file of its weights."""

    graph: Graph
    number: int
    weights: Path

    @property
    def exact(self) -> bool:
        """Whether layers that keep exact statistics are compared, or the frameworks' own."""
        return self.number % 2 == 0

    def run(self, processes: Sequence[BackendProcess], generator: np.random.Generator | None = None) -> list[_Result]:
        """Inference and gradients in each process, of images moved by rounding where there is a generator.

        Raises what a framework cannot express once all have answered.
        """
        images = random_images((1, *self.graph.input.shape), self.number + 1)
        batch, targets = random_batch(self.graph, TRAINING_BATCH, self.number + 2)
        if generator is not None:
            images, batch = (with_noise(value, UNIT["float64"], generator) for value in (images, batch))
        for process in processes:
            process.load(self.graph, self.weights, "float64", exact_statistics=self.exact)
            process.forward(images, "float64")
        outputs = self._answered(processes, BackendProcess.outputs)
        still = undropped(self.graph)
        for process in processes:
            if still != self.graph:
                process.load(still, self.weights, "float64", exact_statistics=self.exact)
            process.gradients(batch, targets)
        found = self._answered(processes, lambda process: (*process.gradients_found(), process.arrays_after()))
        return [_Result(values, *gradients) for values, gradients in zip(outputs, found, strict=True)]

    def _answered(self, processes: Sequence[BackendProcess], wait: Callable[[BackendProcess], Answer]) -> list[Answer]:
        answers: list[Answer] = []
        errors: list[BackendError] = []
        for process in processes:
            try:
                answers.append(wait(process))
            except BackendError as error:
                errors.append(error)
        if errors:
            # An error without a position must not hide behind one with a position.
            raise min(errors, key=lambda error: inexpressible(error, self.graph).kind == "inexpressible")
        return answers

    def wrong_shapes(self, result: _Result) -> str:
        """What is not of the shape that the graph says; empty where all is."""
        for name, output in zip(self.graph.outputs, result.outputs, strict=True):
            if output.shape[1:] != self.graph.by_name[name].shape:
                return f"the value of {name!r} is {list(output.shape[1:])}, not {list(self.graph.by_name[name].shape)}"
        shapes = {p.name: p.shape for p in self.graph.parameters() if p.trainable}
        found = {name: gradient.shape for name, gradient in result.gradients.items() if name != INPUT}
        return "" if found == shapes else f"its gradients are {found}, not {shapes}"

    def differences(
        self, other: _Result, reference: _Result, start: Arrays, sides: tuple[str, str]
    ) -> dict[str, float]:
        """Each quantity's largest difference: outputs in standard deviations, gradients over the largest norm of one.

        Running statistics are measured by the values that they are taken of: a mean by their root mean square, a
        variance by their mean square. ``sides`` are which variance each side keeps.
        """
        found = {
            f"output {name!r}": 0.0
            if _cancels(theirs, ours)
            else ratio(float(np.abs(theirs - ours).max()), _spread(ours))
            for name, theirs, ours in zip(self.graph.outputs, other.outputs, reference.outputs, strict=True)
        }
        found["loss"] = ratio(abs(other.loss - reference.loss), reference.loss)
        names = (*trainable_parameters(self.graph), INPUT)
        norms = {name: float(np.linalg.norm(reference.gradients[name])) for name in names}
        largest = max((norms[name] for name in names[:-1]), default=0.0) or norms[INPUT]
        canceling = all(_cancels(other.gradients[name], reference.gradients[name]) for name in names)
        for name in () if canceling else names:
            apart = float(np.linalg.norm(other.gradients[name] - reference.gradients[name]))
            found[f"gradient of {name!r}"] = ratio(apart, largest)
        return found | self._statistics(other.after, reference.after, start, sides)

    def _statistics(self, theirs: Arrays, ours: Arrays, start: Arrays, sides: tuple[str, str]) -> dict[str, float]:
        if not self.exact:
            theirs, ours = (
                biased(self.graph, start, after, TRAINING_BATCH) if kept == "unbiased" else after
                for after, kept in zip((theirs, ours), sides, strict=True)
            )
        found: dict[str, float] = {}
        for layer in {p.node for p in self.graph.parameters() if p.role in VARIANCES}:
            mean, variance = f"{layer}.running_mean", f"{layer}.running_var"
            square = float((ours[mean] ** 2 + start[variance]).max())
            for name, size in ((mean, square**0.5), (variance, square)):
                # A layer that is called at several sizes has no one n to make its variance biased by.
                if name in theirs.keys() & ours.keys():
                    found[f"statistics {name!r}"] = ratio(float(np.abs(theirs[name] - ours[name]).max()), size)
        return found


ZERO = 1e-12
"""What is smaller in both backends is a sum whose terms cancel, such as a mean of normalized values: inputs, weights
and statistics are of order 1 here, and the estimate of a rounding error does not see roundings that all terms share."""


def _cancels(theirs: np.ndarray, ours: np.ndarray) -> bool:
    return max(float(np.abs(theirs).max(initial=0)), float(np.abs(ours).max(initial=0))) < ZERO


def moved(graph: Graph, arrays: Arrays, generator: np.random.Generator) -> Arrays:
    """Return float64 parameters with the rounding noise of their layers."""
    found: dict[str, np.ndarray] = {}
    for parameter in graph.parameters():
        node = graph.by_name[parameter.node]
        count = node.operation.roundings(*graph.input_shapes(node))
        found[parameter.name] = with_noise(
            arrays[parameter.name].astype("float64"), count**0.5 * UNIT["float64"], generator
        )
    return found


def _quantity(name: str) -> str:
    """The kind of what a difference is of: its first word."""
    return name.partition(" ")[0]


def _spread(value: np.ndarray) -> float:
    """The standard deviation of an output; its root mean square where but for rounding all its values are one."""
    deviation, size = float(value.std()), float(np.sqrt(np.square(value).mean()))
    return deviation if deviation > 1e-6 * size else size


def with_logits(graph: Graph) -> Graph:
    """The graph with the input of a final softmax as its last output, whose differences a softmax would squeeze."""
    if graph.logits == graph.outputs[-1]:
        return graph
    names = (*graph.output_names, "its_input") if graph.output_names else ()
    return graph.with_outputs((*graph.outputs, graph.logits), names)


def _kind(node: Node) -> str:
    """A node's operation; the batch normalization of vectors, another layer in each framework, apart."""
    operation = node.operation.op
    return f"{operation} of vectors" if operation == "batch_norm" and len(node.shape) == 1 else operation


def _fields(graph: Graph) -> frozenset[tuple[str, str]]:
    """Each field of the graph's operations, as operation.field, with its value."""
    operations = [node.operation for node in graph.nodes]
    return frozenset(
        (f"{operation.op}.{name}", str(getattr(operation, name)))
        for operation in operations
        for name in type(operation).model_fields
        if name != "op"
    )


def _size(graph: Graph) -> int:
    values = sum(prod(node.shape) for node in graph.nodes)
    return max(values, sum(prod(parameter.shape) for parameter in graph.parameters()))


# ---------------------------------------------------------------------------------------------------------------
# Refusals


def refusal(error: ResnetSpecError) -> Outcome:
    """The core's rejection of a spec, or a failure if an error has no position."""
    homeless = [problem.message for problem in error.problems if not (problem.path or problem.position)]
    if homeless:
        return Outcome("failed", f"refused without a place: {homeless[0]}")
    return Outcome("refused", general(error.problems[0].message))


def inexpressible(error: BackendError, graph: Graph) -> Outcome:
    """A backend's rejection of a graph, or a failure if it names none of its nodes."""
    found = re.fullmatch(r"the (\w+) backend failed: (?:BackendError|GraphError): ([^:]+): (.*)", str(error), re.S)
    if found is None:
        return Outcome("failed", str(error))
    backend, place, message = found.groups()
    if not any(node.name == place or node.name.startswith(f"{place}.") for node in graph.nodes):
        return Outcome("failed", f"refused without a node: {error}")
    return Outcome("inexpressible", f"{backend}: {general(message)}")


def general(message: str) -> str:
    """A message without the names and numbers of one spec."""
    text = re.sub(r" \((?:from|used by|known|in block) .*|; did you mean .*|, not .*", "", message, flags=re.S)
    text = re.sub(r"'[^']*'", "'…'", text)
    # The digit of conv2d is part of the name.
    return re.sub(r"-?(?<![a-z])\d[\d.,×]*", "#", text)
