"""Two tables: the normal form of a graph's operations and that of ONNX operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from resnet_spec.backend.table import Table
from resnet_spec.graph import Graph, Node, parameter_name
from resnet_spec_onnx.reading.node_view import NodeView, Value
from resnet_spec_onnx.reading.steps import NormalForm, Tensor


class OperationView:
    """One node of a graph, its parameters, and the network to which its steps are added."""

    def __init__(self, network: NormalForm, graph: Graph, node: Node) -> None:
        self.network = network
        self.source = f"{node.name!r} ({node.operation.op})"
        slots = node.operation.parameters(*graph.input_shapes(node))
        self.tensors = {slot.name: Tensor((parameter_name(node.layer, slot.name),)) for slot in slots}
        self.shape = node.shape


OPERATION_FORMS: Table[Callable[..., int]] = Table("normal form")
"""By the name of a graph's operation: (operation, its view, steps that it reads) to the step that computes it."""

NodeForm: TypeAlias = Callable[[NodeView], Value | tuple[Value, ...]]

NODE_FORMS: Table[NodeForm] = Table("normal form")
"""By the name of an ONNX operator: its view to its value, or to one for each output."""
