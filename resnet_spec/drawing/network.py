"""What a drawing reads of a graph: its nodes, scopes, input and outputs, and what each node costs.

Graphs show themselves as drawings in a notebook, so this package is below theirs and states what it reads as protocols.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Protocol

from resnet_spec.operations import BaseOperation
from resnet_spec.operations.fields import Shape


class Node(Protocol):
    """One application of an operation."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def operation(self) -> BaseOperation: ...  # noqa: D102
    @property
    def inputs(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def shape(self) -> Shape: ...  # noqa: D102
    @property
    def calls(self) -> str | None: ...  # noqa: D102


class Scope(Protocol):
    """A stage, or a block."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def output(self) -> str: ...  # noqa: D102
    @property
    def block(self) -> str | None: ...  # noqa: D102
    @property
    def residual(self) -> bool: ...  # noqa: D102


class Input(Protocol):
    """What the network reads."""

    @property
    def shape(self) -> Shape: ...  # noqa: D102


class Network(Protocol):
    """A graph."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def input(self) -> Input: ...  # noqa: D102
    @property
    def nodes(self) -> Sequence[Node]: ...  # noqa: D102
    @property
    def scopes(self) -> Sequence[Scope]: ...  # noqa: D102
    @property
    def outputs(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def output_names(self) -> Sequence[str]: ...  # noqa: D102


@dataclass(frozen=True)
class Cost:
    """What a part costs: multiply-accumulates, trainable parameters, and elements of all its values."""

    macs: int = 0
    params: int = 0
    activations: int = 0

    @classmethod
    def of(cls, node: Node, inputs: Sequence[Shape]) -> Cost:
        """The cost of a node; a layer that is called again has no parameters of its own."""
        slots = () if node.calls else node.operation.parameters(*inputs)
        params = sum(prod(slot.shape) for slot in slots if slot.role.trainable)
        return cls(node.operation.macs(tuple(inputs), node.shape), params, prod(node.shape))

    @classmethod
    def total(cls, costs: Iterable[Cost]) -> Cost:
        """The sum of several."""
        found = list(costs)
        return cls(*(sum(getattr(cost, field.name) for cost in found) for field in fields(cls)))
