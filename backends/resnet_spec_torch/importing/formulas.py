"""What several functions compute together: recognized by its results for random numbers, however it is written.

A function that is not an operation by itself becomes an ``Expression``, as do the functions that read it, until what
they compute is an operation's formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, permutations, product
from math import prod
from typing import Any, NamedTuple, TypeAlias, cast

import torch

from resnet_spec.backend import Value
from resnet_spec.operations.convolution import usual_gamma
from resnet_spec_torch.importing.call import Array, Expression

EXPRESSIBLE = frozenset(
    f"aten.{name}"
    for name in (
        "add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "maximum", "reciprocal", "square", "sqrt", "rsqrt",
        "pow.Tensor_Scalar", "pow.Tensor_Tensor", "mean.dim", "sum.dim_IntList", "var.dim", "var.correction",
        "var_mean.correction", "linalg_vector_norm", "clamp_min", "clamp", "expand", "expand_as", "reshape",
        "reshape_as", "view", "view_as", "unsqueeze", "flatten.using_ints", "unflatten.int", "batch_norm", "arange",
        "floor_divide", "new_ones", "pad", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    )
)  # fmt: skip
"""Functions whose results several together may be an operation."""

MAX_FUNCTIONS = 32
"""The most functions that one formula is written with."""

MAX_CONSTANT = 2**20
"""The most numbers of a constant that a program computes."""

TOLERANCE = 1e-9
"""The largest relative difference from a formula, both computed in float64."""

Probes: TypeAlias = Callable[[Value | Array], torch.Tensor]


class Recognized(NamedTuple):
    """An operation, its fields and its arrays by slot."""

    op: str
    fields: dict[str, Any]
    slots: dict[str, Array]


def functions(expression: Expression) -> list[Expression]:
    """The expressions that an expression is computed from, with itself."""
    found: dict[int, Expression] = {}
    waiting = [expression]
    while waiting:
        own = waiting.pop()
        if id(own) not in found:
            found[id(own)] = own
            waiting += [part for part in parts((own.args, own.kwargs)) if isinstance(part, Expression)]
    return [*found.values()]


def parts(argument: Any) -> Iterator[Value | Array | Expression]:
    """What an argument has of the graph and of the model."""
    if isinstance(argument, Value | Array | Expression):
        yield argument
    elif isinstance(argument, dict):
        yield from parts([*cast("dict[str, Any]", argument).values()])
    elif isinstance(argument, list | tuple):
        for part in cast("Sequence[Any]", argument):
            yield from parts(part)


def values(expression: Expression) -> list[Value]:
    """The values of the graph that an expression depends on."""
    found = _leaves(expression)
    return [*{leaf.index: leaf for leaf in found if isinstance(leaf, Value)}.values()]


def arrays_of(expression: Expression) -> list[Array]:
    """The arrays of the model that an expression depends on."""
    return [*{leaf.name: leaf for leaf in _leaves(expression) if isinstance(leaf, Array)}.values()]


def _leaves(expression: Expression) -> list[Any]:
    return [part for own in functions(expression) for part in parts((own.args, own.kwargs))]


def _numbers(expression: Expression) -> list[int | float]:
    """The numbers that an expression states, those of shapes and axes too."""
    given: list[Any] = [item for own in functions(expression) for item in (*own.args, *own.kwargs.values())]
    lists: list[Any] = [item for item in given if isinstance(item, list | tuple) and not isinstance(item, Array)]
    return [number for number in chain(given, *lists) if isinstance(number, int | float)]


def _epsilons(expression: Expression) -> set[float]:
    return {number for number in _numbers(expression) if isinstance(number, float) and number > 0}


def evaluate(expression: Expression, probes: Probes) -> torch.Tensor:
    """Compute an expression of the numbers that ``probes`` returns for its values and arrays."""
    known: dict[int, Any] = {}

    def filled(argument: Any) -> Any:
        if isinstance(argument, Expression):
            if id(argument) not in known:
                given: list[Any] = [filled(part) for part in argument.args]
                if argument.in_place:
                    given[0] = given[0].clone()
                known[id(argument)] = argument.target(*given, **{k: filled(v) for k, v in argument.kwargs.items()})
            return known[id(argument)]
        if isinstance(argument, Value | Array):
            return probes(argument)
        if isinstance(argument, list | tuple):
            return [filled(part) for part in cast("Sequence[Any]", argument)]
        return argument

    with torch.no_grad():
        return filled(expression)


def constant(expression: Expression) -> torch.Tensor | None:
    """The numbers that an expression is, None if it depends on a value or an array."""
    if [*_leaves(expression)] != [leaf for leaf in _leaves(expression) if isinstance(leaf, Expression)]:
        return None
    if any(own.shape is None or prod(own.shape) > MAX_CONSTANT for own in functions(expression)):
        return None
    return evaluate(expression, _no_probes)


def _no_probes(leaf: Value | Array) -> torch.Tensor:
    raise AssertionError(leaf)


def _drawn(name: str, *sizes: int) -> torch.Tensor:
    """Random numbers for an array, the same each time: positive and all different, as no formula is symmetric in."""
    generator = torch.Generator().manual_seed(sum(index * ord(letter) for index, letter in enumerate(name, start=1)))
    return torch.rand(*sizes, generator=generator, dtype=torch.float64) + 0.5


def _same(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether two results are the same for each entry of the first axis, whose magnitudes may differ."""
    if found.numel() != wanted.numel():
        return False
    found, wanted = (value.reshape(wanted.shape[0], -1) for value in (found, wanted))
    largest = wanted.abs().amax(1)
    return bool(((found - wanted).abs().amax(1) <= TOLERANCE * largest).all())


# ---------------------------------------------------------------------------------------------------------------
# Kernels


def standardized(kernel: Expression) -> Recognized | None:
    """The standardized kernel that an expression of weights is, None if it is something else."""
    arrays, sizes = arrays_of(kernel), kernel.shape
    if values(kernel) or sizes is None or len(sizes) != 4:
        return None
    found = [
        result
        for weight in arrays
        if weight.trainable and weight.tensor.numel() == prod(sizes)
        for result in _standardized(kernel, sizes, weight, [array for array in arrays if array.name != weight.name])
    ]
    return found[0] if len(found) == 1 else None


def _standardized(
    kernel: Expression, sizes: tuple[int, ...], weight: Array, others: list[Array]
) -> Iterator[Recognized]:
    # Channels of every magnitude, so that each epsilon has an effect.
    magnitudes = torch.logspace(0, -7, sizes[0], dtype=torch.float64)
    drawn = (_drawn(weight.name, *sizes) - 1) * magnitudes[:, None, None, None]

    def probes(leaf: Any) -> torch.Tensor:
        own = drawn if leaf.name == weight.name else _drawn(leaf.name, leaf.tensor.numel())
        return own.reshape(leaf.tensor.shape)

    value = evaluate(kernel, probes)
    stored = weight._replace(tensor=weight.tensor.reshape(sizes)) if weight.tensor.shape != sizes else weight
    for epsilon in _epsilons(kernel):
        centered = drawn - drawn.mean((1, 2, 3), keepdim=True)
        unit = centered / (centered.square().mean((1, 2, 3), keepdim=True) + epsilon).sqrt()
        if _same(value, unit):
            yield Recognized("std_conv2d", {"epsilon": epsilon}, {"weight": stored})
        for gain in others:
            if not gain.trainable or gain.tensor.numel() != sizes[0]:
                continue
            scaled = unit * _drawn(gain.name, sizes[0])[:, None, None, None]
            factor = float((value * scaled).sum() / scaled.square().sum())
            if factor > 0 and _same(value, scaled * factor):
                fields = {"epsilon": epsilon, "gain": True, "gamma": _gamma(factor, prod(sizes[1:]))}
                column = gain._replace(tensor=gain.tensor.reshape(-1, 1, 1, 1))
                yield Recognized("std_conv2d", fields, {"weight": stored, "gain": column})


def _gamma(factor: float, count: int) -> float:
    """The field that makes a factor; one of the known constants where it is the same but for rounding."""
    found = factor * count**0.5
    return usual_gamma(found, TOLERANCE) or float(f"{found:.12g}")


# ---------------------------------------------------------------------------------------------------------------
# Normalizations and pools


def recognized(
    expression: Expression, function: str, made: Mapping[int, Expression]
) -> tuple[Recognized, Value] | None:
    """The operation that an expression is, and the value that it reads; None if it is not a whole formula.

    ``made`` has what values are computed by, for a formula that has operations as its parts.
    """
    finders = _FINDERS.get(function)
    if finders is None or expression.shape is None:
        return None
    expression = _of_one_value(expression, made)
    read = values(expression)
    while len(read) == 1 and read[0].shape and len(functions(expression)) <= MAX_FUNCTIONS:
        probing = _Probing(expression, read[0])
        found = [result for finder in finders for result in finder(probing)]
        # A formula may begin with a reshape, of which alone it is computed.
        if found or read[0].index not in made:
            return (found[0], read[0]) if len(found) == 1 else None
        expression = _with(expression, read[0].index, made[read[0].index], {})
        read = values(expression)
    return None


def _of_one_value(expression: Expression, made: Mapping[int, Expression]) -> Expression:
    """The expression of the last value that all others are computed from, if there is one nearby."""
    for _ in range(MAX_FUNCTIONS // 2):
        last = max(values(expression), key=lambda value: value.index, default=None)
        if len(values(expression)) < 2 or last is None or last.index not in made:
            break
        expression = _with(expression, last.index, made[last.index], {})
    return expression


def _with(expression: Expression, index: int, computed: Expression, known: dict[int, Expression]) -> Expression:
    """Replace a value by what it is computed by."""

    def changed(argument: Any) -> Any:
        if isinstance(argument, Expression):
            if id(argument) not in known:
                known[id(argument)] = _with(argument, index, computed, known)
            return known[id(argument)]
        if isinstance(argument, Value):
            return computed if argument.index == index else argument
        if isinstance(argument, list | tuple) and not isinstance(argument, Array):
            return [changed(part) for part in cast("Sequence[Any]", argument)]
        return argument

    kwargs = {name: changed(argument) for name, argument in expression.kwargs.items()}
    return replace(expression, args=[changed(argument) for argument in expression.args], kwargs=kwargs)


class _Probing:
    """Compares an expression of one value with formulas, by what both compute of random numbers."""

    def __init__(self, expression: Expression, x: Value) -> None:
        self.x = x.shape
        self.arrays = [array for array in arrays_of(expression) if array.trainable]
        self.epsilons = _epsilons(expression)
        self.shape = cast("tuple[int, ...]", expression.shape)[1:]
        self._expression = expression
        self._batch = cast("tuple[int, ...]", expression.shape)[0]
        self._computed: dict[float, tuple[torch.Tensor, torch.Tensor]] = {}

    def groups(self) -> list[int]:
        """The numbers of groups of channels that it may have: it states how many there are, or the size of one."""
        channels, stated = self.x[0], {1, self.x[0], *_numbers(self._expression)}
        return [n for n in range(1, channels + 1) if channels % n == 0 and not stated.isdisjoint((n, channels // n))]

    def of_channels(self, count: int) -> bool:
        """Whether its result has the value's shape, and as many arrays have a number for each channel."""
        if len(arrays_of(self._expression)) != count or self.shape != self.x or len(self.x) < 2:
            return False
        return [array.tensor.numel() for array in self.arrays] == [self.x[0]] * count

    def matches(self, formula: Callable[..., torch.Tensor], *arrays: Array, edge: float) -> bool:
        """Whether it computes a formula of the value and arrays, also where values are about ``edge``."""
        flat = [_drawn(array.name, array.tensor.numel()) for array in arrays]
        for magnitude in (1.0, edge, edge / 100):
            if magnitude not in self._computed:
                probe = (_drawn("the input", self._batch, *self.x) - 1) * magnitude
                self._computed[magnitude] = probe, evaluate(self._expression, self._probes(probe))
            probe, computed = self._computed[magnitude]
            # Most formulas fail on the first image.
            if not (_same(computed[:1], formula(probe[:1], *flat)) and _same(computed, formula(probe, *flat))):
                return False
        return True

    def _probes(self, probe: torch.Tensor) -> Probes:
        def probes(leaf: Value | Array) -> torch.Tensor:
            if isinstance(leaf, Value):
                return probe
            return _drawn(leaf.name, leaf.tensor.numel()).reshape(leaf.tensor.shape)

        return probes


def _l2_normalize(probing: _Probing) -> Iterator[Recognized]:
    if probing.shape != probing.x:
        return
    for axis, epsilon in product(range(len(probing.x)), probing.epsilons):

        def formula(x: torch.Tensor, axis: int = axis, epsilon: float = epsilon) -> torch.Tensor:
            return x / x.square().sum(axis + 1, keepdim=True).sqrt().clamp(min=epsilon)

        if probing.matches(formula, edge=epsilon):
            yield Recognized("l2_normalize", {"axis": axis, "epsilon": epsilon}, {})


def _by_channel(array: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return array.reshape(-1, *[1] * (x.dim() - 2))


def _flat(array: Array) -> Array:
    return array if array.tensor.dim() == 1 else array._replace(tensor=array.tensor.reshape(-1))


def _filter_response_norm(probing: _Probing) -> Iterator[Recognized]:
    if not probing.of_channels(2):
        return
    for (weight, bias), epsilon in product(permutations(probing.arrays), probing.epsilons):

        def formula(x: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor, e: float = epsilon) -> torch.Tensor:
            mean = x.square().mean([*range(2, x.dim())], keepdim=True)
            return x / (mean + e).sqrt() * _by_channel(scale, x) + _by_channel(offset, x)

        if probing.matches(formula, weight, bias, edge=epsilon**0.5):
            slots = {"weight": _flat(weight), "bias": _flat(bias)}
            yield Recognized("filter_response_norm", {"epsilon": epsilon, "threshold": False}, slots)


def _evo_norm_s0(probing: _Probing) -> Iterator[Recognized]:
    gate = probing.of_channels(3)
    if not gate and not probing.of_channels(2):
        return
    for arrays, groups, epsilon in product(permutations(probing.arrays), probing.groups(), probing.epsilons):

        def formula(
            x: torch.Tensor, *arrays: torch.Tensor, groups: int = groups, epsilon: float = epsilon
        ) -> torch.Tensor:
            grouped = x.reshape(len(x), groups, -1)
            normal = grouped / (grouped.var(2, correction=0, keepdim=True) + epsilon).sqrt()
            scale, offset, *v = (_by_channel(array, x) for array in arrays)
            normal = normal.reshape(x.shape)
            return (normal * (x * v[0]).sigmoid() if v else normal) * scale + offset

        if probing.matches(formula, *arrays, edge=epsilon**0.5):
            slots = dict[str, Array](zip(("weight", "bias", "v"), map(_flat, arrays), strict=False))
            yield Recognized("evo_norm_s0", {"groups": groups, "epsilon": epsilon, "gate": gate}, slots)


def _gem_pool(probing: _Probing) -> Iterator[Recognized]:
    if len(probing.arrays) != 1 or len(probing.x) < 2 or probing.arrays[0].tensor.numel() != 1:
        return
    for epsilon in probing.epsilons:

        def formula(x: torch.Tensor, p: torch.Tensor, epsilon: float = epsilon) -> torch.Tensor:
            return x.clamp(min=epsilon).pow(p).mean([*range(2, x.dim())], keepdim=True).pow(1 / p)

        if probing.matches(formula, probing.arrays[0], edge=epsilon):
            yield Recognized("gem_pool", {"epsilon": epsilon}, {"p": _flat(probing.arrays[0])})


_FINDERS: dict[str, tuple[Callable[[_Probing], Iterator[Recognized]], ...]] = {
    "aten.div.Tensor": (_l2_normalize,),
    "aten.mul.Tensor": (_l2_normalize,),
    "aten.add.Tensor": (_filter_response_norm, _evo_norm_s0),
    "aten.pow.Tensor_Tensor": (_gem_pool,),
}
"""By the last function of a formula."""

OPENED = frozenset(
    f"aten.{name}"
    for name in (
        "unflatten.int",
        "reshape",
        "view",
        "flatten.using_ints",
        "mean.dim",
        "sub.Tensor",
        "mul.Tensor",
        "sigmoid",
    )
)
"""Operations that a formula has as its parts."""
