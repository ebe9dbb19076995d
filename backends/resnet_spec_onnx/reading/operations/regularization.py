"""Dropout and stochastic depth, which do nothing in inference and so add no step."""

from __future__ import annotations

from resnet_spec_onnx.reading.node_view import NodeView, Value
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS


@NODE_FORMS.register("Dropout", "Identity")
def _identity_node(node: NodeView) -> Value:
    return node.computed()
