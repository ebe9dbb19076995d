"""Optimizers defined by formulas, since frameworks use the same names differently; each backend maps them to its own.

``w`` is a parameter, ``g`` the gradient of the loss to it, ``t`` the step counted from 1. Every number is rounded to
the nearest that float32 holds, since Keras takes most of them through float32 whatever it computes in.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias


def _rounded(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


@dataclass(frozen=True)
class _Optimizer:
    learning_rate: float
    rate_factor: float = 0.8
    """The factor of the learning rate after each step: at a constant rate two forms of momentum agree."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float):
                object.__setattr__(self, field.name, _rounded(value))

    def rate(self, step: int) -> float:
        """The learning rate of a step.

        Args:
            step: Counted from 1.

        Returns:
            ``learning_rate * rate_factor ** (step - 1)``, rounded to float32.

        Examples:
            >>> SGD(learning_rate=0.5).rate(2)
            0.4000000059604645
        """
        return _rounded(self.learning_rate * self.rate_factor ** (step - 1))


@dataclass(frozen=True)
class SGD(_Optimizer):
    """Stochastic gradient descent with momentum; weight decay is coupled, as in PyTorch.

    g ← g + weight_decay · w;  v ← momentum · v + g, with v = g at first;
    w ← w - rate(t) · v, or with ``nesterov`` w - rate(t) · (g + momentum · v).
    """

    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    nesterov: bool = False
    kind: Literal["sgd"] = "sgd"


@dataclass(frozen=True)
class AdamW(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), epsilon outside the bias correction.

    w ← w - rate(t) · weight_decay · w;  m ← beta1 · m + (1 - beta1) · g;  v ← beta2 · v + (1 - beta2) · g²;
    w ← w - rate(t) · (m / (1 - beta1ᵗ)) / (sqrt(v / (1 - beta2ᵗ)) + epsilon).
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    kind: Literal["adamw"] = "adamw"


Optimizer: TypeAlias = SGD | AdamW

_KINDS: dict[str, type[SGD] | type[AdamW]] = {"sgd": SGD, "adamw": AdamW}


def to_data(optimizer: Optimizer) -> dict[str, Any]:
    """Return an optimizer as plain data."""
    return asdict(optimizer)


def from_data(data: dict[str, Any]) -> Optimizer:
    """The optimizer that plain data describes."""
    return _KINDS[data["kind"]](**data)
