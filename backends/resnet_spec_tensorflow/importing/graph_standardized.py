"""Kernels that a graph standardizes: recognized by what their constants compute, however that is written."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from resnet_spec_tensorflow.importing.graph_def import Constant

TOLERANCE = 1e-4
"""The largest difference from the formula, whose values are about 1."""


class Standardized(NamedTuple):
    """A kernel (rows, columns, in, out) before it is standardized, with the operation's fields and its gain."""

    weight: Constant
    epsilon: float
    gain: Constant | None = None
    gamma: float = 1.0


def standardized(kernel: Constant) -> Standardized | None:
    """The standardized kernel that a constant is, None if it is something else."""
    if kernel.op == "Const" or kernel.array.ndim != 4:
        return None
    leaves = [*_leaves(kernel)]
    epsilons = {float(leaf.array.reshape(())) for leaf in leaves if leaf.array.size == 1}
    wanted = kernel.array.astype(np.float64)
    for weight in leaves:
        if weight.array.shape == kernel.array.shape:
            for epsilon in sorted(number for number in epsilons if 0 < number < 0.1):
                if found := _matching(wanted, weight, epsilon, leaves):
                    return found
    return None


def _leaves(constant: Constant) -> Iterator[Constant]:
    """The stored arrays that a constant is computed from."""
    waiting, seen = [constant], set[int]()
    while waiting:
        own = waiting.pop()
        if id(own) not in seen:
            seen.add(id(own))
            waiting += own.inputs
            if own.op == "Const":
                yield own


def _matching(kernel: Any, weight: Constant, epsilon: float, leaves: list[Constant]) -> Standardized | None:
    stored = weight.array.astype(np.float64)
    centered = stored - stored.mean((0, 1, 2))
    unit = centered / np.sqrt((centered**2).mean((0, 1, 2)) + epsilon)
    if np.abs(kernel - unit).max() < TOLERANCE:
        return Standardized(weight, epsilon)
    ratio = (kernel * unit).sum((0, 1, 2)) / np.maximum((unit**2).sum((0, 1, 2)), 1e-12)
    if np.abs(kernel - ratio * unit).max() >= TOLERANCE * max(np.abs(kernel).max(), 1e-12):
        return None
    for gain in leaves:
        if gain is not weight and gain.array.size == len(ratio) and np.all(gain.array):
            factors = ratio / gain.array.reshape(-1)
            if np.ptp(factors) < TOLERANCE * abs(factors[0]):
                gamma = float(factors.mean()) * sqrt(prod(weight.array.shape[:3]))
                return Standardized(weight, epsilon, gain, gamma)
    return None
