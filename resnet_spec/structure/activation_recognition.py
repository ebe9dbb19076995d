"""Recognizes activations that are written as several nodes, by what these compute: the order of the nodes varies.

The nodes between one value and another, if they compute each element from one element, are a function of a number,
which is compared with the known ones at some numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from math import erf, pi, sqrt
from typing import TYPE_CHECKING, Any

from resnet_spec.structure.steps import HARD_SIGMOID, NormalForm, Step, to_float32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MOST_STEPS = 12
"""The most steps that one activation is written as; the approximation of GELU takes nine."""


@cache
def _numbers() -> Array:
    """Return the numbers of which activations are computed."""
    import numpy as np

    return np.linspace(-9, 9, 64)


def _sigmoid(x: Array) -> Array:
    import numpy as np

    return 1 / (1 + np.exp(-x))


def _softplus(x: Array) -> Array:
    import numpy as np

    return np.logaddexp(x, 0)


def _erf(x: Array) -> Array:
    import numpy as np

    return np.array([erf(number) for number in x])


def _hard_sigmoid(x: Array) -> Array:
    return (x / 6 + 0.5).clip(0, 1)


@cache
def _activations() -> list[tuple[str, Mapping[str, Any], Array]]:
    """Return a step's kind and fields, and what it computes of the numbers, for each activation."""
    import numpy as np

    x = _numbers()
    return [
        ("silu", {}, x * _sigmoid(x)),
        ("gelu", {"approximate": False}, x * (1 + _erf(x / sqrt(2))) / 2),
        ("gelu", {"approximate": True}, x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2),
        ("mish", {}, x * np.tanh(_softplus(x))),
        ("hard_sigmoid", HARD_SIGMOID, _hard_sigmoid(x)),
        ("hard_swish", {}, x * _hard_sigmoid(x)),
    ]


_AFFINE_AND_JOINS = {"add", "multiply", "shift", "scale", "factor"}
_FUNCTIONS = {"relu", "leaky_relu", "elu", "clip", "sigmoid", "hard_sigmoid", "tanh", "erf", "softplus"}
ELEMENTWISE = _AFFINE_AND_JOINS | _FUNCTIONS
"""The kinds of step that an activation may consist of."""


def _function(step: Step, x: Array, *others: Array) -> Array | None:
    """Return what a step computes of numbers, or None if it depends on the channel."""
    import numpy as np

    fields: Mapping[str, Any] = step.fields
    match step.kind:
        case "add":
            return x + others[0]
        case "multiply":
            return x * others[0]
        case "shift" | "scale":
            return _affine(step, x)
        case "factor":
            return x * fields["value"]
        case "relu":
            return x.clip(min=0)
        case "leaky_relu":
            return np.where(x > 0, x, fields["slope"] * x)
        case "elu":
            return np.where(x > 0, x, fields["alpha"] * np.expm1(x))
        case "clip":
            return x.clip(fields["minimum"], fields["maximum"])
        case "sigmoid":
            return _sigmoid(x)
        case "hard_sigmoid":
            return (fields["slope"] * x + fields["offset"]).clip(0, 1)
        case "tanh":
            return np.tanh(x)
        case "erf":
            return _erf(x)
        case _:
            return _softplus(x)


def _affine(step: Step, x: Array) -> Array | None:
    import numpy as np

    (tensor,) = step.tensors.values()
    if tensor.array is None or np.ptp(tensor.array) != 0:
        return None
    number = float(tensor.array.flat[0])
    if step.kind == "shift":
        return x - number if step.fields["negated"] else x + number
    if step.fields["divided"]:
        return x / number if number else None
    return x * number


def recognize_activations(network: NormalForm) -> NormalForm:
    """Return the network with one step for each activation that several steps compute; it computes the same."""
    steps = list(network.steps)
    for index in reversed(range(len(steps))):
        if steps[index].kind in ("multiply", "scale", "factor", "add"):
            steps[index] = _recognized(network, index)
    if steps == network.steps:
        return network
    changed = NormalForm(network.steps[0].shape)
    changed.steps = steps
    return changed.pruned(network.outputs)


def _recognized(network: NormalForm, index: int) -> Step:
    """Return a step, or the activation that it completes: the one that reads the most distant value."""
    import numpy as np

    step = network.steps[index]
    for source, between in _functions(network, index):
        # A network may multiply by any number.
        with np.errstate(all="ignore"):
            found = _computed(network, source, between)
        if found is None:
            break
        if activation := _activation(found):
            kind, fields = activation
            step = replace(step, kind=kind, fields=fields, inputs=(source,), tensors={})
    return step


def _activation(found: Array) -> tuple[str, Mapping[str, Any]] | None:
    """Return the kind and the fields of the activation that computes these values of the numbers, if it is known."""
    import numpy as np

    for kind, fields, wanted in _activations():
        if np.allclose(found, wanted, rtol=1e-5, atol=1e-6):
            return kind, fields
    x = _numbers()
    if np.array_equal(found[x > 0], x[x > 0]):
        below = x[x < 0]
        for kind, field, unit in (("elu", "alpha", np.expm1(below)), ("leaky_relu", "slope", below)):
            factors = found[x < 0] / unit
            if np.allclose(factors, factors[0], rtol=1e-6, atol=0):
                return kind, {field: to_float32(factors[0])}
    return None


def _functions(network: NormalForm, index: int) -> Iterator[tuple[int, list[int]]]:
    """Yield each value on which alone a step depends through elementwise steps, and these steps, in order."""
    between, reads = [index], {*network.steps[index].inputs}
    while len(between) < MOST_STEPS:
        if len(reads) == 1:
            yield next(iter(reads)), between[::-1]
        # The last of the values read cannot depend on the others through later ones.
        last = max(reads)
        if network.steps[last].kind not in ELEMENTWISE:
            return
        reads.remove(last)
        reads.update(network.steps[last].inputs)
        between.append(last)


def _computed(network: NormalForm, source: int, between: list[int]) -> Array | None:
    """Return what steps compute of the numbers, or None if one depends on more than an element."""
    shape = network.steps[source].shape
    values: dict[int, Array] = {source: _numbers()}
    for index in between:
        step = network.steps[index]
        found = _function(step, *(values[read] for read in step.inputs)) if step.shape == shape else None
        if found is None:
            return None
        values[index] = found
    return values[between[-1]]
