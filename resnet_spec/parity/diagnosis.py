"""Why a node differs: it is computed again in the reference under each hypothesis, a change that ports often make.

A hypothesis under which the difference vanishes is the cause; where two explain it, they cannot be told apart under
this input, and both are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from resnet_spec import operations as ops
from resnet_spec.errors import BackendError, GraphError
from resnet_spec.graph import INPUT, Graph, Input, Node
from resnet_spec.operations.fields import Shape, ShapeError
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.hypotheses import JOINS, Trial, trials_of
from resnet_spec.parity.precision import PRECISIONS, bfloat16, float16
from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.report import Difference, largest_difference, root_mean_square
from resnet_spec.parity.rounding import STRUCTURE
from resnet_spec.weights.formats.safetensors import write_safetensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import DType

Array = Any
Arrays = Mapping[str, Array]

VANISHES = 1e-4
"""The part of a difference that remains, at most, where a hypothesis explains it."""

REWIRINGS = 12
"""How many other values of the same shape are tried in place of an input, the nearest first."""

ELSEWHERE = 12
"""How many other layers' parameters are tried in place of a layer's own, the nearest first."""


class Explainer:
    """A running backend in which changed nodes are computed."""

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
        """The causes that explain what a backend made of a node, and how many were tried.

        ``exact`` is what it should have made. In float32 the inputs are taken as that holds them.
        """
        shapes = graph.input_shapes(node)
        own = {slot.name: arrays[f"{node.layer}.{slot.name}"] for slot in node.operation.parameters(*shapes)}
        dtype = difference.dtype
        given = [value.astype(dtype).astype("float64") for value in inputs]
        causes: list[str] = []
        tried = 0
        left = _unexplained(exact, observed, difference.allowed)
        for trials in rounds(graph, node, arrays, dtype):
            for trial in trials:
                tried += 1
                result = self._result(node, own, given, exact, trial)
                if result is not None and largest_difference(result, observed) <= left < inf:
                    causes.append(trial.cause)
            if causes:
                break
        else:
            seen = [cause for cause, is_so in _LOOKS.items() if is_so(node.operation, exact, observed)]
            return tuple(seen), tried + len(_LOOKS)
        return tuple(causes), tried

    def _result(
        self,
        node: Node,
        own: dict[str, Array],
        inputs: list[Array],
        exact: Array,
        trial: Trial,
    ) -> Array | None:
        """What a trial makes of a node; None where the trial does not suit it."""
        try:
            if trial.only_after:
                return trial.after(exact)
            given = [trial.inputs(value) for value in inputs]
            parameters = trial.parameters({name: array.astype("float64") for name, array in own.items()})
            formula = trial.formula or JOINS.get(node.operation.op)
            if formula is not None:
                return trial.after(formula(given, parameters))
            # A trial may have padded its input.
            alone = _alone(node, trial.operation or node.operation, given[0].shape[1:])
            images = given[0].reshape(len(given[0]), *alone.input.shape)
            weights = self._files.new("trial.safetensors")
            write_safetensors(weights, {f"{node.name}.{name}": value for name, value in parameters.items()})
            self._process.load(alone, weights, "float64")
            self._process.forward(images, "float64")
            return trial.after(self._process.outputs()[-1])
        except (BackendError, GraphError, ShapeError, ValueError):
            return None


def _unexplained(exact: Array, observed: Array, allowed: float) -> float:
    """How far from the observed value the result of a hypothesis may be that explains it."""
    if observed.shape != exact.shape:
        return STRUCTURE * root_mean_square(observed)
    return max(allowed, VANISHES * largest_difference(observed, exact))


def _alone(node: Node, operation: ops.AnyOperation, shape: Shape) -> Graph:
    """A network of one node; raises GraphError or ShapeError where the operation does not fit its input."""
    before: list[Node] = []
    if len(shape) == 1:
        given = Input(features=shape[0])
    elif len(shape) == 3:
        given = Input(channels=shape[0], height=shape[1], width=shape[2])
    else:
        given = Input(features=shape[0] * shape[1])
        before = [Node(name="given", operation=ops.Reshape(op="reshape", shape=shape), inputs=(INPUT,), shape=shape)]
    source = before[0].name if before else INPUT
    changed = Node(name=node.name, operation=operation, inputs=(source,), shape=operation.output_shape(shape))
    return Graph(name="trial", input=given, nodes=(*before, changed), outputs=(node.name,))


# ---------------------------------------------------------------------------------------------------------------
# Trials


def rounds(graph: Graph, node: Node, arrays: Arrays, dtype: DType) -> Iterator[list[Trial]]:
    """What is tried for a node, each list where none of the last explains it: in float32 other precisions, which
    float64 cannot show, else other networks, then the parameters of other layers, then other precisions too."""
    if dtype == "float64":
        yield trials_of(node.operation, graph.input_shapes(node))
        yield list(_from_elsewhere(graph, node, arrays))
    yield list(_precisions(node.operation.parameters(*graph.input_shapes(node))))


def _from_elsewhere(graph: Graph, node: Node, arrays: Arrays) -> Iterator[Trial]:
    """The node with the parameters of other layers of its kind and shapes, or some of them."""
    slots = node.operation.parameters(*graph.input_shapes(node))
    names = [slot.name for slot in slots]
    if not slots:
        return
    ways = {"the parameters": names}
    if len(slots) > 1:
        ways |= {f"the {_WORDS.get(slot.role, slot.name)}": [slot.name] for slot in slots}
    statistics = [slot.name for slot in slots if slot.role in ops.STATISTICS]
    ways |= {"the statistics": statistics} if statistics else {}
    for other in _alike(graph, node):
        for words, taken in ways.items():
            theirs = {name: arrays[f"{other}.{name}"].astype("float64") for name in taken}
            yield Trial(f"{words} of {other}", parameters=lambda own, theirs=theirs: {**own, **theirs})


_WORDS = {ops.Role.NORM_SCALE: "scale", ops.Role.NORM_OFFSET: "offset", ops.Role.CONV_KERNEL: "kernel"}


def _alike(graph: Graph, node: Node) -> list[str]:
    """The other layers with parameters of the same names and shapes, the nearest first."""
    slots = node.operation.parameters(*graph.input_shapes(node))
    layers = [other for other in graph.layers if other.operation.op == node.operation.op]
    place = next(index for index, other in enumerate(layers) if other.name == node.layer)
    nearest = sorted(range(len(layers)), key=lambda index: abs(index - place))
    others = [layers[index] for index in nearest if index != place]
    alike = [other.name for other in others if other.operation.parameters(*graph.input_shapes(other)) == slots]
    return alike[:ELSEWHERE]


def _precisions(slots: Sequence[ops.ParameterSlot]) -> Iterator[Trial]:
    """The node in float64 with its inputs, its parameters or both as a lower precision has them."""
    every = {slot.name for slot in slots}
    # A product in a lower precision leaves the bias as it is.
    kernel = {slot.name for slot in slots if slot.role in ops.KERNELS}
    parts = {"weights": every, "kernel": kernel if kernel != every else set[str]()}
    for name, cut in PRECISIONS.items():
        yield Trial(f"inputs in {name}", inputs=cut)
        for words, names in parts.items():
            if names:
                narrow = _cut(cut, names)
                yield Trial(f"{words} in {name}", parameters=narrow)
                yield Trial(f"{words} and inputs in {name}", parameters=narrow, inputs=cut)
        yield Trial(f"the result in {name}", after=cut)


def _cut(cut: Callable[[Array], Array], names: set[str]) -> Callable[[dict[str, Array]], Arrays]:
    return lambda own: {name: cut(value) if name in names else value for name, value in own.items()}


# ---------------------------------------------------------------------------------------------------------------
# What needs no trial


def _is_narrow(operation: ops.AnyOperation, exact: Array, observed: Array) -> bool:
    """Whether float32 holds what was computed in float64, which is next to impossible by chance."""

    def fits(value: Array) -> bool:
        return bool((value.astype("float32") == value).all())

    return observed.dtype == "float64" and fits(observed) and not fits(exact)


def _is_held(cut: Callable[[Array], Array]) -> Callable[[ops.AnyOperation, Array, Array], bool]:
    """Whether a lower precision holds what was computed in float32."""

    def held(operation: ops.AnyOperation, exact: Array, observed: Array) -> bool:
        if observed.dtype != "float32":
            return False
        wide = observed.astype("float64")
        return bool((cut(wide) == wide).all()) and not bool((cut(exact) == exact).all())

    return held


def _is_dropped(operation: ops.AnyOperation, exact: Array, observed: Array) -> bool:
    """Whether each element is either 0 or what dropout makes of one that it keeps."""
    if not isinstance(operation, ops.Dropout | ops.StochasticDepth) or observed.shape != exact.shape:
        return False
    kept = exact / (1 - operation.rate)
    return bool(((observed == 0) | (abs(observed - kept) <= VANISHES * abs(kept))).all())


_LOOKS: dict[str, Callable[[ops.AnyOperation, Array, Array], bool]] = {
    "it is computed in float32": _is_narrow,
    "the result in float16": _is_held(float16),
    "the result in bfloat16": _is_held(bfloat16),
    "elements are dropped at random, as in training": _is_dropped,
}
"""Causes that what was computed tells by itself."""


# ---------------------------------------------------------------------------------------------------------------
# Another wiring


def rewirings(graph: Graph, node: Node) -> list[tuple[str, Graph]]:
    """The graph with one input of a node taken from elsewhere: from the nearest nodes before it of the same shape."""
    names = [other.name for other in graph.nodes]
    before = [INPUT, *names[: names.index(node.name)]]
    found: list[tuple[str, Graph]] = []
    for place, given in enumerate(node.inputs):
        shape = graph.input.shape if given == INPUT else graph.by_name[given].shape
        alike = [
            name
            for name in reversed(before)
            if name not in node.inputs and (graph.input.shape if name == INPUT else graph.by_name[name].shape) == shape
        ]
        for name in alike[:REWIRINGS]:
            inputs = tuple(name if index == place else old for index, old in enumerate(node.inputs))
            found.append((f"it is given {name} instead of {given}", _rewired(graph, node, inputs)))
    if len(node.inputs) == 2 and node.operation.op == "multiply":
        found.append(("its inputs are exchanged", _rewired(graph, node, node.inputs[::-1])))
    return found


def _rewired(graph: Graph, node: Node, inputs: tuple[str, ...]) -> Graph:
    nodes = tuple(n.model_copy(update={"inputs": inputs}) if n.name == node.name else n for n in graph.nodes)
    # Up to the node alone, since what nothing needs any more would be refused.
    fields: dict[str, Any] = {name: getattr(graph, name) for name in Graph.model_fields}
    fields["nodes"] = nodes
    return Graph.model_construct(**fields).with_outputs([node.name])
