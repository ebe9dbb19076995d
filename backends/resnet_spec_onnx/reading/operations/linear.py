"""The normal form of linear layers: a convolution of a 1×1 map."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.reading.constant_folding import Constant
from resnet_spec_onnx.reading.node_view import NodeView, Value
from resnet_spec_onnx.reading.operations.parameters import kernel_and_bias
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS, OPERATION_FORMS, OperationView
from resnet_spec_onnx.reading.steps import POINT, IncomparableError


@OPERATION_FORMS.register("linear")
def _linear(op: ops.Linear, view: OperationView, x: int) -> int:
    if len(view.shape) > 1:
        raise IncomparableError(f"{view.source} of a value of several axes is not compared with files")
    return view.network.convolution(x, view.source, POINT, op.features, 1, view.tensors)


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
