"""A step of a file as a statement reads it, and what a statement is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.backend.table import Table
from resnet_spec.structure.steps import NormalForm, Step, Tensor

if TYPE_CHECKING:
    from resnet_spec.operations.fields import Shape


class UnstatedError(Exception):
    """The language has no operation for a step; the message says what is missing."""


@dataclass
class Statement:
    """An operation: its word and fields, the steps that it reads and how many axes they have, and its arrays."""

    op: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inputs: tuple[int, ...] | None = None
    rank: int | None = None
    tensors: Mapping[str, Tensor] | None = None


class StepView:
    """A step of a network as it is read at one or several input sizes.

    ``shapes`` are those of the step's inputs in the graph, which have no axes beyond what they need.
    """

    def __init__(self, networks: Sequence[NormalForm], index: int, step: Step, shapes: Mapping[int, Shape]) -> None:
        self._networks = networks
        self.index = index
        self.step = step
        self.shapes = [shapes[read] for read in step.inputs]

    @property
    def fields(self) -> Mapping[str, Any]:
        """The step's fields at the first size."""
        return self.step.fields

    def each(self, name: str) -> list[Any]:
        """Return a field at each size."""
        return [network.steps[self.index].fields[name] for network in self._networks]

    def shapes_after(self) -> list[Shape]:
        """Return the step's shape at each size."""
        return [network.steps[self.index].shape for network in self._networks]

    def inputs_at(self, position: int = 0) -> list[Shape]:
        """Return the shape of an input at each size."""
        return [network.steps[self.step.inputs[position]].shape for network in self._networks]

    def step_of_positions(self, sizes: Sequence[tuple[int, ...]]) -> int | None:
        """Return the last earlier step whose height and width are these at each size."""
        for index in [0, *reversed(range(1, self.index))]:
            if [network.steps[index].shape[1:] for network in self._networks] == [*sizes]:
                return index
        return None


STATEMENTS: Table[Callable[[StepView], Statement]] = Table("statement")
"""By the kind of a step."""


def decimal(value: object) -> float:
    """Return the shortest decimal number that a float32 stands for: 1e-05 and not 9.99999975e-06."""
    return float(str(np.float32(float(str(value)))))
