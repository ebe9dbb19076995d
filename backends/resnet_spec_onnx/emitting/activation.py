"""Activations and softmax as ONNX nodes."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder


@EMITTERS.register("relu")
def _relu(op: ops.ReLU, builder: NodeBuilder, x: str) -> str:
    return builder.add("Relu", x)


@EMITTERS.register("sigmoid")
def _sigmoid(op: ops.Sigmoid, builder: NodeBuilder, x: str) -> str:
    return builder.add("Sigmoid", x)


@EMITTERS.register("softmax")
def _softmax(op: ops.Softmax, builder: NodeBuilder, x: str) -> str:
    return builder.add("Softmax", x, axis=1)
