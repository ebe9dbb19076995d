"""The table of emitters, what every emitter gets, and the function that calls the one for an operation.

An emitter makes empty layers and never sees weights. It returns the steps that take a node's input to its value, most
often one stock layer; a padding that the layer itself cannot express is a step before it. Maps are channels last, and
what is (channels, length) in the graph is (length, channels).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from resnet_spec.backend.table import Table
from resnet_spec.errors import BackendError, Problem
from resnet_spec.operations import AnyOperation
from resnet_spec.operations.fields import Shape

Steps: TypeAlias = tuple[Callable[[Any], Any], ...]
"""Applied one after another to a Keras tensor (a list of them, for an operation that joins)."""


@dataclass(frozen=True)
class LayerContext:
    """Where an operation stands: what its layers are called, their dtype policy, and what is known of its input.

    ``producers`` are the operations whose values reach the layer, over all its calls, and ``shapes`` the shapes of
    those values, channels first and without the batch. ``free_name`` makes a name that no other layer has.
    """

    name: str
    policy: Any
    producers: frozenset[str]
    shapes: frozenset[Shape]
    exact_statistics: bool
    free_name: Callable[[str], str]

    @property
    def common(self) -> dict[str, Any]:
        """Arguments of the layer that bears the node's name."""
        return {"name": self.name, "dtype": self.policy}

    def helper(self, kind: str) -> dict[str, Any]:
        """Arguments of a layer beside that one."""
        return {"name": self.free_name(f"{self.name}.{kind}"), "dtype": self.policy}

    @property
    def rank(self) -> int:
        """How many axes its input has, without the batch; raises BackendError where the calls differ."""
        ranks = {len(shape) for shape in self.shapes}
        if len(ranks) > 1:
            raise BackendError(Problem("Keras calls no layer on values of different ranks", self.name))
        return ranks.pop()

    def fed_by(self, *ops: str) -> bool:
        """Whether nothing but the values of these operations reaches the layer."""
        return self.producers <= {*ops}


Emitter: TypeAlias = Callable[[Any, LayerContext], Steps]

EMITTERS: Table[Emitter] = Table("emitter")
"""Every emitter by the name of its operation."""


def emit(operation: AnyOperation, context: LayerContext) -> Steps:
    """The steps of one operation; raises BackendError where Keras cannot express it."""
    if operation.op not in EMITTERS:
        raise BackendError(Problem(f"the tensorflow backend has no {operation.op}", context.name))
    return EMITTERS[operation.op](operation, context)


def channels_last(shape: Shape) -> Shape:
    """Return a shape (channels, ...) as (..., channels)."""
    return (*shape[1:], shape[0])
