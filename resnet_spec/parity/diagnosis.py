"""Explain why a node differs: compute it again in the reference under each hypothesis, a mistake that ports often make.

A hypothesis under which the difference vanishes is a confirmed cause. Several hypotheses may give the same result for
this input; then all of them are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, cast

from resnet_spec import operations as ops
from resnet_spec.errors import BackendError, GraphError
from resnet_spec.graph import INPUT, Graph, Input, Node, parameter_name
from resnet_spec.operations.fields import Shape, ShapeError
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.hypotheses import Trial, join_formula, trials_of
from resnet_spec.parity.precision import PRECISIONS, bfloat16, float16
from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.report import Difference, largest_difference, root_mean_square
from resnet_spec.parity.rounding import RELATIVE_TOLERANCE
from resnet_spec.weights.formats.safetensors import write_safetensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import DType

Array = Any
Arrays = Mapping[str, Array]

VANISHES = 1e-4
"""The largest part of a difference that may remain under a confirmed hypothesis."""

REWIRINGS = 12
"""Other values of the same shape that are tried in place of an input, the nearest first."""

OTHER_LAYERS = 12
"""Other layers whose parameters are tried in place of a layer's own, the nearest first."""


class Explainer:
    """Computes hypotheses in a running backend."""

    def __init__(self, process: BackendProcess, files: Scratch) -> None:
        self._process = process
        self._files = files

    def explain(
        self,
        graph: Graph,
        node: Node,
        arrays: Arrays,
        inputs: list[NDArray[Any]],
        exact: NDArray[Any],
        observed: NDArray[Any],
        difference: Difference,
    ) -> tuple[tuple[str, ...], int]:
        """Return the confirmed causes of a node's ``observed`` value, and how many were tried.

        ``exact`` is the correct value. For a float32 difference the inputs are rounded to float32.
        """
        shapes = graph.input_shapes(node)
        names = {slot.name: node.parameter_name(slot.name) for slot in node.operation.parameters(*shapes)}
        own = {slot: arrays[name] for slot, name in names.items()}
        dtype = cast("DType", difference.dtype)
        given = [value.astype(dtype).astype("float64") for value in inputs]
        causes: list[str] = []
        tried = 0
        tolerance = _tolerance(exact, observed, difference.allowed)
        for trials in rounds(graph, node, arrays, dtype):
            for trial in trials:
                tried += 1
                result = self._result(node, own, given, exact, trial)
                if result is not None and largest_difference(result, observed) <= tolerance < inf:
                    causes.append(trial.cause)
            if causes:
                break
        else:
            seen = [
                cause for cause, is_visible in _VISIBLE_CAUSES.items() if is_visible(node.operation, exact, observed)
            ]
            return tuple(seen), tried + len(_VISIBLE_CAUSES)
        return tuple(causes), tried

    def _result(
        self,
        node: Node,
        own: dict[str, Array],
        inputs: list[Array],
        exact: Array,
        trial: Trial,
    ) -> Array | None:
        """Return the node's value under a trial; None if the trial does not apply to it."""
        try:
            if trial.only_after:
                return trial.after(exact)
            given = [trial.inputs(value) for value in inputs]
            parameters = trial.parameters({name: array.astype("float64") for name, array in own.items()})
            if trial.formula is not None:
                return trial.after(trial.formula(given, parameters))
            if node.operation.joins:
                return trial.after(join_formula(node.operation)(given))
            # A trial may have padded its input.
            network = _single_node(node, trial.operation or node.operation, given[0].shape[1:])
            images = given[0].reshape(len(given[0]), *network.input.shape)
            weights = self._files.new("trial.safetensors")
            arrays = {parameter_name(node.name, name): value for name, value in parameters.items()}
            write_safetensors(weights, arrays)
            self._process.load(network, weights, "float64")
            self._process.forward(images, "float64")
            return trial.after(self._process.outputs()[-1])
        except (BackendError, GraphError, ShapeError, ValueError):
            return None


def _tolerance(exact: Array, observed: Array, allowed: float) -> float:
    """Return how far the result of a confirmed hypothesis may be from the observed value."""
    if observed.shape != exact.shape:
        return RELATIVE_TOLERANCE * root_mean_square(observed)
    return max(allowed, VANISHES * largest_difference(observed, exact))


def _single_node(node: Node, operation: ops.AnyOperation, shape: Shape) -> Graph:
    """Return a network of one node; raises GraphError or ShapeError if the operation does not fit its input."""
    changed = Node(name=node.name, operation=operation, inputs=(INPUT,), shape=operation.output_shape(shape))
    return Graph(name="trial", input=Input.of(shape), nodes=(changed,), outputs=(node.name,))


# ---------------------------------------------------------------------------------------------------------------
# Trials


def rounds(graph: Graph, node: Node, arrays: Arrays, dtype: DType) -> Iterator[list[Trial]]:
    """Yield lists of trials; each list is tried only if no trial of the lists before it explains the difference.

    A float32 difference is explained by lower precisions only. A float64 difference is explained by the hypotheses of
    the operation, then by the parameters of other layers, then by lower precisions.
    """
    if dtype == "float64":
        yield trials_of(node.operation, graph.input_shapes(node))
        yield list(_other_parameters(graph, node, arrays))
    yield list(_precisions(node.operation.parameters(*graph.input_shapes(node))))


def _other_parameters(graph: Graph, node: Node, arrays: Arrays) -> Iterator[Trial]:
    """Yield the node with all or some parameters of other layers with the same operation and shapes."""
    slots = node.operation.parameters(*graph.input_shapes(node))
    names = [slot.name for slot in slots]
    if not slots:
        return
    replaced = {"the parameters": names}
    if len(slots) > 1:
        replaced |= {f"the {_WORDS.get(slot.role, slot.name)}": [slot.name] for slot in slots}
    statistics = [slot.name for slot in slots if slot.role in ops.STATISTICS]
    replaced |= {"the statistics": statistics} if statistics else {}
    for other in _similar_layers(graph, node):
        for words, taken in replaced.items():
            theirs = {name: arrays[other.parameter_name(name)].astype("float64") for name in taken}
            yield Trial(f"{words} of {other.name}", parameters=lambda own, theirs=theirs: {**own, **theirs})


_WORDS = {ops.Role.NORM_SCALE: "scale", ops.Role.NORM_OFFSET: "offset", ops.Role.CONV_KERNEL: "kernel"}


def _similar_layers(graph: Graph, node: Node) -> list[Node]:
    """Return the other layers with parameters of the same names and shapes, the nearest first."""
    slots = node.operation.parameters(*graph.input_shapes(node))
    layers = [other for other in graph.layers if other.operation.op == node.operation.op]
    position = next(index for index, other in enumerate(layers) if other.name == node.layer)
    nearest = sorted(range(len(layers)), key=lambda index: abs(index - position))
    others = [layers[index] for index in nearest if index != position]
    alike = [other for other in others if other.operation.parameters(*graph.input_shapes(other)) == slots]
    return alike[:OTHER_LAYERS]


def _precisions(slots: Sequence[ops.ParameterSlot]) -> Iterator[Trial]:
    """Yield the node in float64 with its inputs, its parameters or both rounded to a lower precision."""
    every = {slot.name for slot in slots}
    # A product in a lower precision does not round the bias.
    kernel = {slot.name for slot in slots if slot.role in ops.KERNELS}
    parts = {"weights": every, "kernel": kernel if kernel != every else set[str]()}
    for name, round_to in PRECISIONS.items():
        yield Trial(f"inputs in {name}", inputs=round_to)
        for words, names in parts.items():
            if names:
                narrow = _with_rounded(round_to, names)
                yield Trial(f"{words} in {name}", parameters=narrow)
                yield Trial(f"{words} and inputs in {name}", parameters=narrow, inputs=round_to)
        yield Trial(f"the result in {name}", after=round_to)


def _with_rounded(round_to: Callable[[Array], Array], names: set[str]) -> Callable[[dict[str, Array]], Arrays]:
    return lambda own: {name: round_to(value) if name in names else value for name, value in own.items()}


# ---------------------------------------------------------------------------------------------------------------
# Causes that need no trial


def _fits_float32(operation: ops.AnyOperation, exact: Array, observed: Array) -> bool:
    """Whether float32 represents every float64 value exactly, which is very unlikely by chance."""

    def fits(value: Array) -> bool:
        return bool((value.astype("float32") == value).all())

    return observed.dtype == "float64" and fits(observed) and not fits(exact)


def _fits(round_to: Callable[[Array], Array]) -> Callable[[ops.AnyOperation, Array, Array], bool]:
    """Return whether a lower precision represents every float32 value exactly."""

    def fits(operation: ops.AnyOperation, exact: Array, observed: Array) -> bool:
        if observed.dtype != "float32":
            return False
        wide = observed.astype("float64")
        return bool((round_to(wide) == wide).all()) and not bool((round_to(exact) == exact).all())

    return fits


def _has_dropped_elements(operation: ops.AnyOperation, exact: Array, observed: Array) -> bool:
    """Whether each element is either 0 or scaled as dropout scales the elements that it keeps."""
    if not isinstance(operation, ops.Dropout | ops.StochasticDepth) or observed.shape != exact.shape:
        return False
    kept = exact / (1 - operation.rate)
    return bool(((observed == 0) | (abs(observed - kept) <= VANISHES * abs(kept))).all())


_VISIBLE_CAUSES: dict[str, Callable[[ops.AnyOperation, Array, Array], bool]] = {
    "it is computed in float32": _fits_float32,
    "the result in float16": _fits(float16),
    "the result in bfloat16": _fits(bfloat16),
    "elements are dropped at random, as in training": _has_dropped_elements,
}
"""Causes that are visible in the observed value."""


# ---------------------------------------------------------------------------------------------------------------
# Other connections


def rewirings(graph: Graph, node: Node) -> list[tuple[str, Graph]]:
    """Return graphs in which an input of a node is another value of the same shape: the nearest nodes before it."""
    names = [other.name for other in graph.nodes]
    before = [INPUT, *names[: names.index(node.name)]]
    found: list[tuple[str, Graph]] = []
    for position, given in enumerate(node.inputs):
        shape = graph.input.shape if given == INPUT else graph.by_name[given].shape
        alike = [
            name
            for name in reversed(before)
            if name not in node.inputs and (graph.input.shape if name == INPUT else graph.by_name[name].shape) == shape
        ]
        for name in alike[:REWIRINGS]:
            inputs = tuple(name if index == position else old for index, old in enumerate(node.inputs))
            found.append((f"its input is {name} instead of {given}", _rewired(graph, node, inputs)))
    if len(node.inputs) == 2 and node.operation.op != "add":
        found.append(("its inputs are swapped", _rewired(graph, node, node.inputs[::-1])))
    return found


def _rewired(graph: Graph, node: Node, inputs: tuple[str, ...]) -> Graph:
    nodes = tuple(n.model_copy(update={"inputs": inputs}) if n.name == node.name else n for n in graph.nodes)
    # Only up to the node: a graph must not have nodes that nothing uses.
    fields: dict[str, Any] = {name: getattr(graph, name) for name in Graph.model_fields}
    fields["nodes"] = nodes
    return Graph.model_construct(**fields).with_outputs([node.name])
