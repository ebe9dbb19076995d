"""Do two backends train alike? Gradients, running statistics, and some steps of an optimizer, all in float64.

Nothing is dropped at random: the rates of dropout and stochastic depth are 0. The loss is half the mean square of each
output less random targets, which means the same in every framework.

How far rounding alone takes two runs apart is computed as in ``rounding``, with float64's unit roundoff u: each backend
trains again, disturbed by what its roundings may do (``disturbed``), and ``CONFIDENCE`` times the largest distance of
``RUNS`` such runs from its undisturbed one is how far its roundings may take it; the bound is the sum of both's. It
grows with the steps and with whatever training amplifies. More than one run, since differences soon point along the
direction that training amplifies most, and how far a single one happens to go along it says little. Both backends,
since where terms cancel in a gradient the noise that is left is each one's own, and Adam divides by its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    AnyOperation,
    AvgPool2d,
    BatchNorm,
    FilterResponseNorm,
    GroupNorm,
    PositionBatchNorm,
)
from resnet_spec.operations.fields import UNPADDED
from resnet_spec.parity.process import BackendProcess, Progress
from resnet_spec.parity.randomization import random_images, undropped
from resnet_spec.parity.report import Difference, Quantity, ratio
from resnet_spec.parity.rounding import CONFIDENCE, STRUCTURE, UNIT, jittered
from resnet_spec.weights.formats.safetensors import write_safetensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import Backend, Batch

    Arrays = Mapping[str, NDArray[Any]]

OPTIMIZERS: tuple[Optimizer, ...] = (SGD(), AdamW())

RUNS = 3
"""Disturbed runs, of which the farthest counts. Along one direction, where distances fall like a normal distribution,
one run in 12 goes less than a tenth of a standard deviation; the farthest of three does so in one case of 2000."""

UPDATE = 2
"""Roundings of a weight in one step: of its decay, and of its sum with the step, which is smaller by far."""

U = UNIT["float64"]


class Plan(NamedTuple):
    """How many steps are taken, and from which random images and targets."""

    steps: int
    batch: int
    seed: int


def random_batch(graph: Graph, batch: int, seed: int) -> Batch:
    """Images, and targets of each output's shape."""
    targets = [
        random_images((batch, *graph.by_name[name].shape), seed + 10**6 * index)
        for index, name in enumerate(graph.outputs, start=1)
    ]
    return random_images((batch, *graph.input.shape), seed), targets


def batches(graph: Graph, plan: Plan) -> Iterator[Batch]:
    """A batch a step, drawn from the plan's seed."""
    for step in range(plan.steps):
        yield random_batch(graph, plan.batch, plan.seed + step)


def disturbed(backend: Backend, model: Any, graph: Graph, plan: Plan, draw: int) -> Iterator[Batch]:
    """The same batches, while what rounding in float64 may do is done to the model that takes them.

    For each step every parameter is moved at random by √k · u of itself, k the terms of its layer's sums, and the
    images by √K · u, K the terms of all sums forward and backward: what each adds on the way, added at the start, since
    the images move every value within the network. After the step the parameters are moved back, and by what rounds
    the update.
    """
    import numpy as np

    generator = np.random.default_rng([plan.seed, draw, 3])
    terms = _terms(graph)
    everywhere = all_terms(graph, plan.batch)
    for images, targets in batches(graph, plan):
        before = backend.arrays(model, graph)
        moved = {name: jittered(before[name], count, generator, U) for name, count in terms.items()}
        backend.load(model, graph, before | moved)
        yield jittered(images, everywhere, generator, U), targets
        after = backend.arrays(model, graph)
        steps = {name: before[name] + (after[name] - moved[name]) for name in terms}
        backend.load(model, graph, after | {n: jittered(w, UPDATE, generator, U) for n, w in steps.items()})


def _terms(graph: Graph) -> dict[str, int]:
    """The terms of the sums that each trainable parameter is part of, by its name."""
    found: dict[str, int] = {}
    for parameter in graph.parameters():
        if parameter.trainable:
            node = graph.by_name[parameter.node]
            found[parameter.name] = node.operation.roundings(*graph.input_shapes(node))
    return found


def all_terms(graph: Graph, batch: int) -> int:
    """The terms of each node's sum, and of its gradients' over images and positions, added up over the network."""
    return sum(
        node.operation.roundings(*graph.input_shapes(node)) + batch * prod(node.shape[1:]) for node in graph.nodes
    )


class TrainingComparison:
    """Training one graph in several running backends; the first is the reference."""

    def __init__(self, processes: Sequence[BackendProcess], folder: Path, progress: Progress) -> None:
        self._processes = processes
        self._weights = folder / "training.safetensors"
        self._progress = progress

    def run(
        self,
        graph: Graph,
        arrays: Arrays,
        *,
        plan: Plan,
        optimizers: Sequence[Optimizer] = OPTIMIZERS,
    ) -> list[Difference]:
        """Every difference in gradients, statistics and training; see the module.

        Raises SpecError where a batch leaves a normalization one value a channel, which has no variance.
        """
        graph = undropped(graph)
        check_batch(graph, plan.batch)
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
        """Running statistics after a step; where one side keeps unbiased variances, these made biased by (n-1)/n."""
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

        kept = moving(graph)
        runs = self._trained(graph, plan, optimizer)
        reaches = [np.zeros(2) for _ in runs]
        for draw in range(RUNS):
            moved = self._trained(graph, plan, optimizer, draw)
            for run, own, reach in zip(moved, runs, reaches, strict=True):
                # NaN stays.
                np.maximum(reach, run.distance(own, arrays, kept), out=reach)
        bounds = [
            CONFIDENCE * (reach + _floors(graph, plan, arrays, run, kept))
            for run, reach in zip(runs, reaches, strict=True)
        ]
        first, *others = self._processes
        quantities: tuple[Quantity, Quantity] = ("losses", "weights")
        subject = f"{plan.steps} steps of {optimizer.kind}"
        found: list[Difference] = []
        for process, run, bound in zip(others, runs[1:], bounds[1:], strict=True):
            both = bounds[0] + bound
            for quantity, relative, allowed in zip(
                quantities, run.distance(runs[0], arrays, kept).tolist(), both.tolist(), strict=True
            ):
                names = process.name, first.name
                found.append(Difference(quantity, "float64", *names, relative, relative, allowed, subject))
        return found

    def _trained(self, graph: Graph, plan: Plan, optimizer: Optimizer, draw: int | None = None) -> list[_Run]:
        """A run of each backend, all at once."""
        for process in self._processes:
            process.load(graph, self._weights, "float64", exact_statistics=True)
            process.train(optimizer, plan, draw)
        return [_Run.of(process) for process in self._processes]


class _Run(NamedTuple):
    losses: NDArray[np.float64]
    arrays: Arrays

    @classmethod
    def of(cls, process: BackendProcess) -> _Run:
        """What a process was asked to do, once it is done."""
        import numpy as np

        return cls(np.array(process.wait()["losses"]), process.arrays_after())

    def distance(self, other: _Run, start: Arrays, names: Sequence[str]) -> NDArray[np.float64]:
        """How far apart two runs are: the largest difference of losses over the largest loss, and the Euclidean
        distance of their weights over how far the other's have come."""
        import numpy as np

        largest = float(np.abs(self.losses - other.losses).max())
        apart = _norm({name: self.arrays[name] - other.arrays[name] for name in names})
        losses = ratio(largest, float(np.abs(other.losses).max()))
        return np.array([losses, ratio(apart, other.traveled(start, names))])

    def traveled(self, start: Arrays, names: Sequence[str]) -> float:
        """The Euclidean distance that the weights have come, or, where they have not moved, their own norm."""
        moved = _norm({name: self.arrays[name] - start[name] for name in names})
        return moved or _norm({name: start[name] for name in names})


def _norm(arrays: Arrays) -> float:
    import numpy as np

    return sum(float(np.square(array).sum()) for array in arrays.values()) ** 0.5


def _floors(graph: Graph, plan: Plan, start: Arrays, run: _Run, names: Sequence[str]) -> NDArray[np.float64]:
    """What rounding does to losses and weights at the least, in units of ``_Run.distance``, were nothing amplified.

    What is moved at random averages out in a sum of many values, but the rounding of a sum of positive ones does not:
    it is up to √k · u of it. A loss and a gradient are such sums of all that was before; a loss has its own, of n
    squares, too, each of a difference, and is divided by n. A weight is rounded in each step as ``UPDATE`` says.
    """
    import numpy as np

    terms = all_terms(graph, plan.batch)
    values = plan.batch * sum(prod(graph.by_name[name].shape) for name in graph.outputs)
    weights = _norm({name: start[name] for name in names})
    update = ratio((UPDATE * plan.steps) ** 0.5 * weights, run.traveled(start, names))
    return U * np.array([(terms + values + 3) ** 0.5, terms**0.5 + update])


def check_batch(graph: Graph, batch: int) -> None:
    """Refuse a batch that leaves a normalization one value a channel: no variance, and torch raises."""
    for node in graph.nodes:
        if isinstance(node.operation, BatchNorm | PositionBatchNorm) and _values(graph, node, batch) < 2:
            raise SpecError(
                f"a training batch of {batch} leaves {node.name} one value to normalize by;"
                " compare training with a batch of 2 or more"
            )


def _values(graph: Graph, node: Node, batch: int) -> int:
    """How many values each statistic of a normalization is taken from."""
    return batch * (prod(graph.input_shapes(node)[0][1:]) if node.operation.op == "batch_norm" else 1)


def moving(graph: Graph) -> list[str]:
    """The trainable parameters whose gradient is not 0 for a reason: see ``moot_biases``."""
    moot = moot_biases(graph)
    return [p.name for p in graph.parameters() if p.trainable and p.name not in moot]


def moot_biases(graph: Graph) -> set[str]:
    """Biases and offsets of layers whose values end in normalizations of each channel alone, which subtract them again.

    Their gradient in training mode is 0; what is computed is noise, which Adam would amplify.
    """
    users: dict[str, list[Node]] = {name: [] for name in (INPUT, *graph.by_name)}
    for node in graph.nodes:
        for name in node.inputs:
            users[name].append(node)
    subtracted: dict[str, bool] = {}
    for node in reversed(graph.nodes):
        subtracted[node.name] = node.name not in graph.outputs and all(
            _subtracts_shifts(user) or (_keeps_shifts(user.operation) and subtracted[user.name])
            for user in users[node.name]
        )
    return {
        parameter.name
        for parameter in graph.parameters()
        if parameter.role in _SHIFTS
        and all(
            subtracted[call.name] and not isinstance(call.operation, FilterResponseNorm | PositionBatchNorm)
            for call in graph.nodes
            if call.layer == parameter.node
        )
    }


_SHIFTS = BIASES | OFFSETS


def _subtracts_shifts(node: Node) -> bool:
    """Whether a normalization takes the mean of each channel by itself."""
    operation = node.operation
    if isinstance(operation, GroupNorm):
        return operation.groups == node.shape[0]
    return isinstance(operation, BatchNorm | PositionBatchNorm)


def _keeps_shifts(operation: AnyOperation) -> bool:
    """Whether adding a number to each channel of a map adds one to each channel of the result, at every position."""
    match operation.op:
        case "add" | "max_pool2d" | "global_avg_pool" | "global_max_pool" | "dropout" | "stochastic_depth":
            return True
        case "avg_pool2d":
            assert isinstance(operation, AvgPool2d)  # noqa: S101 - by its name
            return operation.padding == UNPADDED or not operation.count_include_pad
        case "conv2d" | "std_conv2d":
            return operation.padding == UNPADDED
        case _:
            return False


def _gradient_differences(
    graph: Graph, process: BackendProcess, first: BackendProcess, theirs: Arrays, ours: Arrays
) -> list[Difference]:
    """The parameter, and the input, whose gradients differ most, over the largest norm of a parameter's gradient."""
    import numpy as np

    names = moving(graph)
    largest_norm = max((float(np.linalg.norm(ours[name])) for name in names), default=0.0)
    apart = {name: float(np.linalg.norm(theirs[name] - ours[name])) for name in (*names, INPUT)}
    largest_norm = largest_norm or float(np.linalg.norm(ours[INPUT]))
    found: list[Difference] = []
    for group in (names, [INPUT]):
        if group:
            # Not max() alone: NaN must not be lost.
            worst = max(group, key=lambda name: (np.isnan(apart[name]), apart[name]))
            found.append(_difference("gradients", process, first, apart[worst], largest_norm, worst))
    return found


def _worst(graph: Graph, theirs: Arrays, ours: Arrays, roles: frozenset[Any]) -> tuple[float, float, str]:
    """The largest difference of an array over its own largest value: difference, largest value, name."""
    import numpy as np

    found: list[tuple[float, float, str]] = []
    for parameter in graph.parameters():
        if parameter.role in roles and parameter.name in theirs.keys() & ours.keys():
            left, right = theirs[parameter.name], ours[parameter.name]
            found.append((float(np.abs(left - right).max()), float(np.abs(right).max()), parameter.name))
    return max(found, key=lambda item: (np.isnan(item[0]), ratio(item[0], item[1])))


def biased(graph: Graph, start: Arrays, after: Arrays, batch: int) -> dict[str, NDArray[Any]]:
    """Arrays after one training batch, as they were if the variance of the batch had been divided by n, not n - 1.

    Without the variances of a layer that is called on maps of several sizes, each with an n of its own.
    """
    arrays = dict(after)
    for parameter in graph.parameters():
        if parameter.role in VARIANCES:
            calls = [node for node in graph.nodes if node.layer == parameter.node]
            operation = calls[0].operation
            assert isinstance(operation, BatchNorm | PositionBatchNorm)  # noqa: S101 - who else has a variance
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
    return Difference(quantity, "float64", process.name, first.name, largest, ratio(largest, size), STRUCTURE, subject)
