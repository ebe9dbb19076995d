"""The normal forms of activations and softmax."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.reading.node_view import NodeView, Value
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS, OPERATION_FORMS, OperationView


@OPERATION_FORMS.register("relu", "sigmoid", "softmax")
def _activation(op: ops.ReLU | ops.Sigmoid | ops.Softmax, view: OperationView, x: int) -> int:
    return view.network.add(op.op, (x,), view.source, nonnegative=True)


@NODE_FORMS.register("Relu", "Sigmoid")
def _elementwise_node(node: NodeView) -> Value:
    return node.elementwise(node.proto.op_type.lower())


@NODE_FORMS.register("Softmax")
def _softmax_node(node: NodeView) -> Value:
    node.channels_first(node.computed(), 2)
    if node.positive_axis(node.integer("axis", 1 if node.opset < 13 else -1), 2) != 1:
        raise node.error("is not a softmax over the features")
    return node.elementwise("softmax")
