"""The table of emitters, what every emitter gets, and the function that calls the one for an operation.

An emitter makes empty layers and never sees weights. It returns the steps that take a node's input to its value, most
often one stock layer; a padding that the layer itself cannot express is a step before it. Maps are channels last, and
what is (channels, length) in the graph is (length, channels).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from resnet_spec.backend.table import Table
from resnet_spec.errors import BackendError, Problem
from resnet_spec.operations import OPERATIONS, AnyOperation
from resnet_spec.operations.fields import Shape
from resnet_spec_keras.framework import NAME
from resnet_spec_keras.quantization import ROUNDED

Steps: TypeAlias = tuple[Callable[[Any], Any], ...]
"""Applied one after another to a Keras tensor (a list of them, for an operation that joins)."""


@dataclass(frozen=True)
class LayerContext:
    """What an emitter needs besides the operation: names and dtype policy of the layers, and facts about the input.

    ``producers`` are the operations whose values reach the layer, over all its calls, and ``shapes`` the shapes of
    those values, channels first and without the batch. ``joined`` has the shapes of all inputs of each call.
    ``free_name`` makes a name that no other layer has. ``kernel_scales`` are those of its kernel in an 8-bit
    network.
    """

    name: str
    policy: Any
    producers: frozenset[str]
    shapes: frozenset[Shape]
    joined: frozenset[tuple[Shape, ...]]
    exact_statistics: bool
    free_name: Callable[[str], str]
    kernel_scales: tuple[float, ...] | None = None
    synchronized: bool = False

    @property
    def common(self) -> dict[str, Any]:
        """Arguments of the layer that has the node's name."""
        return {"name": self.name, "dtype": self.policy}

    def helper(self, kind: str) -> dict[str, Any]:
        """Return the arguments of an additional layer."""
        return {"name": self.free_name(f"{self.name}.{kind}"), "dtype": self.policy}

    def layer(self, kind: Any) -> Any:
        """Return what makes a layer with a kernel: Keras' class, or the one that rounds the kernel to its grid."""
        return partial(ROUNDED[kind], kernel_scales=self.kernel_scales) if self.kernel_scales else kind

    @property
    def rank(self) -> int:
        """Number of axes of the input, without the batch; raises BackendError if the calls differ."""
        ranks = {len(shape) for shape in self.shapes}
        if len(ranks) > 1:
            raise BackendError(Problem("a Keras layer cannot be called on values of different ranks", self.name))
        return ranks.pop()

    @property
    def is_nonnegative(self) -> bool:
        """Whether no value that reaches the layer is below zero."""
        return all(name in OPERATIONS and OPERATIONS[name].nonnegative for name in self.producers)

    def fed_by(self, *ops: str) -> bool:
        """Return whether only values of these operations reach the layer."""
        return self.producers <= {*ops}


Emitter: TypeAlias = Callable[[Any, LayerContext], Steps]

EMITTERS: Table[Emitter] = Table("emitter")
"""Every emitter by the name of its operation."""


def emit(operation: AnyOperation, context: LayerContext) -> Steps:
    """Return the steps of one operation; raises BackendError if Keras cannot express it."""
    if operation.op not in EMITTERS:
        raise BackendError(Problem(f"the {NAME} backend has no {operation.op}", context.name))
    return EMITTERS[operation.op](operation, context)


def keras_axis(axis: int) -> int:
    """Return an axis of a shape in the graph, which omits the batch, as an axis of a batch with the channels last."""
    return axis or -1


def channels_last(shape: Shape) -> Shape:
    """Return a shape (channels, ...) as (..., channels)."""
    return (*shape[1:], shape[0])
