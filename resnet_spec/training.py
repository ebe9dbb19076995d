"""Do two backends train alike? Gradients, running statistics, and some steps of an optimiser, all in float64.

Nothing is dropped at random: the rates of dropout and stochastic depth are 0. The loss is half the mean square of the
logits less random targets, which means the same in every framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.checkpoints.safetensors_files import write_safetensors
from resnet_spec.comparison import Difference, Quantity, ratio
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import BIASES, STATISTICS, VARIANCES, BatchNorm, PositionBatchNorm
from resnet_spec.optimizers import SGD, AdamW, Optimizer
from resnet_spec.processes import BackendProcess, Progress
from resnet_spec.randomization import random_images, undropped
from resnet_spec.rounding import CONFIDENCE, STRUCTURE, UNIT, jittered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backends import Backend, Batch

    Arrays = Mapping[str, NDArray[Any]]

OPTIMIZERS: tuple[Optimizer, ...] = (SGD(), AdamW())


class Plan(NamedTuple):
    """How many steps are taken, and from which random images and targets."""

    steps: int
    batch: int
    seed: int


def batches(backend: Backend, model: Any, graph: Graph, plan: Plan, *, jitter: bool) -> Iterator[Batch]:
    """A batch a step, drawn from the plan's seed.

    With ``jitter`` every parameter is moved before each step, and the images with them, by what the roundings of the
    layer in float64 may do: the run beside an undisturbed one that shows how far rounding alone takes training.
    """
    import numpy as np

    logits = graph.by_name[graph.outputs[-1]].shape
    generator = np.random.default_rng([plan.seed, 3])
    for step in range(plan.steps):
        images, targets = random_batch(graph, plan.batch, plan.seed + step, logits)
        if jitter:
            images = jittered(images, 1, generator, UNIT["float64"])
            held = backend.arrays(model, graph)
            backend.load(model, graph, _moved(graph, held, generator))
        yield images, targets


def random_batch(graph: Graph, batch: int, seed: int, logits: Sequence[int]) -> Batch:
    """Images, and targets of the logits' shape."""
    return random_images((batch, *graph.input.shape), seed), random_images((batch, *logits), seed + 10**6)


def _moved(graph: Graph, arrays: Arrays, generator: Any) -> dict[str, NDArray[Any]]:
    moved: dict[str, NDArray[Any]] = {}
    for parameter in graph.parameters():
        node = graph.by_name[parameter.node]
        count = node.operation.roundings(*graph.input_shapes(node))
        moved[parameter.name] = jittered(arrays[parameter.name], count, generator, UNIT["float64"])
    return moved


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
        """Every difference in gradients, statistics and training; see the module."""
        graph = undropped(graph)
        write_safetensors(self._weights, arrays)
        self._progress(f"{graph.name}: gradients")
        found = self._gradients(graph, arrays, plan, exact=False)
        if any(parameter.role in VARIANCES for parameter in graph.parameters()):
            found += self._gradients(graph, arrays, plan, exact=True)
        for optimizer in optimizers if plan.steps else ():
            self._progress(f"{graph.name}: {plan.steps} steps of {optimizer.kind}")
            found += self._steps(graph, arrays, plan, optimizer)
        return found

    def _gradients(self, graph: Graph, arrays: Arrays, plan: Plan, *, exact: bool) -> list[Difference]:
        logits = graph.by_name[graph.outputs[-1]].shape
        images, targets = random_batch(graph, plan.batch, plan.seed, logits)
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
        """Running statistics after a step, each variance first made the biased one by (n-1)/n."""
        if not any(parameter.role in STATISTICS for parameter in graph.parameters()):
            return []
        biased = [
            _biased(graph, start, after, batch) if side.running_variance == "unbiased" else dict(after)
            for side, after in ((process, theirs), (first, ours))
        ]
        largest, size, name = _worst(graph, biased[0], biased[1], STATISTICS)
        return [_difference("statistics", process, first, largest, size, name)]

    def _steps(self, graph: Graph, arrays: Arrays, plan: Plan, optimizer: Optimizer) -> list[Difference]:
        first, *others = self._processes
        for process in self._processes:
            process.load(graph, self._weights, "float64", exact_statistics=True)
            process.train(optimizer, plan)
        runs = [_Run(process.wait()["losses"], process.arrays_after()) for process in self._processes]
        # The reference once more, disturbed as rounding may disturb it.
        first.load(graph, self._weights, "float64", exact_statistics=True)
        first.train(optimizer, plan, jitter=True)
        disturbed = _Run(first.wait()["losses"], first.arrays_after())
        kept = moving(graph)
        bounds = [CONFIDENCE * reach for reach in disturbed.distance(runs[0], arrays, kept)]
        found: list[Difference] = []
        for process, run in zip(others, runs[1:], strict=True):
            quantities: tuple[Quantity, Quantity] = ("losses", "weights")
            for quantity, relative, bound in zip(quantities, run.distance(runs[0], arrays, kept), bounds, strict=True):
                subject = f"{plan.steps} steps of {optimizer.kind}"
                found.append(
                    Difference(quantity, "float64", process.name, first.name, relative, relative, bound, subject)
                )
        return found


class _Run(NamedTuple):
    losses: list[float]
    arrays: Arrays

    def distance(self, other: _Run, start: Arrays, names: Sequence[str]) -> tuple[float, float]:
        """How far apart two runs are: the largest difference of losses over the largest loss, and the Euclidean
        distance of their weights over how far the weights have come."""
        import numpy as np

        losses = [np.array(run.losses) for run in (self, other)]
        apart = sum(float(np.square(self.arrays[name] - other.arrays[name]).sum()) for name in names)
        travelled = sum(float(np.square(other.arrays[name] - start[name]).sum()) for name in names)
        largest = float(np.abs(losses[0] - losses[1]).max())
        return ratio(largest, float(np.abs(losses[1]).max())), ratio(apart**0.5, travelled**0.5)


def moving(graph: Graph) -> list[str]:
    """The trainable parameters whose gradient is not 0 for a reason: see ``moot_biases``."""
    moot = moot_biases(graph)
    return [p.name for p in graph.parameters() if p.trainable and p.name not in moot]


def moot_biases(graph: Graph) -> set[str]:
    """Biases of layers whose values nothing but batch normalisations take, which subtract them again.

    Their gradient in training mode is 0; what is computed is noise, which Adam would amplify.
    """
    users: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    moot: set[str] = set()
    for parameter in graph.parameters():
        if parameter.role in BIASES:
            calls = [node for node in graph.nodes if node.layer == parameter.node]
            takers = [user for call in calls for user in users.get(call.name, [])]
            kept = any(call.name in graph.outputs for call in calls)
            if not kept and all(isinstance(taker.operation, BatchNorm | PositionBatchNorm) for taker in takers):
                moot.add(parameter.name)
    return moot


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


def _biased(graph: Graph, start: Arrays, after: Arrays, batch: int) -> dict[str, NDArray[Any]]:
    """Arrays after one training batch, as they were if the variance of the batch had been divided by n, not n - 1."""
    arrays = dict(after)
    for parameter in graph.parameters():
        if parameter.role in VARIANCES:
            calls = [node for node in graph.nodes if node.layer == parameter.node]
            operation = calls[0].operation
            assert isinstance(operation, BatchNorm | PositionBatchNorm)  # noqa: S101 - who else has a variance
            sizes = {
                batch * (prod(graph.input_shapes(c)[0][1:]) if c.operation.op == "batch_norm" else 1) for c in calls
            }
            if len(sizes) > 1:
                del arrays[parameter.name]  # each call's batch had a size of its own
                continue
            (n,) = sizes
            kept = (1 - operation.momentum) ** len(calls) * start[parameter.name].astype("float64")
            arrays[parameter.name] = kept + (after[parameter.name] - kept) * (n - 1) / n
    return arrays


def _difference(
    quantity: Quantity, process: BackendProcess, first: BackendProcess, largest: float, size: float, subject: str
) -> Difference:
    return Difference(quantity, "float64", process.name, first.name, largest, ratio(largest, size), STRUCTURE, subject)
