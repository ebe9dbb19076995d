"""Compare training in several backends: gradients, running statistics, and steps of an optimizer.

The rates of dropout and stochastic depth are 0. The loss is half the mean squared difference of each output from random
targets, which is the same in every framework.

In float64 each backend is compared with the first. Gradients and statistics are compared array by array with
``RELATIVE_TOLERANCE`` times the size of the reference. If the size is zero, the other backend's values must be zero
too; for a running mean, which may be zero up to rounding, the size is the standard deviation of the layer's values
instead. In a lower precision each backend is compared with the first's float64, all gradients as one vector and all
statistics as another.

The distance that rounding explains is estimated as in ``rounding``, with the precision's unit roundoff u: each backend
trains again with rounding noise (``perturbed_batches``), and its tolerance is ``ROUNDING_FACTOR`` times the largest
distance of ``RUNS`` such runs from its unperturbed run. A difference of two backends may be as large as the sum of both
backends' tolerances, which grow with the steps and with what training amplifies. Several runs are needed, since
differences soon point along the direction that training amplifies most, and a single run may start with little of that
direction. Each backend is perturbed, since the noise that remains where terms of a gradient cancel differs between
backends, and Adam divides by its size; but in half precision the first backend's float64 is, so that what a backend
loses there does not widen its own bound.

Distances and tolerances are absolute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from math import inf, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from resnet_spec.backend.dtypes import HALF, ModelDType, computed_in, is_half
from resnet_spec.backend.optimizers import SGD, AdamW, Optimizer
from resnet_spec.backend.training import LOSS_SCALE
from resnet_spec.graph import INPUT, Graph
from resnet_spec.operations import STATISTICS, VARIANCES, BatchNorm, PositionBatchNorm
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.plan import UPDATE, Plan, all_terms
from resnet_spec.parity.precision import PRECISIONS
from resnet_spec.parity.process import BackendProcess, Progress
from resnet_spec.parity.randomization import undropped
from resnet_spec.parity.report import Difference, Quantity, largest_difference, ratio
from resnet_spec.parity.rounding import ROUNDING_FACTOR, SMALLEST, structure_tolerance
from resnet_spec.parity.trainable import check_batch, trainable_parameters, values_normalized
from resnet_spec.weights.formats.safetensors import write_safetensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

OPTIMIZERS: tuple[Optimizer, ...] = (SGD(), AdamW())

RUNS = 3
"""Perturbed runs; the farthest counts. Along one direction, with normally distributed distances, one run in 12 moves
less than a tenth of a standard deviation; the farthest of three runs does so in one case in 2000."""


class TrainingComparison:
    """Compares training of a graph in several running backends; the first is the reference."""

    def __init__(self, processes: Sequence[BackendProcess], files: Scratch, progress: Progress) -> None:
        self._processes = processes
        self._files = files
        self._weights: Path
        self._progress = progress

    def run(
        self,
        graph: Graph,
        arrays: Arrays,
        *,
        plan: Plan,
        optimizers: Sequence[Optimizer] = OPTIMIZERS,
    ) -> list[Difference]:
        """Return every difference in gradients, statistics and training; see the module.

        Weights in half precision are not trained: rounding a weight moves it farther than a step.

        Raises SpecError for a batch that leaves a normalization one value per channel, which has no variance.
        """
        graph = undropped(graph)
        check_batch(graph, plan.batch)
        if is_half(plan.precision):
            rounded = PRECISIONS[computed_in(plan.precision)]
            arrays = {name: rounded(array.astype("float64")) for name, array in arrays.items()}
        self._weights = self._files.new("training.safetensors")
        write_safetensors(self._weights, arrays)
        self._progress(f"{graph.name}: {plan.precision} gradients")
        if plan.precision == "float64":
            found = self._gradients(graph, arrays, plan, exact=False)
            if any(parameter.role in VARIANCES for parameter in graph.parameters()):
                found += self._gradients(graph, arrays, plan, exact=True)
        else:
            found = self._judged(graph, plan, _FirstStep(graph, arrays, plan))
        trains = plan.steps and any(parameter.trainable for parameter in graph.parameters())
        for optimizer in optimizers if trains and plan.precision not in HALF else ():
            self._progress(f"{graph.name}: {plan.steps} {plan.precision} steps of {optimizer.kind}")
            found += self._judged(graph, plan, _Steps(graph, arrays, plan, optimizer))
        return found

    def _gradients(self, graph: Graph, arrays: Arrays, plan: Plan, *, exact: bool) -> list[Difference]:
        for process in self._processes:
            process.load(graph, self._weights, "float64", exact_statistics=exact)
            process.first_gradients(plan)
        results = [(process.gradients_found(), process.arrays_after()) for process in self._processes]
        first, *others = self._processes
        ((loss, gradients), after), *rest = results
        found: list[Difference] = []
        for process, ((other_loss, other_gradients), other_after) in zip(others, rest, strict=True):
            if not exact:
                found.append(_difference("losses", process, first, abs(other_loss - loss), abs(loss), FIRST_LOSS))
                found += _gradient_differences(graph, process, first, other_gradients, gradients)
                found += self._statistics(graph, process, first, arrays, plan.batch, other_after, after)
            else:
                worst = _worst(graph, other_after, after, STATISTICS)
                found.append(_difference("statistics", process, first, *worst[:2], f"{worst[2]}, exact"))
        return found

    def _statistics(
        self,
        graph: Graph,
        process: BackendProcess,
        first: BackendProcess,
        start: Arrays,
        batch: int,
        theirs: Arrays,
        ours: Arrays,
    ) -> list[Difference]:
        """Compare running statistics after a step; where only one side's variances are unbiased, make them biased."""
        if not any(parameter.role in STATISTICS for parameter in graph.parameters()):
            return []
        if process.running_variance != first.running_variance:
            ours, theirs = (
                biased(graph, start, after, batch) if side.running_variance == "unbiased" else after
                for side, after in ((first, ours), (process, theirs))
            )
        largest, size, name = _worst(graph, theirs, ours, STATISTICS)
        return [_difference("statistics", process, first, largest, size, name)]

    def _judged(self, graph: Graph, plan: Plan, training: _Training) -> list[Difference]:
        """Return the differences of a training: in float64 from the first backend, else from the first's float64."""
        import numpy as np

        dtype, every = plan.precision, self._processes
        exact, compared = self._bounded(graph, dtype, training)
        reference = every[0].name if dtype == "float64" else f"{every[0].name} float64"
        found: list[Difference] = []
        for process, run, bounds in compared:
            figures = run.distance(exact), bounds, training.sizes(exact)
            for quantity, largest, bound, size in zip(exact.quantities, *map(np.ndarray.tolist, figures), strict=True):
                subject = training.subject or (FIRST_LOSS if quantity == "losses" else "")
                found.append(Difference(quantity, dtype, process.name, reference, largest, bound, size, subject))
        return found

    def _bounded(
        self, graph: Graph, dtype: ModelDType, training: _Training
    ) -> tuple[_Run, Iterable[tuple[BackendProcess, _Run, NDArray[np.float64]]]]:
        """Return the reference's run, and the run of each backend that is compared with it, with its bounds."""
        every, first = self._processes, self._processes[:1]
        if is_half(dtype):
            # By the noise alone: what a backend loses in half precision must not widen its own bound.
            (exact,), (error,) = self._measured(graph, training, "float64", first)
            bounds = _tolerance(training, exact, exact, error, dtype)
            runs = self._runs(graph, training, dtype, every)
            return exact, zip(every, runs, repeat(bounds), strict=False)
        runs, errors = self._measured(graph, training, dtype, every)
        exact = runs[0] if dtype == "float64" else self._runs(graph, training, "float64", first)[0]
        tolerances = [_tolerance(training, exact, *both, dtype) for both in zip(runs, errors, strict=True)]
        if dtype != "float64":
            return exact, zip(every, runs, tolerances, strict=True)
        both = [tolerances[0] + tolerance for tolerance in tolerances[1:]]
        return exact, zip(every[1:], runs[1:], both, strict=True)

    def _measured(
        self, graph: Graph, training: _Training, dtype: ModelDType, processes: Sequence[BackendProcess]
    ) -> tuple[list[_Run], list[NDArray[np.float64]]]:
        """Return the runs of backends, and how far rounding noise moves each."""
        import numpy as np

        runs = self._runs(graph, training, dtype, processes)
        errors = [np.zeros(len(run.quantities)) for run in runs]
        for draw in range(RUNS):
            moved = self._runs(graph, training, dtype, processes, draw)
            for run, own, error in zip(moved, runs, errors, strict=True):
                # np.maximum propagates NaN.
                np.maximum(error, run.distance(own), out=error)
        return runs, errors

    def _runs(
        self,
        graph: Graph,
        training: _Training,
        dtype: ModelDType,
        processes: Sequence[BackendProcess],
        draw: int | None = None,
    ) -> list[_Run]:
        """Train backends at once, and return their runs."""
        for process in processes:
            process.load(graph, self._weights, dtype, exact_statistics=True)
            training.ask(process, dtype, draw)
        return [training.answer(process) for process in processes]


FIRST_LOSS = "first loss"


class _Run(NamedTuple):
    """The losses of a training, and what else it computed, each a vector in parts by name."""

    losses: NDArray[np.float64]
    vectors: Mapping[Quantity, Arrays]

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        return ("losses", *self.vectors)

    def distance(self, other: _Run) -> NDArray[np.float64]:
        """Return the largest difference of two runs' losses, and the Euclidean distances of their vectors."""
        import numpy as np

        with np.errstate(invalid="ignore"):
            largest = float(np.abs(self.losses - other.losses).max())
            pairs = zip(self.vectors.values(), other.vectors.values(), strict=True)
            return np.array([largest, *(_apart(a, b) for a, b in pairs)])


class _Training(Protocol):
    """A way to train."""

    subject: str
    """What differences are about."""

    def ask(self, process: BackendProcess, dtype: ModelDType, draw: int | None) -> None:
        """Ask a backend to train in a precision, with rounding noise if there is a draw."""
        ...

    def answer(self, process: BackendProcess) -> _Run:
        """Wait for a backend, and return the run."""
        ...

    def sizes(self, run: _Run) -> NDArray[np.float64]:
        """Return the sizes of a run's quantities."""
        ...

    def floors(self, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the least rounding errors of quantities of these sizes, as if training amplified nothing."""
        ...


class _FirstStep:
    """The loss, gradients and running statistics of the first batch.

    Each statistic is divided by its layer's scale, so that all layers count.
    """

    def __init__(self, graph: Graph, arrays: Arrays, plan: Plan) -> None:
        self.subject = ""
        self._graph, self._plan = graph, plan
        self._names = (*trainable_parameters(graph), INPUT)
        self._scales = _scales(graph, arrays)

    def ask(self, process: BackendProcess, dtype: ModelDType, draw: int | None) -> None:
        process.first_gradients(self._plan, dtype, draw)

    def answer(self, process: BackendProcess) -> _Run:
        import numpy as np

        loss, gradients = process.gradients_found()
        after = process.arrays_after()
        vectors: dict[Quantity, Arrays] = {"gradients": {name: gradients[name] for name in self._names}}
        if self._scales:
            vectors["statistics"] = {name: after[name] / scale for name, scale in self._scales.items()}
        return _Run(np.array([loss]), vectors)

    def sizes(self, run: _Run) -> NDArray[np.float64]:
        import numpy as np

        return np.array([float(np.abs(run.losses).max()), *map(_norm, run.vectors.values())])

    def floors(self, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        return _sums(self._graph, self._plan, len(sizes)) * sizes


class _Steps:
    """The losses and weights of steps of an optimizer; the size of the weights is the distance that they move."""

    def __init__(self, graph: Graph, arrays: Arrays, plan: Plan, optimizer: Optimizer) -> None:
        self.subject = f"{plan.steps} steps of {optimizer.kind}"
        self._graph, self._plan, self._optimizer = graph, plan, optimizer
        self._start = {name: arrays[name] for name in trainable_parameters(graph)}

    def ask(self, process: BackendProcess, dtype: ModelDType, draw: int | None) -> None:
        process.train(self._optimizer, self._plan, dtype, draw)

    def answer(self, process: BackendProcess) -> _Run:
        import numpy as np

        losses = np.array(process.wait()["losses"])
        after = process.arrays_after()
        return _Run(losses, {"weights": {name: after[name] for name in self._start}})

    def sizes(self, run: _Run) -> NDArray[np.float64]:
        import numpy as np

        moved = _apart(run.vectors["weights"], self._start)
        return np.array([float(np.abs(run.losses).max()), moved or _norm(self._start)])

    def floors(self, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        import numpy as np

        roundings = (UPDATE * self._plan.steps) ** 0.5
        update = self._plan.update_noise.value * roundings * _norm(self._start)
        return _sums(self._graph, self._plan, len(sizes)) * sizes + np.array([0.0, update])


def _sums(graph: Graph, plan: Plan, count: int) -> NDArray[np.float64]:
    """Return the least relative rounding errors of the losses and of a number of sums over the whole network.

    Random noise averages out in a sum of many values, but the rounding of a sum of positive values does not: it is up
    to √k · u of the sum. A loss also sums n squares of differences and is divided by n.
    """
    import numpy as np

    noise, terms = plan.noise, all_terms(graph, plan.batch)
    values = plan.batch * sum(prod(graph.by_name[name].shape) for name in graph.outputs)
    nodes = 2 * len(graph.nodes)
    sums = [noise.accumulated(nodes, terms + values + 3), *[noise.accumulated(nodes, terms)] * (count - 1)]
    return np.array(sums)


def _tolerance(
    training: _Training, exact: _Run, run: _Run, error: NDArray[np.float64], dtype: ModelDType
) -> NDArray[np.float64]:
    """Return how far rounding may move a run; scaled to the reference's size, so that a diverging run gets no more."""
    import numpy as np

    own, reference = training.sizes(run), training.sizes(exact)
    scale = np.divide(reference, own, out=np.ones_like(own), where=(reference > 0) & (own > 0) & np.isfinite(own))
    # A float16 loss is scaled, so that its gradients are as far above the smallest number.
    smallest = SMALLEST[computed_in(dtype)] / (LOSS_SCALE if computed_in(dtype) == "float16" else 1.0)
    return ROUNDING_FACTOR * (error + training.floors(own)) * scale + smallest


def _scales(graph: Graph, arrays: Arrays) -> dict[str, float]:
    """Return the size of each running statistic: of a variance the largest, of a mean the largest deviation."""
    import numpy as np

    own = {p.name: float(np.abs(arrays[p.name]).max()) for p in graph.parameters() if p.role in STATISTICS}
    deviations = {p.node: own[p.name] ** 0.5 for p in graph.parameters() if p.role in VARIANCES}
    found = {
        p.name: own[p.name] if p.role in VARIANCES else max(own[p.name], deviations.get(p.node, 0.0))
        for p in graph.parameters()
        if p.role in STATISTICS
    }
    return {name: scale or 1.0 for name, scale in found.items()}


def _apart(left: Arrays, right: Arrays) -> float:
    """Return the Euclidean distance of two vectors in parts; infinite where the shapes of one differ."""
    if any(array.shape != right[name].shape for name, array in left.items()):
        return inf
    return _norm({name: array - right[name] for name, array in left.items()})


def _norm(arrays: Arrays) -> float:
    import numpy as np

    return sum(float(np.square(array, dtype="float64").sum()) for array in arrays.values()) ** 0.5


def _gradient_differences(
    graph: Graph, process: BackendProcess, first: BackendProcess, theirs: Arrays, ours: Arrays
) -> list[Difference]:
    """Return the largest difference of parameters' gradients, and that of the input's; sizes are the largest norm."""
    import numpy as np

    names = trainable_parameters(graph)
    largest_norm = max((float(np.linalg.norm(ours[name])) for name in names), default=0.0)
    apart = {name: _apart({name: theirs[name]}, {name: ours[name]}) for name in (*names, INPUT)}
    largest_norm = largest_norm or float(np.linalg.norm(ours[INPUT]))
    found: list[Difference] = []
    for group in (names, [INPUT]):
        if group:
            # A plain max() could lose a NaN.
            worst = max(group, key=lambda name: (np.isnan(apart[name]), apart[name]))
            found.append(_difference("gradients", process, first, apart[worst], largest_norm, worst))
    return found


def _worst(graph: Graph, theirs: Arrays, ours: Arrays, roles: frozenset[Any]) -> tuple[float, float, str]:
    """Return the largest difference, size and name of the array that differs most relative to its size."""
    import numpy as np

    variances = {p.node: ours[p.name] for p in graph.parameters() if p.role in VARIANCES and p.name in ours}
    found: list[tuple[float, float, str]] = []
    for parameter in graph.parameters():
        if parameter.role in roles and parameter.name in theirs.keys() & ours.keys():
            left, right = theirs[parameter.name], ours[parameter.name]
            size = float(np.abs(right).max())
            if not size and parameter.node in variances:
                # The mean may be zero up to rounding.
                size = float(np.abs(variances[parameter.node]).max()) ** 0.5
            found.append((largest_difference(left, right), size, parameter.name))
    return max(found, key=lambda item: (np.isnan(item[0]), ratio(item[0], item[1])))


def biased(graph: Graph, start: Arrays, after: Arrays, batch: int) -> dict[str, NDArray[Any]]:
    """Return arrays after one training batch as if the variance of the batch had been divided by n, not n - 1.

    Variances of a layer that is called on maps of several sizes, each with its own n, are left out.
    """
    arrays = dict(after)
    for parameter in graph.parameters():
        if parameter.role in VARIANCES:
            calls = [node for node in graph.nodes if node.layer == parameter.node]
            operation = calls[0].operation
            assert isinstance(operation, BatchNorm | PositionBatchNorm)  # noqa: S101 - no other operation has a variance
            n, *others = {values_normalized(graph, call, batch) for call in calls}
            if others:
                del arrays[parameter.name]
                continue
            kept = (1 - operation.momentum) ** len(calls) * start[parameter.name].astype("float64")
            arrays[parameter.name] = kept + (after[parameter.name] - kept) * (n - 1) / n
    return arrays


def _difference(
    quantity: Quantity, process: BackendProcess, first: BackendProcess, largest: float, size: float, subject: str
) -> Difference:
    allowed = structure_tolerance(size)
    return Difference(quantity, "float64", process.name, first.name, largest, allowed, size, subject)
