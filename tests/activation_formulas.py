"""What each activation computes of one number, written down from its definition; all backends' tests share it."""

from __future__ import annotations

from collections.abc import Callable
from math import erf, exp, log1p, pi, sqrt, tanh
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NUMBERS = np.linspace(-7.5, 7.5, 30).reshape(1, 1, 5, 6)
"""An image (batch, channels, height, width) with values on both sides of every kink."""


class Case(NamedTuple):
    """An activation's arguments, and its definition."""

    op: str
    fields: dict[str, Any]
    formula: Callable[[float], float]

    def expected(self) -> NDArray[np.float64]:
        """What it computes of ``NUMBERS``."""
        return np.array([self.formula(float(number)) for number in NUMBERS.flat]).reshape(NUMBERS.shape)

    def derivative(self) -> NDArray[np.float64]:
        """Its derivative at ``NUMBERS``, none of which is at a kink, from values at four points around each."""
        step = 1e-3
        near = {k: np.array([self.formula(float(x) + k * step) for x in NUMBERS.flat]) for k in (-2, -1, 1, 2)}
        return ((near[-2] - near[2] + 8 * (near[1] - near[-1])) / (12 * step)).reshape(NUMBERS.shape)


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def hard_sigmoid(x: float) -> float:
    return min(max(x + 3, 0), 6) / 6


def gelu_tanh(x: float) -> float:
    return x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2


CASES = (
    Case("relu", {}, lambda x: max(x, 0)),
    Case("relu6", {}, lambda x: min(max(x, 0), 6)),
    # float32 does not represent these slopes.
    Case("leaky_relu", {"slope": 0.1}, lambda x: x if x > 0 else 0.1 * x),
    Case("leaky_relu", {"slope": 0.25}, lambda x: x if x > 0 else 0.25 * x),
    Case("elu", {}, lambda x: x if x > 0 else exp(x) - 1),
    Case("elu", {"alpha": 0.7}, lambda x: x if x > 0 else 0.7 * (exp(x) - 1)),
    Case("silu", {}, lambda x: x * sigmoid(x)),
    Case("gelu", {"approximate": False}, lambda x: x * (1 + erf(x / sqrt(2))) / 2),
    Case("gelu", {"approximate": True}, gelu_tanh),
    Case("mish", {}, lambda x: x * tanh(log1p(exp(x)))),
    Case("sigmoid", {}, sigmoid),
    Case("hard_sigmoid", {}, hard_sigmoid),
    Case("hard_swish", {}, lambda x: x * hard_sigmoid(x)),
    Case("tanh", {}, tanh),
    Case("softplus", {}, lambda x: log1p(exp(x))),
)
