"""Hypotheses on why a node differs: the mistakes that ports often make, by operation.

To add a mistake, write a generator of trials and register it for its operations with ``_register``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from math import erf, prod
from typing import Any

from pydantic import TypeAdapter

from resnet_spec import operations as ops
from resnet_spec.graph import SIZE_NAMES
from resnet_spec.operations.fields import Shape, as_text
from resnet_spec.operations.windows import (
    explicit_crop,
    explicit_padding,
    fixed_padding,
    full_padding,
    is_unpadded,
    symmetric_padding,
)

Array = Any
Arrays = Mapping[str, Array]

EPSILONS = (1e-3, 1e-5, 1.001e-5, 1e-6, 2e-5, 1e-4, 1e-8, 1e-12)


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Trial:
    """One hypothesis: another operation, other parameters or inputs, a change of the result, or a formula.

    ``formula`` takes the inputs, (batch, *shape) in float64, and the layer's parameters; it needs no backend.
    """

    cause: str
    operation: ops.AnyOperation | None = None
    parameters: Callable[[dict[str, Array]], Arrays] = _unchanged
    inputs: Callable[[Array], Array] = _unchanged
    after: Callable[[Array], Array] = _unchanged
    formula: Callable[[list[Array], Arrays], Array] | None = None

    @property
    def only_after(self) -> bool:
        """Whether the trial only changes the node's result, which need not be computed again."""
        return self.operation is None and self.formula is None and self.parameters is self.inputs is _unchanged


def trials_of(operation: ops.AnyOperation, shapes: tuple[Shape, ...]) -> list[Trial]:
    """Return the trials of an operation."""
    found = [trial for kinds, trials in _TRIALS if isinstance(operation, kinds) for trial in trials(operation, shapes)]
    if not operation.joins and not isinstance(operation, ops.Dropout | ops.StochasticDepth):
        found.append(Trial("the node is left out", formula=lambda inputs, own: inputs[0]))
    if not operation.nonnegative:
        found.append(Trial("an extra ReLU follows", after=_relu))
    if not operation.joins and not isinstance(operation, ops.ReLU | ops.ReLU6 | ops.GeMPool | ops.LearnedValue):
        found.append(Trial("an extra ReLU precedes it", inputs=_relu))
    return list(_distinct(found))


def _distinct(trials: Iterable[Trial]) -> Iterator[Trial]:
    """Yield trials without duplicates: a shifted window and TensorFlow's same may be the same padding."""
    seen: list[ops.AnyOperation] = []
    for trial in trials:
        changes_operation_only = trial.parameters is trial.inputs is trial.after is _unchanged
        if trial.operation is not None and changes_operation_only:
            if trial.operation in seen:
                continue
            seen.append(trial.operation)
        yield trial


def _relu(value: Array) -> Array:
    return value.clip(min=0)


_Trials = Callable[[Any, tuple[Shape, ...]], Iterator[Trial]]

_TRIALS: list[tuple[tuple[type[ops.BaseOperation], ...], _Trials]] = []


def _register(*kinds: type[ops.BaseOperation]) -> Callable[[_Trials], _Trials]:
    """Register a generator of trials for operations."""

    def register(trials: _Trials) -> _Trials:
        _TRIALS.append((kinds, trials))
        return trials

    return register


_OPERATION: TypeAdapter[ops.AnyOperation] = TypeAdapter(ops.Operation)


def _with_fields(operation: ops.AnyOperation, cause: str, **fields: Any) -> Iterator[Trial]:
    """Yield the operation with other fields, if they are valid."""
    try:
        yield Trial(cause, _OPERATION.validate_python(operation.model_dump() | fields))
    except ValueError:
        return


def _other_values(
    operation: ops.AnyOperation, name: str, values: Iterable[Any], show: Callable[[Any], str] = str
) -> Iterator[Trial]:
    """Yield the operation with other values of one field."""
    now = getattr(operation, name)
    for value in dict.fromkeys(values):
        if value != now:
            yield from _with_fields(operation, f"{name} {show(value)} instead of {show(now)}", **{name: value})


ACTIVATIONS = tuple(kind for kind in ops.OPERATIONS.values() if kind.category is ops.Category.ACTIVATION)
_CONVOLUTIONS = ops.Conv, ops.StdConv
_POOLS = ops.MaxPool, ops.AvgPool
_BATCH_NORMS = ops.BatchNorm, ops.PositionBatchNorm
_NORMS = *_BATCH_NORMS, ops.GroupNorm, ops.LayerNorm, ops.InstanceNorm, ops.EvoNormS0, ops.FilterResponseNorm


@_register(*_CONVOLUTIONS, *_POOLS)
def _paddings(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    dilation = getattr(operation, "dilation", (1,) * operation.rank)
    same = explicit_padding(shapes[0][1:], operation.kernel, operation.stride, "same", dilation)
    now = operation.explicit_padding(shapes[0])
    mirrored = tuple((after, before) for before, after in now)
    symmetric = tuple(map(symmetric_padding, operation.kernel, dilation))
    full = tuple(map(full_padding, operation.kernel, dilation))
    words = {same: " (TensorFlow's same)", mirrored: " (mirrored)", symmetric: " (symmetric)"}
    unpadded = ((0, 0),) * operation.rank
    for edges in dict.fromkeys((same, symmetric, mirrored, unpadded, full)):
        if edges != now:
            cause = f"padding {_edges(edges)}{words.get(edges, '')} instead of {_edges(now)}"
            yield from _with_fields(operation, cause, padding=edges)
            # The output's shape may be the same without ceil_mode.
            if isinstance(operation, _POOLS) and operation.ceil_mode:
                yield from _with_fields(operation, f"{cause}, and ceil_mode off", padding=edges, ceil_mode=False)


def _edges(padding: Any) -> str:
    return str([list(edges) for edges in padding])


@_register(*_CONVOLUTIONS)
def _windows(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    one = (1,) * operation.rank
    yield from _other_values(operation, "stride", [one, (2,) * operation.rank], _extents)
    for number in (1, 2, 4):
        dilation = (number,) * operation.rank
        if dilation != operation.dilation:
            cause = f"dilation {_extents(dilation)} instead of {_extents(operation.dilation)}"
            yield from _with_fields(operation, cause, dilation=dilation)
            # The padding that keeps the map's size.
            edges = fixed_padding(operation.kernel, one, "same", dilation)
            yield from _with_fields(
                operation, f"{cause}, and padding {_edges(edges)}", dilation=dilation, padding=edges
            )


@_register(*_CONVOLUTIONS, *_POOLS)
def _shifted_windows(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    if max(operation.stride) == 1:
        return
    cause = f"stride {_extents(operation.stride)} starting at the second row and column"
    edges = operation.explicit_padding(shapes[0])
    if min(before for before, _ in edges) > 0:
        yield from _with_fields(operation, cause, padding=tuple((before - 1, after + 1) for before, after in edges))
    elif isinstance(operation, _CONVOLUTIONS) or max(operation.kernel) == 1:
        yield Trial(cause, inputs=_shifted)


def _shifted(value: Array) -> Array:
    """Drop a map's first position along each axis, and append zeros."""
    rank = value.ndim - 2
    return _padded(value[(..., *[slice(1, None)] * rank)], [(0, 1)] * rank)


def _extents(value: tuple[int, ...]) -> str:
    return str(value[0]) if len(set(value)) == 1 else "×".join(map(str, value))


@_register(*_CONVOLUTIONS, ops.ConvTranspose)
def _kernels(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    def kernel(cause: str, change: Callable[[Array], Array]) -> Trial:
        return Trial(cause, parameters=lambda own: {**own, "weight": change(own["weight"])})

    if max(operation.kernel) > 1:
        words = _FLIPPED[operation.rank]
        flip = (..., *[slice(None, None, -1)] * operation.rank)
        yield kernel(f"the kernel is flipped{words}", lambda w: w[flip].copy())
    if operation.rank > 1 and operation.kernel[-2] == operation.kernel[-1] > 1:
        yield kernel("the kernel's height and width are swapped", lambda w: w.swapaxes(-2, -1).copy())
    if operation.rank > 2 and operation.kernel[0] == operation.kernel[-1] > 1:
        yield kernel("the kernel's depth and width are swapped", lambda w: w.swapaxes(2, -1).copy())
    yield kernel("the kernel's input and output channels are swapped", lambda w: _swapped(w))
    yield kernel("the kernel is in another layout", lambda w: _in_other_layout(w))
    if shapes[0][0] == 3:
        yield Trial("the input channels are in reverse order (BGR for RGB)", inputs=lambda x: x[:, ::-1])
    groups = getattr(operation, "groups", 1)
    if groups > 1:
        yield Trial("channels are interleaved across the groups", inputs=lambda x: _interleaved(x, groups))
    yield from _without_bias(operation, shapes)


_FLIPPED = {1: "", 2: " in height and width", 3: " in depth, height and width"}


def _swapped(kernel: Array) -> Array:
    if kernel.shape[0] != kernel.shape[1]:
        raise ValueError("not square")
    return kernel.swapaxes(0, 1).copy()


def _in_other_layout(kernel: Array) -> Array:
    """Read the memory of a kernel (out, in, ...) as (..., in, out)."""
    axes = (*range(2, kernel.ndim), 1, 0)
    positions = range(kernel.ndim - 2)
    return kernel.reshape(kernel.transpose(axes).shape).transpose(-1, -2, *positions).copy()


def _interleaved(value: Array, groups: int) -> Array:
    batch, channels, *sizes = value.shape
    return value.reshape(batch, channels // groups, groups, *sizes).swapaxes(1, 2).reshape(value.shape)


@_register(ops.StdConv)
def _standardizations(operation: ops.StdConv, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    plain = ops.Conv(**operation.model_dump(exclude={"op", "epsilon", "gain", "gamma"}), op="conv2d")
    factor = operation.factor(*shapes)

    def kernel(cause: str, standardized: Callable[[Array], Array], factor: float = factor) -> Trial:
        def changed(own: dict[str, Array]) -> Arrays:
            gain = own.pop("gain", 1.0)
            return {**own, "weight": standardized(own["weight"]) * gain * factor}

        return Trial(cause, plain, parameters=changed)

    def divided_by(missing: int) -> Callable[[Array], Array]:
        def standardized(kernel: Array) -> Array:
            variance = kernel.var((1, 2, 3), keepdims=True, ddof=missing)
            return (kernel - kernel.mean((1, 2, 3), keepdims=True)) / (variance + operation.epsilon) ** 0.5

        return standardized

    yield kernel("the kernel is not standardized", _unchanged)
    yield kernel("the kernel's variance is divided by n-1", divided_by(1))
    if operation.gain:
        yield Trial("the gain is left out", parameters=lambda own: {**own, "gain": 0 * own["gain"] + 1})
        cause = "every channel has the first channel's gain"
        yield Trial(cause, parameters=lambda own: {**own, "gain": 0 * own["gain"] + own["gain"][:1]})
        yield kernel("gamma and the number of weights are left out", divided_by(0), 1.0)
        yield kernel("the number of weights is left out", divided_by(0), operation.gamma)
        yield from _other_values(operation, "gamma", (1.0, 1.7139588594436646, 1.7881293296813965, 1.7015043497085571))


@_register(ops.Linear)
def _without_bias(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    if operation.bias:
        yield Trial("the bias is left out", parameters=lambda own: {**own, "bias": 0 * own["bias"]})


@_register(ops.Linear)
def _linear(operation: ops.Linear, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    def transposed(own: dict[str, Array]) -> Arrays:
        return {**own, "weight": own["weight"].reshape(own["weight"].shape[::-1]).T.copy()}

    yield Trial("the kernel is transposed", parameters=transposed)
    yield Trial("an extra softmax follows", after=_softmax)


def _softmax(value: Array) -> Array:
    import numpy as np

    powers = np.exp(value - value.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@_register(ops.ConvTranspose)
def _crops(operation: ops.ConvTranspose, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    same = explicit_crop(operation.kernel, operation.stride, "same")
    now = operation.crop
    crops = {
        "TensorFlow's same": same,
        "mirrored": tuple((after, before) for before, after in now),
        "at the end only": tuple((0, before + after) for before, after in now),
        "at the start only": tuple((before + after, 0) for before, after in now),
    }
    for how, edges in crops.items():
        if edges != now:
            cause = f"the crop is {_edges(edges)} ({how}) instead of {_edges(now)}"
            yield from _with_fields(operation, cause, padding=edges)


@_register(*_NORMS, ops.StdConv)
def _epsilons(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    # The smallest gives the same result as no epsilon.
    yield from _other_values(operation, "epsilon", EPSILONS, lambda e: f"{e} or none" if e == min(EPSILONS) else str(e))


@_register(*_NORMS)
def _affines(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    names = {slot.name for slot in operation.parameters(*shapes)}
    neutral = {
        "weight": ("scale", 1.0),
        "bias": ("offset", 0.0),
        "v": ("gate's factor", 1.0),
        "tau": ("threshold", 0.0),
    }
    for name in sorted(names & neutral.keys()):
        word, value = neutral[name]
        yield Trial(f"the {word} is left out", parameters=lambda own, n=name, v=value: {**own, n: 0 * own[n] + v})


@_register(*_BATCH_NORMS)
def _statistics(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    axes = (0, *range(2, 1 + len(shapes[0]))) if isinstance(operation, ops.BatchNorm) else (0,)

    def of_the_batch(inputs: list[Array], own: Arrays) -> Array:
        (value,) = inputs
        mean, variance = value.mean(axes, keepdims=True), value.var(axes, keepdims=True)
        return _normalized(value, mean, variance, operation.epsilon, own)

    def epsilon_outside(inputs: list[Array], own: Arrays) -> Array:
        (value,) = inputs
        mean, deviation = _broadcast(own["running_mean"], value), _broadcast(own["running_var"], value) ** 0.5
        return _normalized(value, mean, (deviation + operation.epsilon) ** 2, 0.0, own)

    def along(axis: int) -> Callable[[list[Array], Arrays], Array]:
        def formula(inputs: list[Array], own: Arrays) -> Array:
            turned = inputs[0].swapaxes(1, axis)
            mean, variance = _broadcast(own["running_mean"], turned), _broadcast(own["running_var"], turned)
            return _normalized(turned, mean, variance, operation.epsilon, own).swapaxes(1, axis)

        return formula

    if isinstance(operation, ops.BatchNorm) and len(shapes[0]) > 1:
        for axis, word in enumerate(SIZE_NAMES[len(shapes[0])][1:], 2):
            yield Trial(f"it normalizes along the {word} instead of the channels", formula=along(axis))
    yield Trial("batch statistics instead of running statistics", formula=of_the_batch)
    yield Trial("epsilon is added to the standard deviation", formula=epsilon_outside)
    yield Trial("the running mean is left out", parameters=lambda own: {**own, "running_mean": 0 * own["running_mean"]})
    yield Trial(
        "the running variance is used as a standard deviation",
        parameters=lambda own: {**own, "running_var": own["running_var"] ** 2},
    )
    yield Trial(
        "running statistics of 0 and 1",
        parameters=lambda own: {
            **own,
            "running_mean": 0 * own["running_mean"],
            "running_var": 0 * own["running_var"] + 1,
        },
    )
    if {"weight", "bias"} <= {slot.name for slot in operation.parameters(*shapes)}:
        yield Trial(
            "its weights are not loaded",
            parameters=lambda own: {
                name: 0 * array + (name in ("weight", "running_var")) for name, array in own.items()
            },
        )
        yield Trial(
            "scale and offset are swapped",
            parameters=lambda own: {**own, "weight": own["bias"], "bias": own["weight"]},
        )
    yield Trial(
        "mean and variance are swapped",
        parameters=lambda own: {**own, "running_mean": own["running_var"], "running_var": abs(own["running_mean"])},
    )


def _broadcast(vector: Array, value: Array) -> Array:
    """Return a parameter, or a number, of the channels so that it broadcasts with a batch."""
    return vector.reshape(1, *vector.shape, *[1] * (value.ndim - 1 - vector.ndim))


def _normalized(value: Array, mean: Array, variance: Array, epsilon: float, own: Arrays) -> Array:
    result = (value - mean) / (variance + epsilon) ** 0.5
    if "weight" in own:
        result = result * _broadcast(own["weight"], value)
    return result + _broadcast(own["bias"], value) if "bias" in own else result


@_register(ops.LayerNorm, ops.InstanceNorm)
def _normalized_axes(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    everything = tuple(range(1, len(shapes[0]) + 1))
    layer = isinstance(operation, ops.LayerNorm)
    own_axes = (operation.axis + 1,) if layer else everything[1:]
    along = own_axes[0] if layer else 1

    def over(axes: tuple[int, ...], missing: int = 0) -> Callable[[list[Array], Arrays], Array]:
        def formula(inputs: list[Array], own: Arrays) -> Array:
            (value,) = inputs
            mean, variance = value.mean(axes, keepdims=True), value.var(axes, keepdims=True, ddof=missing)
            plain = ((value - mean) / (variance + operation.epsilon) ** 0.5).swapaxes(1, along)
            return _normalized(plain, 0.0, 1.0, 0.0, own).swapaxes(1, along)

        return formula

    yield Trial("the variance is divided by n-1", formula=over(own_axes, 1))
    if layer:
        yield from _other_values(operation, "axis", range(len(shapes[0])))
    words = {everything: "all axes of an image", everything[1:]: "the positions", (1,): "the channels"}
    words |= {(axis,): f"axis {axis - 1}" for axis in everything[1:]}
    for axes, word in words.items():
        if axes and axes != own_axes:
            yield Trial(f"it normalizes over {word}", formula=over(axes))


@_register(ops.GroupNorm, ops.EvoNormS0)
def _groups(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    channels = shapes[0][0]
    yield from _other_values(operation, "groups", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, channels])
    groups = operation.groups
    if isinstance(operation, ops.GroupNorm):

        def unbiased(inputs: list[Array], own: Arrays) -> Array:
            (value,) = inputs
            grouped = value.reshape(len(value), groups, -1)
            mean, variance = grouped.mean(2, keepdims=True), grouped.var(2, keepdims=True, ddof=1)
            plain = ((grouped - mean) / (variance + operation.epsilon) ** 0.5).reshape(value.shape)
            return _normalized(plain, 0.0, 1.0, 0.0, own)

        yield Trial("the variance is divided by n-1", formula=unbiased)


@_register(ops.EvoNormS0)
def _gates(operation: ops.EvoNormS0, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    other = operation.model_copy(update={"gate": not operation.gate})
    if operation.gate:
        yield Trial("the gate is left out", other, parameters=lambda own: {n: own[n] for n in ("weight", "bias")})
    else:
        yield Trial("a sigmoid is a factor", other, parameters=lambda own: {**own, "v": 0 * own["weight"] + 1})


@_register(*_POOLS)
def _pools(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    for trial in _other_values(operation, "ceil_mode", [True, False]):
        if trial.operation is not None and trial.operation.output_shape(*shapes) != operation.output_shape(*shapes):
            yield trial
    if max(operation.kernel) == 1:
        return
    fields = {name: getattr(operation, name) for name in ("kernel", "stride", "padding", "ceil_mode")}
    if isinstance(operation, ops.MaxPool):
        for counted in (False, True):
            yield Trial("average instead of max pooling", _average(operation.rank, count_include_pad=counted, **fields))
    else:
        yield Trial("max instead of average pooling", _maximum(operation.rank, **fields))


def _average(rank: int, **fields: Any) -> ops.AvgPool:
    return ops.AvgPool.model_validate({"op": f"avg_pool{rank}d", **fields})


def _maximum(rank: int, **fields: Any) -> ops.MaxPool:
    return ops.MaxPool.model_validate({"op": f"max_pool{rank}d", **fields})


@_register(*_POOLS)
def _subsamplings(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    stride = operation.stride
    if max(operation.kernel) == 1 < max(stride):
        blocks = f"of each {as_text(stride)} values instead of the first"
        yield Trial(f"the mean {blocks}", _average(operation.rank, kernel=stride, stride=stride))
        yield Trial(f"the largest {blocks}", _maximum(operation.rank, kernel=stride, stride=stride))


@_register(ops.AvgPool)
def _average_pools(operation: ops.AvgPool, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    yield from _other_values(operation, "count_include_pad", [True, False])
    if operation.ceil_mode and operation.padding != "same":
        rows = operation.fixed_padding
        whole = operation.model_copy(update={"padding": ((0, 0),) * operation.rank, "ceil_mode": False})
        yield Trial(
            "partial windows are divided by the full window size", whole, inputs=lambda value: _padded(value, rows)
        )


@_register(ops.MaxPool)
def _max_pools(operation: ops.MaxPool, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    paddings: dict[str, Any] = {
        "as the graph has it": operation.explicit_padding(shapes[0]),
        "TensorFlow's same": explicit_padding(shapes[0][1:], operation.kernel, operation.stride),
        "symmetric": tuple(map(symmetric_padding, operation.kernel)),
    }
    unpadded = operation.model_copy(update={"padding": ((0, 0),) * operation.rank})
    for how, rows in paddings.items():
        if not is_unpadded(rows):
            yield Trial(
                f"the pad is 0 instead of minus infinity ({how})",
                unpadded,
                inputs=lambda x, rows=rows: _padded(x, rows),
            )


def _padded(value: Array, edges: Any, **how: Any) -> Array:
    import numpy as np

    return np.pad(value, ((0, 0), (0, 0), *edges), **how)


@_register(ops.GlobalAvgPool, ops.GlobalMaxPool, ops.Mean, ops.Max, ops.Sum)
def _reductions(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    import numpy as np

    chosen: tuple[int, ...] = getattr(operation, "axis", tuple(range(1, len(shapes[0]))))
    functions = {"mean": np.mean, "maximum": np.max, "sum": np.sum, "minimum": np.min}
    own = _REDUCTIONS[operation.op]

    def reduced(function: Any, axes: tuple[int, ...]) -> Callable[[list[Array], Arrays], Array]:
        dims = tuple(axis + 1 for axis in axes)
        return lambda inputs, own: function(inputs[0], axis=dims, keepdims=True)

    for word, function in functions.items():
        if word != own:
            yield Trial(f"the {word} instead of the {own}", formula=reduced(function, chosen))
    count = len(shapes[0])
    others = [(axis,) for axis in range(count)] + [tuple(range(start, count)) for start in (1, 0)]
    for axes in dict.fromkeys(others):
        if axes and axes != chosen:
            yield Trial(f"axis {_axes(axes)} instead of {_axes(chosen)}", formula=reduced(functions[own], axes))


_REDUCTIONS = {
    "global_avg_pool": "mean",
    "global_max_pool": "maximum",
    "mean": "mean",
    "max": "maximum",
    "sum": "sum",
}


def _axes(axes: tuple[int, ...]) -> str:
    return ", ".join(map(str, axes)) if len(axes) == 1 else str([*axes])


@_register(ops.L2Normalize)
def _lengths(operation: ops.L2Normalize, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    yield from _other_values(operation, "axis", range(len(shapes[0])))
    yield from _other_values(operation, "epsilon", EPSILONS)
    axis, epsilon = operation.axis + 1, operation.epsilon

    def divided(divisor: Callable[[Array], Array]) -> Callable[[list[Array], Arrays], Array]:
        return lambda inputs, own: inputs[0] / divisor(inputs[0])

    absolute = divided(lambda x: abs(x).sum(axis, keepdims=True).clip(min=epsilon))
    inside = divided(lambda x: ((x**2).sum(axis, keepdims=True) + epsilon) ** 0.5)
    outside = divided(lambda x: (x**2).sum(axis, keepdims=True) ** 0.5 + epsilon)
    yield Trial("the sum of absolute values instead of the norm", formula=absolute)
    yield Trial("epsilon is added to the squares", formula=inside)
    yield Trial("epsilon is added to the norm", formula=outside)


@_register(ops.GeMPool)
def _powers(operation: ops.GeMPool, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    yield from _other_values(operation, "epsilon", EPSILONS)
    for power in dict.fromkeys((operation.initial, 3.0, 1.0)):
        cause = f"the power is not loaded ({power:g})"
        yield Trial(cause, parameters=lambda own, power=power: {"p": 0 * own["p"] + power})
    yield Trial("the root is left out", formula=lambda inputs, own: _powered(inputs[0], own, operation.epsilon))
    yield Trial(
        "the mean instead of the generalized mean", formula=lambda inputs, own: _over_positions("mean", inputs[0])
    )
    yield Trial(
        "the maximum instead of the generalized mean", formula=lambda inputs, own: _over_positions("max", inputs[0])
    )


def _powered(value: Array, own: Arrays, epsilon: float) -> Array:
    return _over_positions("mean", value.clip(min=epsilon) ** own["p"])


def _over_positions(function: str, value: Array) -> Array:
    return getattr(value, function)(tuple(range(2, value.ndim)), keepdims=True)


@_register(ops.Pad)
def _pads(operation: ops.Pad, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
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
    fewer_after = tuple((before, max(after - 1, 0)) for before, after in now)
    yield from _other_values(
        operation, "padding", [mirrored, fewer_before, fewer_after, ((0, 0),) * operation.rank], _edges
    )


@_register(ops.PadChannels)
def _channel_pads(operation: ops.PadChannels, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    import numpy as np

    whole = operation.before + operation.after
    for before in (0, whole // 2, whole):
        if before != operation.before:
            edges = ((0, 0), (before, whole - before), *[(0, 0)] * (len(shapes[0]) - 1))
            cause = f"{before} channels of zeros before and {whole - before} after"
            yield Trial(cause, formula=lambda inputs, own, edges=edges: np.pad(inputs[0], edges))


@_register(ops.Softmax)
def _softmaxes(operation: ops.Softmax, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    import numpy as np

    yield from _other_values(operation, "axis", range(len(shapes[0])))
    yield Trial("a sigmoid", formula=lambda inputs, own: 1 / (1 + np.exp(-inputs[0])))


@_register(ops.Flatten)
def _flattens(operation: ops.Flatten, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    def channels_last(inputs: list[Array], own: Arrays) -> Array:
        import numpy as np

        return np.moveaxis(inputs[0], 1, -1).reshape(len(inputs[0]), -1)

    if operation.axis == 0:
        names = ", ".join((*SIZE_NAMES[len(shapes[0])][1:], "channels"))
        yield Trial(f"the order is ({names})", formula=channels_last)
    elif operation.axis == 1 and len(shapes[0]) == 3:

        def columns_first(inputs: list[Array], own: Arrays) -> Array:
            return inputs[0].swapaxes(2, 3).reshape(*inputs[0].shape[:2], -1)

        yield Trial("the order is (width, height)", formula=columns_first)


@_register(ops.Reshape)
def _reshapes(operation: ops.Reshape, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    def channels_last(inputs: list[Array], own: Arrays) -> Array:
        import numpy as np

        values = np.moveaxis(inputs[0], 1, -1).reshape(-1, *operation.shape[1:], operation.shape[0])
        return np.moveaxis(values, -1, 1)

    yield Trial("the values are in another order (channels last)", formula=channels_last)
    if shapes[0][::-1] == operation.shape:
        axes = tuple(reversed(range(len(operation.shape))))
        yield Trial("it is transposed, not reshaped", ops.Transpose(op="transpose", axes=axes))


@_register(*ACTIVATIONS)
def _activations(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    import numpy as np

    def softplus(x: Array) -> Array:
        return np.logaddexp(x, 0)

    def sigmoid(x: Array) -> Array:
        return 1 / (1 + np.exp(-x))

    functions: dict[str, Callable[[Array], Array]] = {
        "a ReLU": _relu,
        "a ReLU6": lambda x: x.clip(0, 6),
        "a sigmoid": sigmoid,
        "a hard sigmoid": lambda x: (x / 6 + 0.5).clip(0, 1),
        "a hard sigmoid of slope 0.2": lambda x: (x / 5 + 0.5).clip(0, 1),
        "a SiLU": lambda x: x * sigmoid(x),
        "a hard Swish": lambda x: x * (x / 6 + 0.5).clip(0, 1),
        "a GELU": lambda x: x / 2 * (1 + _erf(x / np.sqrt(2))),
        "a GELU approximated by tanh": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        "a GELU approximated by a sigmoid": lambda x: x * sigmoid(1.702 * x),
        "a Mish": lambda x: x * np.tanh(softplus(x)),
        "an ELU": lambda x: _relu(x) + np.expm1(x.clip(max=0)),
        "a SELU": lambda x: 1.0507009873554805 * (_relu(x) + 1.6732632423543772 * np.expm1(x.clip(max=0))),
        "a tanh": np.tanh,
        "a softplus": softplus,
    }
    for slope in (0.01, 0.1, 0.2, 0.25, 0.3):
        functions[f"a leaky ReLU of slope {slope}"] = lambda x, s=slope: _relu(x) + s * x.clip(max=0)
    functions.pop(_own_function(operation), None)
    for name, function in functions.items():
        yield Trial(name, formula=lambda inputs, own, f=function: f(inputs[0]))


def _own_function(operation: Any) -> str:
    """Return the name of the function that an activation is."""
    match operation:
        case ops.LeakyReLU():
            return f"a leaky ReLU of slope {operation.slope}"
        case ops.ELU():
            return "an ELU" if operation.alpha == 1 else ""
        case ops.GELU():
            return "a GELU approximated by tanh" if operation.approximate else "a GELU"
        case _:
            return _FUNCTION_NAMES.get(operation.op, "")


_FUNCTION_NAMES = {
    "relu": "a ReLU",
    "relu6": "a ReLU6",
    "sigmoid": "a sigmoid",
    "hard_sigmoid": "a hard sigmoid",
    "silu": "a SiLU",
    "hard_swish": "a hard Swish",
    "mish": "a Mish",
    "tanh": "a tanh",
    "softplus": "a softplus",
}


def _erf(value: Array) -> Array:
    import numpy as np

    return np.vectorize(erf, otypes=[value.dtype])(value)


@_register(ops.PReLU)
def _slopes(operation: ops.PReLU, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    def slope(cause: str, change: Callable[[Array], Array]) -> Trial:
        return Trial(cause, parameters=lambda own: {**own, "weight": change(own["weight"])})

    yield slope("the slopes are not loaded (0.25)", lambda weight: 0 * weight + 0.25)
    yield slope("the slopes are not loaded (0)", lambda weight: 0 * weight)
    if operation.per_channel:
        yield slope("every channel has the first channel's slope", lambda weight: 0 * weight + weight[0])


@_register(ops.Scale, ops.Offset, ops.LearnedValue)
def _learned(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    def value(cause: str, change: Callable[[Array], Array]) -> Trial:
        return Trial(cause, parameters=lambda own: {"": change(own[""])})

    yield value(f"the value is not loaded ({operation.initial:g})", lambda own: 0 * own + operation.initial)
    for other in {0.0, 1.0} - {operation.initial}:
        yield value(f"the value is not loaded ({other:g})", lambda own, other=other: 0 * own + other)
    if operation.shape != "scalar":
        yield value("every channel has the first channel's value", lambda own: 0 * own + own[:1])
    if operation.shape not in ("scalar", "channels"):
        yield value("the value is in another layout", _from_channels_last)
    yield value("the value has the other sign", lambda own: -own)


def _from_channels_last(value: Array) -> Array:
    """Read the memory of an array (channels, ...) as (..., channels)."""
    return value.reshape(*value.shape[1:], -1).transpose(-1, *range(value.ndim - 1)).copy()


@_register(ops.Scale, ops.Offset)
def _factors_and_terms(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    adds = isinstance(operation, ops.Offset)
    formulas: dict[str, Callable[[Array, Array], Array]] = {
        "a product instead of a sum" if adds else "a sum instead of a product": (
            (lambda x, own: x * own) if adds else (lambda x, own: x + own)
        ),
        "it is applied twice": (lambda x, own: x + own + own) if adds else (lambda x, own: x * own * own),
    }
    if not adds:
        formulas["a quotient instead of a product"] = lambda x, own: x / own
    for cause, formula in formulas.items():
        yield Trial(cause, formula=lambda inputs, own, f=formula: f(inputs[0], _broadcast(own[""], inputs[0])))


@_register(ops.ELU)
def _alphas(operation: ops.ELU, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    yield from _other_values(operation, "alpha", (1.0, 0.1, 0.3, 1.6732632423543772))


@_register(ops.Dropout, ops.StochasticDepth)
def _drops(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    keep = 1 - operation.rate
    yield Trial("the value is divided by the keep probability", formula=lambda inputs, own: inputs[0] / keep)
    yield Trial("the value is multiplied by the keep probability", formula=lambda inputs, own: inputs[0] * keep)


@_register(ops.Add, ops.Multiply, ops.Subtract, ops.Maximum)
def _joins(operation: Any, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    import numpy as np

    join = join_formula(operation)

    def changed(index: int, change: Callable[[Array], Array]) -> Callable[[list[Array], Arrays], Array]:
        return lambda inputs, own: join([change(v) if i == index else v for i, v in enumerate(inputs)])

    if isinstance(operation, ops.Multiply) and operation.factor != 1:
        yield Trial("the factor is left out", formula=lambda inputs, own: prod(inputs))
        yield Trial("it is divided by the factor", formula=lambda inputs, own: prod(inputs) / operation.factor)
        yield Trial("the factor is applied twice", formula=lambda inputs, own: join(inputs) * operation.factor)
    if len(shapes) == 1:
        return
    for index in range(len(shapes)):
        yield Trial(f"input {index + 1} only", formula=lambda inputs, own, i=index: inputs[i])
        yield Trial(f"a ReLU over input {index + 1}", formula=changed(index, _relu))
        yield Trial(f"input {index + 1} multiplied by 0.2", formula=changed(index, lambda value: 0.2 * value))
    functions: dict[str, Callable[[list[Array]], Array]] = {
        "the sum": sum,  # type: ignore[dict-item]
        "the product": prod,
        "the maximum": lambda inputs: reduce(np.maximum, inputs),
        "the minimum": lambda inputs: reduce(np.minimum, inputs),
        "the difference": lambda inputs: inputs[0] - inputs[1],
        "the mean": lambda inputs: sum(inputs) / len(inputs),
    }
    functions.pop(_JOIN_NAMES[operation.op])
    for name, function in functions.items():
        yield Trial(f"{name} of the inputs", formula=lambda inputs, own, f=function: f(inputs))
    if isinstance(operation, ops.Multiply):
        yield Trial("a sigmoid over input 2", formula=lambda inputs, own: inputs[0] / (1 + np.exp(-inputs[1])))
    if isinstance(operation, ops.Subtract):
        yield Trial("the inputs are swapped", formula=lambda inputs, own: inputs[1] - inputs[0])


_JOIN_NAMES = {
    "add": "the sum",
    "multiply": "the product",
    "subtract": "the difference",
    "maximum": "the maximum",
}


def _matrices(operation: ops.MatMul, inputs: list[Array]) -> list[Array]:
    """Return the inputs of a product after its transpositions."""
    turned = operation.transpose_first, operation.transpose_second
    return [value.swapaxes(-1, -2) if turn else value for value, turn in zip(inputs, turned, strict=True)]


@_register(ops.MatMul)
def _matrix_products(operation: ops.MatMul, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    import numpy as np

    def product(change: Callable[[Array, Array], Array]) -> Callable[[list[Array], Arrays], Array]:
        return lambda inputs, own: change(*_matrices(operation, inputs)) * operation.factor

    yield Trial("the first is transposed", formula=product(lambda a, b: np.matmul(a.swapaxes(-1, -2), b)))
    yield Trial("the second is transposed", formula=product(lambda a, b: np.matmul(a, b.swapaxes(-1, -2))))
    yield Trial("the inputs are swapped", formula=product(lambda a, b: np.matmul(b, a)))
    yield Trial("the result is transposed", formula=product(lambda a, b: np.matmul(a, b).swapaxes(-1, -2)))
    for cause, power in {"the root of": 0.5, "": 1.0}.items():
        cause = f"it is divided by {cause} the number of terms".replace("  ", " ")
        yield Trial(cause, formula=product(lambda a, b, power=power: np.matmul(a, b) / a.shape[-1] ** power))
    if operation.factor != 1:
        yield Trial("the factor is left out", formula=product(lambda a, b: np.matmul(a, b) / operation.factor))
    yield Trial("the product of the elements", formula=product(lambda a, b: a * b))


@_register(ops.Transpose)
def _transposes(operation: ops.Transpose, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    from itertools import permutations

    wanted = operation.output_shape(*shapes)
    inverse = tuple(sorted(range(len(wanted)), key=operation.axes.__getitem__))
    for axes in permutations(range(len(wanted))):
        if axes != operation.axes and tuple(shapes[0][axis] for axis in axes) == wanted:
            which = " (the inverse)" if axes == inverse else ""
            cause = f"axes {list(axes)}{which} instead of {list(operation.axes)}"
            yield from _with_fields(operation, cause, axes=axes)
    shape = (-1, *wanted)
    yield Trial("it is reshaped, not transposed", formula=lambda inputs, own: inputs[0].reshape(shape))


@_register(ops.Concat)
def _concatenations(operation: ops.Concat, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    import numpy as np

    axis = operation.axis + 1
    yield Trial("the order is reversed", formula=lambda inputs, own: np.concatenate(inputs[::-1], axis))
    if len(set(shapes)) == 1:
        shape = (-1, *operation.output_shape(*shapes))

        def interleaved(inputs: list[Array], own: Arrays) -> Array:
            return np.stack(inputs, axis + 1).reshape(shape)

        yield Trial("the inputs alternate", formula=interleaved)
        for other in range(1, len(shapes[0]) + 1):
            if other != axis:
                cause = f"axis {other - 1} instead of {operation.axis}"
                yield Trial(cause, formula=lambda inputs, own, other=other: np.concatenate(inputs, other))
        for index in range(len(shapes)):
            cause = f"input {index + 1} in place of every input"
            yield Trial(cause, formula=lambda inputs, own, i=index: np.concatenate([inputs[i]] * len(inputs), axis))


@_register(ops.Slice)
def _slices(operation: ops.Slice, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    axis, size = operation.axis + 1, shapes[0][operation.axis]
    start, stop = operation.bounds(size)
    length = stop - start

    def taken(first: int, step: int = 1) -> Callable[[list[Array], Arrays], Array]:
        key = (slice(None),) * axis + (slice(first, first + step * length, step),)
        return lambda inputs, own: inputs[0][key]

    others = {0, start - 1, start + 1, size - length, *range(start % length, size - length + 1, length)}
    for first in sorted(others):
        if first != start and 0 <= first <= size - length:
            yield Trial(f"{first} to {first + length} instead of {start} to {stop}", formula=taken(first))
    every = size // length
    for first in range(every if length > 1 else 0):
        yield Trial(f"one in {every} along the axis, from {first}", formula=taken(first, every))


@_register(ops.Resize)
def _resizes(operation: ops.Resize, shapes: tuple[Shape, ...]) -> Iterator[Trial]:
    import numpy as np

    sizes = [*zip(shapes[0][1:], operation.output_shape(*shapes)[1:], strict=True)]
    for mode, coordinates, rounding in (
        ("bilinear", "half_pixel", None),
        ("bilinear", "align_corners", None),
        ("bilinear", "asymmetric", None),
        ("nearest", "asymmetric", "floor"),
        ("nearest", "half_pixel", "half_up"),
        ("nearest", "align_corners", "half_up"),
    ):
        other = operation.model_copy(update={"mode": mode, "coordinates": coordinates, "rounding": rounding})
        if any(other.positions(*size) != operation.positions(*size) for size in sizes):
            cause = f"{mode} with coordinates {coordinates} instead of {operation.mode} with {operation.coordinates}"
            yield Trial(cause, formula=lambda inputs, own, o=other: _interpolated(inputs[0], o, sizes))
    if operation.scale is not None:
        zeros = [slice(None), slice(None), *(slice(None, None, factor) for factor in operation.scale)]

        def between(inputs: list[Array], own: Arrays) -> Array:
            result = np.zeros((*inputs[0].shape[:2], *(after for _, after in sizes)))
            result[tuple(zeros)] = inputs[0]
            return result

        yield Trial("zeros between the values", formula=between)


def _interpolated(value: Array, operation: ops.Resize, sizes: Iterable[tuple[int, int]]) -> Array:
    """Return a map resized by an operation's positions."""
    import numpy as np

    for axis, (before, after) in enumerate(sizes, 2):
        positions = np.array([float(position) for position in operation.positions(before, after)])
        lower = np.floor(positions).astype(int)
        weight = (positions - lower).reshape([-1 if index == axis else 1 for index in range(4)])
        upper = np.minimum(lower + 1, before - 1)
        value = value.take(lower, axis) * (1 - weight) + value.take(upper, axis) * weight
    return value


def join_formula(operation: ops.AnyOperation) -> Callable[[list[Array]], Array]:
    """Return the formula of an operation with several inputs; a trial's network of a single node has one input."""
    import numpy as np

    match operation:
        case ops.Add():
            return sum  # type: ignore[return-value]
        case ops.Multiply():
            return lambda inputs: prod(inputs) * operation.factor
        case ops.Subtract():
            return lambda inputs: inputs[0] - inputs[1]
        case ops.Maximum():
            return lambda inputs: reduce(np.maximum, inputs)
        case ops.Concat():
            return lambda inputs: np.concatenate(inputs, operation.axis + 1)
        case ops.Resize():
            return lambda inputs: _interpolated(
                inputs[0], operation, zip(inputs[0].shape[2:], inputs[1].shape[2:], strict=True)
            )
        case ops.MatMul():
            return lambda inputs: np.matmul(*_matrices(operation, inputs)) * operation.factor
        case _:
            raise NotImplementedError(operation.op)
