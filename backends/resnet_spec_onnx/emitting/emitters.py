"""The table of emitters, and the function that looks up and calls the one for a node of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from resnet_spec.backend.table import Table
from resnet_spec.errors import BackendError, Problem
from resnet_spec_onnx.emitting.node_builder import NodeBuilder

Emitter: TypeAlias = Callable[..., str]
"""(operation, builder, names of the input values...) to the name of the output value.

An emitter sees names of values and never a weight. One that adds no node returns the name it was given.
"""

EMITTERS: Table[Emitter] = Table("emitter")
"""Every emitter by the name of its operation."""


def emit(builder: NodeBuilder, *values: str) -> str:
    """Add the ONNX nodes of ``builder.node``; raises BackendError if its operation has no emitter."""
    operation = builder.node.operation
    if operation.op not in EMITTERS:
        raise BackendError(Problem(f"the onnx backend has no {operation.op}", builder.node.name))
    return EMITTERS[operation.op](operation, builder, *values)
