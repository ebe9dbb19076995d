"""Why a node differs: it is computed again in the reference, changed in each way that ports are known to go wrong.

Where one of the changes makes the difference vanish, that is the cause; where two do, they cannot be told apart under
this input, and both are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from resnet_spec import operations as ops
from resnet_spec.checkpoints.safetensors_files import write_safetensors
from resnet_spec.comparison import Difference, largest_difference, root_mean_square
from resnet_spec.errors import BackendError, GraphError
from resnet_spec.fields import Edges, Shape, ShapeError, same_padding
from resnet_spec.graph import INPUT, Graph, Input, Node
from resnet_spec.processes import BackendProcess
from resnet_spec.rounding import STRUCTURE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backends import DType

Array = Any
Arrays = Mapping[str, Array]

VANISHES = 1e-4
"""What is left of a difference, at most, where a change explains it."""

EPSILONS = (1e-3, 1e-5, 1.001e-5, 1e-6, 2e-5, 1e-4, 1e-8, 1e-12, 0.0)

REWIRINGS = 12
"""How many other values of the same shape are tried in place of an input, the nearest first."""

ELSEWHERE = 12
"""How many other layers' parameters are tried in place of a layer's own, the nearest first."""


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Trial:
    """One way to be wrong: another operation, other parameters, other inputs, something done after, or a formula.

    ``formula`` takes the inputs, (batch, *shape) in float64, and the layer's parameters, and needs no backend.
    """

    cause: str
    operation: ops.AnyOperation | None = None
    parameters: Callable[[dict[str, Array]], Arrays] = _unchanged
    inputs: Callable[[Array], Array] = _unchanged
    after: Callable[[Array], Array] = _unchanged
    formula: Callable[[list[Array], Arrays], Array] | None = None

    @property
    def only_after(self) -> bool:
        """Whether nothing needs to be computed again but what follows."""
        return self.operation is None and self.formula is None and self.parameters is self.inputs is _unchanged


class Explainer:
    """A running backend in which changed nodes are computed."""

    def __init__(self, process: BackendProcess, folder: Path) -> None:
        self._process = process
        self._weights = folder / "trial.safetensors"

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
        left = _left(exact, observed, difference.bound)
        for trials in rounds(graph, node, arrays, dtype):
            for trial in trials:
                tried += 1
                result = self._result(node, own, given, exact, trial)
                if result is not None and largest_difference(result, observed) <= left:
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
            formula = trial.formula or _JOINS.get(node.operation.op)
            if formula is not None:
                return trial.after(formula(given, parameters))
            # A trial may have padded its input.
            alone = _alone(node, trial.operation or node.operation, given[0].shape[1:])
            images = given[0].reshape(len(given[0]), *alone.input.shape)
            write_safetensors(self._weights, {f"{node.name}.{name}": value for name, value in parameters.items()})
            self._process.load(alone, self._weights, "float64")
            self._process.forward(images, "float64")
            return trial.after(self._process.outputs()[-1])
        except (BackendError, GraphError, ShapeError, ValueError):
            return None


def _left(exact: Array, observed: Array, bound: float) -> float:
    """How far from what was observed a trial may end that explains it; ``bound`` is in root mean squares."""
    if observed.shape != exact.shape:
        return STRUCTURE * root_mean_square(observed)
    return max(bound * root_mean_square(exact), VANISHES * largest_difference(observed, exact))


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


def trials_of(operation: ops.AnyOperation, shapes: tuple[Shape, ...]) -> list[Trial]:
    """The networks that an operation is tried as."""
    found = [trial for kinds, trials in _TRIALS if isinstance(operation, kinds) for trial in trials(operation, shapes)]
    if not isinstance(operation, ops.Dropout | ops.StochasticDepth | ops.Add | ops.Multiply):
        found.append(Trial("it is left out", formula=lambda inputs, own: inputs[0]))
    if not isinstance(operation, _POSITIVE):
        found.append(Trial("a ReLU follows that is not in the graph", after=_relu))
    if not operation.joins and not isinstance(operation, ops.ReLU):
        found.append(Trial("a ReLU before it that is not in the graph", inputs=_relu))
    return list(_distinct(found))


def _distinct(trials: Iterable[Trial]) -> Iterator[Trial]:
    """Without another name for the same operation: the padding of a window that is moved may be TensorFlow's same."""
    seen: list[ops.AnyOperation] = []
    for trial in trials:
        alone = trial.parameters is trial.inputs is trial.after is _unchanged
        if trial.operation is not None and alone:
            if trial.operation in seen:
                continue
            seen.append(trial.operation)
        yield trial


def _relu(value: Array) -> Array:
    return value.clip(min=0)


_Trials = Callable[[Any, tuple[Shape, ...]], Iterator[Trial]]

_TRIALS: list[tuple[tuple[type[ops.BaseOperation], ...], _Trials]] = []


def _tried_for(*kinds: type[ops.BaseOperation]) -> Callable[[_Trials], _Trials]:
    def enter(trials: _Trials) -> _Trials:
        _TRIALS.append((kinds, trials))
        return trials

    return enter


_OPERATION: TypeAdapter[ops.AnyOperation] = TypeAdapter(ops.Operation)


def _changed(operation: ops.AnyOperation, cause: str, **fields: Any) -> Iterator[Trial]:
    """The operation with other fields, if it is one."""
    try:
        yield Trial(cause, _OPERATION.validate_python(operation.model_dump() | fields))
    except ValueError:
        return


def _instead(
    operation: ops.AnyOperation, name: str, values: Iterable[Any], show: Callable[[Any], str] = str
) -> Iterator[Trial]:
    """Other values of one field."""
    now = getattr(operation, name)
    for value in dict.fromkeys(values):
        if value != now:
            yield from _changed(operation, f"{name} {show(value)} instead of {show(now)}", **{name: value})


_CONVOLUTIONS = ops.Conv2d, ops.StdConv2d
_POOLS = ops.MaxPool2d, ops.AvgPool2d
_POSITIVE = ops.ReLU, ops.Sigmoid, ops.Softmax
_BATCH_NORMS = ops.BatchNorm, ops.PositionBatchNorm


@_tried_for(*_CONVOLUTIONS, *_POOLS)
def _paddings(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    dilation = getattr(operation, "dilation", (1, 1))
    spans = [d * (k - 1) for k, d in zip(operation.kernel, dilation, strict=True)]
    same = tuple(
        same_padding(size, *axis)
        for size, *axis in zip(shapes[0][1:], operation.kernel, operation.stride, dilation, strict=True)
    )
    now = same if operation.padding == "same" else operation.padding
    mirrored = tuple((after, before) for before, after in now)
    symmetric = tuple((span // 2, span // 2) for span in spans)
    full = tuple((span, span) for span in spans)
    words = {same: " (TensorFlow's same)", mirrored: " (mirrored)", symmetric: " (symmetric)"}
    for edges in dict.fromkeys((same, symmetric, mirrored, ops.UNPADDED, full)):
        if edges != now:
            cause = f"padding {_edges(edges)}{words.get(edges, '')} instead of {_edges(now)}"
            yield from _changed(operation, cause, padding=edges)
            # With the right number of windows all the same, so that shapes do not tell.
            if isinstance(operation, _POOLS) and operation.ceil_mode:
                yield from _changed(operation, f"{cause}, and ceil_mode off", padding=edges, ceil_mode=False)


def _edges(padding: Any) -> str:
    return str([list(edges) for edges in padding])


@_tried_for(*_CONVOLUTIONS)
def _windows(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    yield from _instead(operation, "stride", [(1, 1), (2, 2)], _pair)
    for dilation in ((1, 1), (2, 2), (4, 4)):
        if dilation != operation.dilation:
            cause = f"dilation {_pair(dilation)} instead of {_pair(operation.dilation)}"
            yield from _changed(operation, cause, dilation=dilation)
            # As much padding as the map needs to keep its size.
            spans = [d * (kernel - 1) for d, kernel in zip(dilation, operation.kernel, strict=True)]
            edges = tuple((span // 2, span - span // 2) for span in spans)
            yield from _changed(operation, f"{cause}, and padding {_edges(edges)}", dilation=dilation, padding=edges)


@_tried_for(*_CONVOLUTIONS, *_POOLS)
def _later_windows(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    if operation.stride == (1, 1):
        return
    cause = f"stride {_pair(operation.stride)} taken from the second row and column on"
    (top, bottom), (left, right) = _edges_of(operation, shapes[0])
    if min(top, left) > 0:
        yield from _changed(operation, cause, padding=((top - 1, bottom + 1), (left - 1, right + 1)))
    elif isinstance(operation, _CONVOLUTIONS) or operation.kernel == (1, 1):
        yield Trial(cause, inputs=_shifted)


def _edges_of(operation: Any, shape: Shape) -> Edges:
    """The padding of a convolution or a pool, TensorFlow's ``same`` worked out."""
    if operation.padding != "same":
        return operation.padding
    dilation = getattr(operation, "dilation", (1, 1))
    axes = zip(shape[1:], operation.kernel, operation.stride, dilation, strict=True)
    height, width = (same_padding(*axis) for axis in axes)
    return height, width


def _shifted(value: Array) -> Array:
    """A map that begins at its second row and column, with zeros behind."""
    return _padded(value[:, :, 1:, 1:], ((0, 1), (0, 1)))


def _pair(value: tuple[int, int]) -> str:
    return str(value[0]) if value[0] == value[1] else f"{value[0]}×{value[1]}"


@_tried_for(*_CONVOLUTIONS, ops.ConvTranspose2d)
def _kernels(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    def kernel(cause: str, change: Callable[[Array], Array]) -> Trial:
        return Trial(cause, parameters=lambda own: {**own, "weight": change(own["weight"])})

    if max(operation.kernel) > 1:
        yield kernel("the kernel is flipped in height and width", lambda w: w[:, :, ::-1, ::-1].copy())
    if operation.kernel[0] == operation.kernel[1] > 1:
        yield kernel("the kernel's height and width are exchanged", lambda w: w.swapaxes(2, 3).copy())
    yield kernel("the kernel's input and output channels are exchanged", lambda w: _exchanged(w))
    yield kernel("the kernel is laid out in another order", lambda w: _laid_out_otherwise(w))
    if shapes[0][0] == 3:
        yield Trial("the input channels are in reverse order (BGR for RGB)", inputs=lambda x: x[:, ::-1])
    groups = getattr(operation, "groups", 1)
    if groups > 1:
        yield Trial("channels are dealt out to the groups in turn", inputs=lambda x: _dealt(x, groups))
    yield from _without_bias(operation, shapes)


def _exchanged(kernel: Array) -> Array:
    if kernel.shape[0] != kernel.shape[1]:
        raise ValueError("no square")
    return kernel.swapaxes(0, 1).copy()


def _laid_out_otherwise(kernel: Array) -> Array:
    """The numbers of an OIHW kernel taken for HWIO."""
    return kernel.reshape(kernel.transpose(2, 3, 1, 0).shape).transpose(3, 2, 0, 1).copy()


def _dealt(value: Array, groups: int) -> Array:
    batch, channels, *sizes = value.shape
    return value.reshape(batch, channels // groups, groups, *sizes).swapaxes(1, 2).reshape(value.shape)


@_tried_for(ops.StdConv2d)
def _standardisations(operation: ops.StdConv2d, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    plain = ops.Conv2d(**operation.model_dump(exclude={"op", "epsilon"}), op="conv2d")

    def unbiased(own: dict[str, Array]) -> Arrays:
        kernel = own["weight"]
        mean, variance = kernel.mean((1, 2, 3), keepdims=True), kernel.var((1, 2, 3), keepdims=True, ddof=1)
        return {**own, "weight": (kernel - mean) / (variance + operation.epsilon) ** 0.5}

    yield Trial("the kernel is not standardised", plain)
    yield Trial("the kernel's variance is divided by n-1", plain, parameters=unbiased)


@_tried_for(ops.Linear, ops.Conv1d)
def _without_bias(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    if operation.bias:
        yield Trial("the bias is left out", parameters=lambda own: {**own, "bias": 0 * own["bias"]})


@_tried_for(ops.Linear)
def _linear(operation: ops.Linear, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    def transposed(own: dict[str, Array]) -> Arrays:
        return {**own, "weight": own["weight"].reshape(own["weight"].shape[::-1]).T.copy()}

    yield Trial("the kernel is transposed", parameters=transposed)
    yield Trial("a softmax follows that is not in the graph", after=_softmax)


def _softmax(value: Array) -> Array:
    import numpy as np

    powers = np.exp(value - value.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@_tried_for(ops.Conv1d)
def _conv1d(operation: ops.Conv1d, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    yield Trial("the kernel is flipped", parameters=lambda own: {**own, "weight": own["weight"][..., ::-1].copy()})


@_tried_for(ops.ConvTranspose2d)
def _crops(operation: ops.ConvTranspose2d, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    spans = [kernel - stride for kernel, stride in zip(operation.kernel, operation.stride, strict=True)]
    same = tuple((span // 2, span - span // 2) for span in spans)
    now = same if operation.padding == "same" else operation.padding
    ways = {
        "TensorFlow's same": same,
        "the other way round": tuple((after, before) for before, after in now),
        "at the end alone": tuple((0, before + after) for before, after in now),
        "at the start alone": tuple((before + after, 0) for before, after in now),
    }
    for how, edges in ways.items():
        if edges != now:
            cause = f"the crop is {_edges(edges)} ({how}) instead of {_edges(now)}"
            yield from _changed(operation, cause, padding=edges)


@_tried_for(*_BATCH_NORMS, ops.GroupNorm, ops.EvoNormS0, ops.FilterResponseNorm, ops.StdConv2d)
def _epsilons(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    yield from _instead(operation, "epsilon", EPSILONS)


@_tried_for(*_BATCH_NORMS, ops.GroupNorm, ops.EvoNormS0, ops.FilterResponseNorm)
def _affines(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    names = {slot.name for slot in operation.parameters(*shapes)}
    neutral = {"weight": ("scale", 1.0), "bias": ("offset", 0.0), "v": ("gate", 1.0), "tau": ("threshold", 0.0)}
    for name in sorted(names & neutral.keys()):
        word, value = neutral[name]
        yield Trial(f"the {word} is left out", parameters=lambda own, n=name, v=value: {**own, n: 0 * own[n] + v})


@_tried_for(*_BATCH_NORMS)
def _statistics(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    axes = (0, 2, 3) if isinstance(operation, ops.BatchNorm) else (0,)

    def of_the_batch(inputs: list[Array], own: Arrays) -> Array:
        (value,) = inputs
        mean, variance = value.mean(axes, keepdims=True), value.var(axes, keepdims=True)
        return _normalized(value, mean, variance, operation.epsilon, own)

    def epsilon_outside(inputs: list[Array], own: Arrays) -> Array:
        (value,) = inputs
        mean, deviation = _spread(own["running_mean"], value), _spread(own["running_var"], value) ** 0.5
        return _normalized(value, mean, (deviation + operation.epsilon) ** 2, 0.0, own)

    def along(axis: int) -> Callable[[list[Array], Arrays], Array]:
        def formula(inputs: list[Array], own: Arrays) -> Array:
            turned = inputs[0].swapaxes(1, axis)
            mean, variance = _spread(own["running_mean"], turned), _spread(own["running_var"], turned)
            return _normalized(turned, mean, variance, operation.epsilon, own).swapaxes(1, axis)

        return formula

    if isinstance(operation, ops.BatchNorm):
        for axis, word in ((2, "height"), (3, "width")):
            yield Trial(f"its arrays run along the {word} instead of the channels", formula=along(axis))
    yield Trial("the batch's statistics instead of the running ones", formula=of_the_batch)
    yield Trial("epsilon is added to the standard deviation", formula=epsilon_outside)
    yield Trial("the running mean is left out", parameters=lambda own: {**own, "running_mean": 0 * own["running_mean"]})
    yield Trial(
        "the running variance is taken for a deviation",
        parameters=lambda own: {**own, "running_var": own["running_var"] ** 2},
    )
    yield Trial(
        "statistics of 0 and 1",
        parameters=lambda own: {
            **own,
            "running_mean": 0 * own["running_mean"],
            "running_var": 0 * own["running_var"] + 1,
        },
    )
    if {"weight", "bias"} <= {slot.name for slot in operation.parameters(*shapes)}:
        yield Trial(
            "it is as it is before anything is loaded",
            parameters=lambda own: {
                name: 0 * array + (name in ("weight", "running_var")) for name, array in own.items()
            },
        )
        yield Trial(
            "scale and offset are exchanged",
            parameters=lambda own: {**own, "weight": own["bias"], "bias": own["weight"]},
        )
    yield Trial(
        "mean and variance are exchanged",
        parameters=lambda own: {**own, "running_mean": own["running_var"], "running_var": abs(own["running_mean"])},
    )


def _spread(vector: Array, value: Array) -> Array:
    return vector.reshape(1, *vector.shape, *[1] * (value.ndim - 1 - vector.ndim))


def _normalized(value: Array, mean: Array, variance: Array, epsilon: float, own: Arrays) -> Array:
    result = (value - mean) / (variance + epsilon) ** 0.5
    if "weight" in own:
        result = result * _spread(own["weight"], value)
    return result + _spread(own["bias"], value) if "bias" in own else result


@_tried_for(ops.GroupNorm, ops.EvoNormS0)
def _groups(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    channels = shapes[0][0]
    yield from _instead(operation, "groups", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, channels])
    groups = operation.groups
    if isinstance(operation, ops.GroupNorm):

        def unbiased(inputs: list[Array], own: Arrays) -> Array:
            (value,) = inputs
            grouped = value.reshape(len(value), groups, -1)
            mean, variance = grouped.mean(2, keepdims=True), grouped.var(2, keepdims=True, ddof=1)
            plain = ((grouped - mean) / (variance + operation.epsilon) ** 0.5).reshape(value.shape)
            return _normalized(plain, 0.0, 1.0, 0.0, own)

        yield Trial("the variance is divided by n-1", formula=unbiased)


@_tried_for(*_POOLS)
def _pools(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    for trial in _instead(operation, "ceil_mode", [True, False]):
        if trial.operation is not None and trial.operation.output_shape(*shapes) != operation.output_shape(*shapes):
            yield trial
    if operation.kernel == (1, 1):
        return
    fields = {name: getattr(operation, name) for name in ("kernel", "stride", "padding", "ceil_mode")}
    if isinstance(operation, ops.MaxPool2d):
        for counted in (False, True):
            average = ops.AvgPool2d(op="avg_pool2d", count_include_pad=counted, **fields)
            yield Trial("an average instead of the largest value", average)
    else:
        yield Trial("the largest value instead of the average", ops.MaxPool2d(op="max_pool2d", **fields))


@_tried_for(*_POOLS)
def _subsamplings(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    stride = operation.stride
    if operation.kernel == (1, 1) != stride:
        blocks = f"of each {stride[0]}×{stride[1]} values instead of the first"
        average = ops.AvgPool2d(op="avg_pool2d", kernel=stride, stride=stride, count_include_pad=False)
        yield Trial(f"the mean {blocks}", average)
        yield Trial(f"the largest {blocks}", ops.MaxPool2d(op="max_pool2d", kernel=stride, stride=stride))


@_tried_for(ops.AvgPool2d)
def _average_pools(operation: ops.AvgPool2d, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    yield from _instead(operation, "count_include_pad", [True, False])
    if operation.ceil_mode and operation.padding != "same":
        rows = tuple(
            (before, after + s - 1) for (before, after), s in zip(operation.padding, operation.stride, strict=True)
        )
        whole = operation.model_copy(update={"padding": ops.UNPADDED, "ceil_mode": False})
        yield Trial("windows that stick out count in full", whole, inputs=lambda value: _padded(value, rows))


@_tried_for(ops.MaxPool2d)
def _max_pools(operation: ops.MaxPool2d, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    ways: dict[str, Any] = {"as the graph has it": _edges_of(operation, shapes[0])}
    spans = [kernel - 1 for kernel in operation.kernel]
    ways["TensorFlow's same"] = tuple(
        same_padding(size, k, s, 1)
        for size, k, s in zip(shapes[0][1:], operation.kernel, operation.stride, strict=True)
    )
    ways["symmetric"] = tuple((span // 2, span // 2) for span in spans)
    unpadded = operation.model_copy(update={"padding": ops.UNPADDED})
    for how, rows in ways.items():
        if any(map(any, rows)):
            yield Trial(
                f"the pad is 0 instead of minus infinity ({how})",
                unpadded,
                inputs=lambda x, rows=rows: _padded(x, rows),
            )


def _padded(value: Array, edges: Any, **how: Any) -> Array:
    import numpy as np

    return np.pad(value, ((0, 0), (0, 0), *edges), **how)


@_tried_for(ops.GlobalAvgPool)
def _global_means(operation: ops.GlobalAvgPool, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    largest, total = "the largest value instead of the mean", "the sum instead of the mean"
    yield Trial(largest, formula=lambda inputs, own: inputs[0].max((2, 3), keepdims=True))
    yield Trial(total, formula=lambda inputs, own: inputs[0].sum((2, 3), keepdims=True))


@_tried_for(ops.GlobalMaxPool)
def _global_maxima(operation: ops.GlobalMaxPool, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    cause = "the mean instead of the largest value"
    yield Trial(cause, formula=lambda inputs, own: inputs[0].mean((2, 3), keepdims=True))


@_tried_for(ops.Pad2d)
def _pads(operation: ops.Pad2d, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    for cause, how in {
        "zeros": {"mode": "constant"},
        "the mirrored map without its edge": {"mode": "reflect"},
        "the mirrored map with its edge": {"mode": "symmetric"},
        "the edge repeated": {"mode": "edge"},
    }.items():
        if how["mode"] == operation.mode and not operation.value:
            continue
        yield Trial(
            f"the pad is {cause}", formula=lambda inputs, own, how=how: _padded(inputs[0], operation.padding, **how)
        )
    now = operation.padding
    mirrored = tuple((after, before) for before, after in now)
    fewer_before = tuple((max(before - 1, 0), after) for before, after in now)
    fewer_behind = tuple((before, max(after - 1, 0)) for before, after in now)
    yield from _instead(operation, "padding", [mirrored, fewer_before, fewer_behind, ops.UNPADDED], _edges)


@_tried_for(ops.PadChannels)
def _channel_pads(operation: ops.PadChannels, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    import numpy as np

    whole = operation.before + operation.after
    for before in (0, whole // 2, whole):
        if before != operation.before:
            edges = ((0, 0), (before, whole - before), (0, 0), (0, 0))
            cause = f"{before} channels of zeros before and {whole - before} after"
            yield Trial(cause, formula=lambda inputs, own, edges=edges: np.pad(inputs[0], edges))


@_tried_for(ops.Flatten)
def _flattens(operation: ops.Flatten, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    def in_tensorflow_s_order(inputs: list[Array], own: Arrays) -> Array:
        import numpy as np

        return np.moveaxis(inputs[0], 1, -1).reshape(len(inputs[0]), -1)

    yield Trial("the order is (height, width, channels)", formula=in_tensorflow_s_order)


@_tried_for(ops.ReLU, ops.Sigmoid)
def _activations(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    import numpy as np

    if isinstance(operation, ops.ReLU):
        yield Trial("a sigmoid", formula=lambda inputs, own: 1 / (1 + np.exp(-inputs[0])))
    else:
        yield Trial("a ReLU", formula=lambda inputs, own: _relu(inputs[0]))
    yield Trial("a hard sigmoid", formula=lambda inputs, own: (inputs[0] / 6 + 0.5).clip(0, 1))
    yield Trial("a hard sigmoid of slope 0.2", formula=lambda inputs, own: (inputs[0] / 5 + 0.5).clip(0, 1))
    yield Trial("a ReLU that stops at 6", formula=lambda inputs, own: inputs[0].clip(0, 6))
    for slope in (0.01, 0.1, 0.2, 0.3):
        yield Trial(
            f"a leaky ReLU of slope {slope}", formula=lambda i, own, s=slope: i[0].clip(min=0) + s * i[0].clip(max=0)
        )
    yield Trial("a SiLU", formula=lambda inputs, own: inputs[0] / (1 + np.exp(-inputs[0])))
    yield Trial("an ELU", formula=lambda inputs, own: inputs[0].clip(min=0) + np.expm1(inputs[0].clip(max=0)))


@_tried_for(ops.Dropout, ops.StochasticDepth)
def _drops(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    keep = 1 - operation.rate
    yield Trial("the value is divided by what training keeps", formula=lambda inputs, own: inputs[0] / keep)
    yield Trial("the value is multiplied by what training keeps", formula=lambda inputs, own: inputs[0] * keep)


@_tried_for(ops.Add, ops.Multiply)
def _joins(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    import numpy as np

    together = _JOINS[operation.op]

    def changed(index: int, change: Callable[[Array], Array]) -> Callable[[list[Array], Arrays], Array]:
        return lambda inputs, own: together([change(v) if i == index else v for i, v in enumerate(inputs)], own)

    for index in range(len(shapes)):
        yield Trial(f"input {index + 1} alone", formula=lambda inputs, own, i=index: inputs[i])
        yield Trial(f"a ReLU over input {index + 1}", formula=changed(index, _relu))
        yield Trial(f"input {index + 1} multiplied by 0.2", formula=changed(index, lambda value: 0.2 * value))
    yield Trial("the larger", formula=lambda inputs, own: np.maximum(inputs[0], inputs[1]))
    yield Trial("the difference", formula=lambda inputs, own: inputs[0] - inputs[1])
    yield Trial("the mean", formula=lambda inputs, own: sum(inputs) / len(inputs))
    if isinstance(operation, ops.Add):
        yield Trial("the product", formula=_JOINS["multiply"])
    else:
        yield Trial("the sum", formula=_JOINS["add"])
        yield Trial("a sigmoid over input 2", formula=lambda inputs, own: inputs[0] / (1 + np.exp(-inputs[1])))


_JOINS: dict[str, Callable[[list[Array], Arrays], Array]] = {
    "add": lambda inputs, own: sum(inputs),
    "multiply": lambda inputs, own: prod(inputs),
}
"""What a backend that runs networks of one input cannot be asked."""


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


def _float16(value: Array) -> Array:
    import numpy as np

    # What it cannot hold becomes infinite, as it does there.
    with np.errstate(over="ignore"):
        return value.astype("float16").astype("float64")


def _bfloat16(value: Array) -> Array:
    import numpy as np

    exponent: Array = np.frexp(value)[1]
    return np.ldexp(np.rint(np.ldexp(value, 8 - exponent)), exponent - 8)


def _tf32(value: Array) -> Array:
    """Ten bits behind the leading one; what lies halfway goes up, as the hardware's conversion has it."""
    import numpy as np

    exponent: Array = np.frexp(value)[1]
    magnitude = np.ldexp(np.floor(np.ldexp(abs(value), 11 - exponent) + 0.5), exponent - 11)
    return np.copysign(magnitude, value)


PRECISIONS: dict[str, Callable[[Array], Array]] = {"float16": _float16, "bfloat16": _bfloat16, "TF32": _tf32}
"""Values of float64 rounded to what a lower precision holds."""


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
    "the result in float16": _is_held(_float16),
    "the result in bfloat16": _is_held(_bfloat16),
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
