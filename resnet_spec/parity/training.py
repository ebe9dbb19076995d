"""Compare training in two backends: gradients, running statistics, and steps of an optimizer, all in float64.

The rates of dropout and stochastic depth are 0. The loss is half the mean squared difference of each output from random
targets, which is the same in every framework.

The distance that rounding explains is estimated as in ``rounding``, with float64's unit roundoff u: each backend trains
again with rounding noise (``perturbed_batches``), and its tolerance is ``ROUNDING_FACTOR`` times the largest distance
of ``RUNS`` such runs from its unperturbed run. A difference may be as large as the sum of both backends' tolerances,
which grow with the steps and with what training amplifies. Several runs are needed, since differences soon point along
the direction that training amplifies most, and a single run may start with little of that direction. Both backends are
perturbed, since the noise that remains where terms of a gradient cancel differs between backends, and Adam divides by
its size.

Distances and tolerances are absolute. Gradients and statistics are compared with ``RELATIVE_TOLERANCE`` times the size
of the reference. If the size is zero, the other backend's values must be zero too; for a running mean, which may be
zero up to rounding, the size is the standard deviation of the layer's values instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.backend.optimizers import SGD, AdamW, Optimizer
from resnet_spec.errors import SpecError
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import (
    BIASES,
    OFFSETS,
    STATISTICS,
    VARIANCES,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    FilterResponseNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Linear,
    Mean,
    Offset,
    PositionBatchNorm,
    Role,
    Scale,
    StdConv,
)
from resnet_spec.operations.windows import is_unpadded
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.plan import UPDATE, Plan, U, all_terms, random_batch
from resnet_spec.parity.process import BackendProcess, Progress
from resnet_spec.parity.randomization import undropped
from resnet_spec.parity.report import Difference, Quantity, largest_difference, ratio
from resnet_spec.parity.rounding import ROUNDING_FACTOR, SMALLEST, structure_tolerance
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

        Raises SpecError for a batch that leaves a normalization one value per channel, which has no variance.
        """
        graph = undropped(graph)
        check_batch(graph, plan.batch)
        self._weights = self._files.new("training.safetensors")
        write_safetensors(self._weights, arrays)
        self._progress(f"{graph.name}: gradients")
        found = self._gradients(graph, arrays, plan, exact=False)
        if any(parameter.role in VARIANCES for parameter in graph.parameters()):
            found += self._gradients(graph, arrays, plan, exact=True)
        trains = plan.steps and any(parameter.trainable for parameter in graph.parameters())
        for optimizer in optimizers if trains else ():
            self._progress(f"{graph.name}: {plan.steps} steps of {optimizer.kind}")
            found += self._steps(graph, arrays, plan, optimizer)
        return found

    def _gradients(self, graph: Graph, arrays: Arrays, plan: Plan, *, exact: bool) -> list[Difference]:
        images, targets = random_batch(graph, plan.batch, plan.seed)
        for process in self._processes:
            process.load(graph, self._weights, "float64", exact_statistics=exact)
            process.gradients(images, targets)
        results = [(process.gradients_found(), process.arrays_after()) for process in self._processes]
        first, *others = self._processes
        ((loss, gradients), after), *rest = results
        found: list[Difference] = []
        for process, ((other_loss, other_gradients), other_after) in zip(others, rest, strict=True):
            if not exact:
                found.append(_difference("losses", process, first, abs(other_loss - loss), abs(loss), "first loss"))
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

    def _steps(self, graph: Graph, arrays: Arrays, plan: Plan, optimizer: Optimizer) -> list[Difference]:
        import numpy as np

        names = trainable_parameters(graph)
        runs = self._trained(graph, plan, optimizer)
        errors = [np.zeros(2) for _ in runs]
        for draw in range(RUNS):
            moved = self._trained(graph, plan, optimizer, draw)
            for run, own, error in zip(moved, runs, errors, strict=True):
                # np.maximum propagates NaN.
                np.maximum(error, run.distance(own, names), out=error)
        sizes = [run.sizes(arrays, names) for run in runs]
        tolerances = [
            ROUNDING_FACTOR * (error + _floors(graph, plan, arrays, size, names)) * _to_scale(sizes[0], size)
            + SMALLEST["float64"]
            for size, error in zip(sizes, errors, strict=True)
        ]
        first, *others = self._processes
        quantities: tuple[Quantity, Quantity] = ("losses", "weights")
        subject = f"{plan.steps} steps of {optimizer.kind}"
        found: list[Difference] = []
        for process, run, tolerance in zip(others, runs[1:], tolerances[1:], strict=True):
            figures = run.distance(runs[0], names), tolerances[0] + tolerance, sizes[0]
            for quantity, largest, allowed, size in zip(quantities, *map(np.ndarray.tolist, figures), strict=True):
                found.append(Difference(quantity, "float64", process.name, first.name, largest, allowed, size, subject))
        return found

    def _trained(self, graph: Graph, plan: Plan, optimizer: Optimizer, draw: int | None = None) -> list[_Run]:
        """Train all backends at once, and return their runs."""
        for process in self._processes:
            process.load(graph, self._weights, "float64", exact_statistics=True)
            process.train(optimizer, plan, draw)
        return [_Run.of(process) for process in self._processes]


class _Run(NamedTuple):
    losses: NDArray[np.float64]
    arrays: Arrays

    @classmethod
    def of(cls, process: BackendProcess) -> _Run:
        """Wait for a process that was asked to train."""
        import numpy as np

        return cls(np.array(process.wait()["losses"]), process.arrays_after())

    def distance(self, other: _Run, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the largest difference of two runs' losses, and the Euclidean distance of their weights."""
        import numpy as np

        with np.errstate(invalid="ignore"):
            largest = float(np.abs(self.losses - other.losses).max())
            apart = _norm({name: self.arrays[name] - other.arrays[name] for name in names})
        return np.array([largest, apart])

    def sizes(self, start: Arrays, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the sizes of both: the largest loss, and the distance the weights moved, or if zero their norm."""
        import numpy as np

        moved = _norm({name: self.arrays[name] - start[name] for name in names})
        return np.array([float(np.abs(self.losses).max()), moved or _norm({name: start[name] for name in names})])


def _norm(arrays: Arrays) -> float:
    import numpy as np

    return sum(float(np.square(array).sum()) for array in arrays.values()) ** 0.5


def _to_scale(reference: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factor that scales a run's tolerance to the reference's size, so that a diverging run gets no more."""
    import numpy as np

    return np.divide(reference, own, out=np.ones_like(own), where=(reference > 0) & (own > 0) & np.isfinite(own))


def _floors(
    graph: Graph, plan: Plan, start: Arrays, sizes: NDArray[np.float64], names: Sequence[str]
) -> NDArray[np.float64]:
    """Return the least rounding errors of losses and weights, as if training amplified nothing.

    Random noise averages out in a sum of many values, but the rounding of a sum of positive values does not: it is up
    to √k · u of the sum. Losses and gradients are such sums over the whole network; a loss also sums n squares of
    differences and is divided by n. A weight is rounded ``UPDATE`` times in each step.
    """
    import numpy as np

    terms = all_terms(graph, plan.batch)
    values = plan.batch * sum(prod(graph.by_name[name].shape) for name in graph.outputs)
    update = (UPDATE * plan.steps) ** 0.5 * _norm({name: start[name] for name in names})
    return U * (np.array([(terms + values + 3) ** 0.5, terms**0.5]) * sizes + np.array([0.0, update]))


def check_batch(graph: Graph, batch: int) -> None:
    """Raise SpecError for a batch that leaves a normalization one value per channel, which has no variance."""
    for node in graph.nodes:
        if isinstance(node.operation, BatchNorm | PositionBatchNorm) and _values(graph, node, batch) < 2:
            raise SpecError(
                f"a training batch of {batch} leaves {node.name} one value to normalize by;"
                " compare training with a batch of 2 or more"
            )


def _values(graph: Graph, node: Node, batch: int) -> int:
    """Return the number of values from which each statistic of a normalization is computed."""
    return batch * (prod(graph.input_shapes(node)[0][1:]) if node.operation.op == "batch_norm" else 1)


def trainable_parameters(graph: Graph) -> list[str]:
    """Return the trainable parameters without those of ``zero_gradient_biases``."""
    without = zero_gradient_biases(graph)
    return [p.name for p in graph.parameters() if p.trainable and p.name not in without]


def zero_gradient_biases(graph: Graph) -> set[str]:
    """Return biases and offsets of layers whose values all lead to normalizations of single channels.

    The normalizations subtract them again, so that their gradient in training mode is 0; the computed gradient is
    noise, which Adam would amplify.
    """
    users: dict[str, list[Node]] = {name: [] for name in (INPUT, *graph.by_name)}
    for node in graph.nodes:
        for name in node.inputs:
            users[name].append(node)
    subtracted: dict[str, bool] = {}
    for node in reversed(graph.nodes):
        subtracted[node.name] = node.name not in graph.outputs and all(
            _subtracts_shifts(user) or (_keeps_shifts(user) and subtracted[user.name]) for user in users[node.name]
        )
    return {
        parameter.name
        for parameter in graph.parameters()
        if parameter.role in _SHIFTS
        and all(
            subtracted[call.name] and _shifts_channels(call) for call in graph.nodes if call.layer == parameter.node
        )
    }


_SHIFTS = BIASES | OFFSETS | {Role.LEARNED_OFFSET}


def _shifts_channels(node: Node) -> bool:
    """Whether a bias or offset of a layer shifts whole channels of its value."""
    match node.operation:
        case FilterResponseNorm() | PositionBatchNorm():
            return False
        case Linear():
            return len(node.shape) == 1
        case LayerNorm():
            return node.operation.axis == 0
        case Offset():
            return node.operation.shape != "map"
        case _:
            return True


def _subtracts_shifts(node: Node) -> bool:
    """Whether a normalization subtracts the mean of each channel."""
    operation = node.operation
    if isinstance(operation, GroupNorm):
        return operation.groups == node.shape[0]
    if isinstance(operation, LayerNorm):
        return operation.axis != 0
    return isinstance(operation, BatchNorm | PositionBatchNorm | InstanceNorm)


def _keeps_shifts(node: Node) -> bool:
    """Whether a shift of a channel of the input is a shift of the channels of the result, at every position."""
    operation = node.operation
    match operation.op:
        case (
            "add"
            | "subtract"
            | "slice"
            | "resize"
            | "max_pool1d"
            | "max_pool2d"
            | "max_pool3d"
            | "global_avg_pool"
            | "global_max_pool"
            | "dropout"
            | "stochastic_depth"
        ):
            return True
        case "flatten" | "linear":
            # The features of a vector are its channels.
            return len(node.shape) == 1
        case "scale" | "offset":
            assert isinstance(operation, Scale | Offset)  # noqa: S101 - by its name
            return operation.op == "offset" or operation.shape != "map"
        case "avg_pool1d" | "avg_pool2d" | "avg_pool3d":
            assert isinstance(operation, AvgPool)  # noqa: S101 - by its name
            return is_unpadded(operation.padding) or not operation.count_include_pad
        case "conv1d" | "conv2d" | "conv3d" | "std_conv2d":
            assert isinstance(operation, Conv | StdConv)  # noqa: S101 - by its name
            return is_unpadded(operation.padding)
        case "mean":
            assert isinstance(operation, Mean)  # noqa: S101 - by its name
            return 0 not in operation.axis
        case "concat":
            assert isinstance(operation, Concat)  # noqa: S101 - by its name
            return operation.axis == 0
        case _:
            return False


def _gradient_differences(
    graph: Graph, process: BackendProcess, first: BackendProcess, theirs: Arrays, ours: Arrays
) -> list[Difference]:
    """Return the largest difference of parameters' gradients, and that of the input's; sizes are the largest norm."""
    import numpy as np

    names = trainable_parameters(graph)
    largest_norm = max((float(np.linalg.norm(ours[name])) for name in names), default=0.0)
    apart = {name: float(np.linalg.norm(theirs[name] - ours[name])) for name in (*names, INPUT)}
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
            n, *others = {_values(graph, call, batch) for call in calls}
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
