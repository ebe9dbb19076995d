"""The table of the normal forms of ONNX operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from resnet_spec.backend.table import Table
from resnet_spec_onnx.reading.node_view import NodeView, Value

NodeForm: TypeAlias = Callable[[NodeView], Value | tuple[Value, ...]]

NODE_FORMS: Table[NodeForm] = Table("normal form")
"""By the name of an ONNX operator: its view to its value, or to one for each output."""
