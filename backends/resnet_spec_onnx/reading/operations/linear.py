"""The normal form of linear layers: a convolution of a 1×1 map."""

from __future__ import annotations

from resnet_spec.structure.steps import POINT
from resnet_spec_onnx.reading.constant_folding import Constant
from resnet_spec_onnx.reading.node_view import NodeView, Value
from resnet_spec_onnx.reading.operations.parameters import kernel_and_bias
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS


@NODE_FORMS.register("Gemm")
def _gemm_node(node: NodeView) -> Value:
    node.require(alpha=1.0, beta=1.0, transA=0)
    return _product(node, transposed=bool(node.integer("transB")))


@NODE_FORMS.register("MatMul")
def _matmul_node(node: NodeView) -> Value:
    return _product(node, transposed=False)


def _product(node: NodeView, *, transposed: bool) -> Value:
    step, weight = node.channels_first(node.computed(), 2), node.constant(1)
    if weight.array.ndim != 2:
        raise node.error(f"has a kernel {list(weight.array.shape)}")
    kernel = weight.array if transposed else weight.array.T
    features, inputs = kernel.shape
    if inputs != node.channels(step):
        raise node.error(f"has a kernel for {inputs} features, but its input has {node.channels(step)}")
    tensors = kernel_and_bias(node, Constant(kernel, weight.names), features)
    return node.result(node.network.convolution(step, node.source, POINT, features, 1, tensors), 2)
