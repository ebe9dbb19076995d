"""The normal form of pools."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.reading.node_view import NodeView, Value
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS, OPERATION_FORMS, OperationView
from resnet_spec_onnx.reading.operations.windows import window_of
from resnet_spec_onnx.reading.steps import Window


@OPERATION_FORMS.register("max_pool2d")
def _max_pool2d(op: ops.MaxPool2d, view: OperationView, x: int) -> int:
    window = Window(op.kernel, op.stride, op.padding, ceil_mode=op.ceil_mode)
    return view.network.max_pool(x, view.source, window)


@OPERATION_FORMS.register("avg_pool2d")
def _avg_pool2d(op: ops.AvgPool2d, view: OperationView, x: int) -> int:
    window = Window(op.kernel, op.stride, op.padding, ceil_mode=op.ceil_mode)
    return view.network.average_pool(x, view.source, window, count_include_pad=op.count_include_pad)


@OPERATION_FORMS.register("global_avg_pool")
def _global_avg_pool(op: ops.GlobalAvgPool, view: OperationView, x: int) -> int:
    return view.network.global_pool("global_average_pool", x, view.source)


@OPERATION_FORMS.register("global_max_pool")
def _global_max_pool(op: ops.GlobalMaxPool, view: OperationView, x: int) -> int:
    return view.network.global_pool("global_max_pool", x, view.source)


@NODE_FORMS.register("MaxPool")
def _max_pool_node(node: NodeView) -> Value:
    step, window = _window(node)
    return node.result(node.network.max_pool(step, node.source, window))


@NODE_FORMS.register("AveragePool")
def _average_pool_node(node: NodeView) -> Value:
    step, window = _window(node)
    counted = bool(node.integer("count_include_pad"))
    return node.result(node.network.average_pool(step, node.source, window, count_include_pad=counted))


def _window(node: NodeView) -> tuple[int, Window]:
    step = node.channels_first(node.computed(), 4)
    kernel = node.integers("kernel_shape")
    if len(kernel) != 2:
        raise node.error(f"has a window {list(kernel)}")
    window = window_of(node, step, kernel)
    if any(d != 1 and k != 1 for d, k in zip(window.dilation, window.kernel, strict=True)):
        raise node.error("is dilated")
    return step, window._replace(dilation=(1, 1))


@NODE_FORMS.register("GlobalAveragePool")
def _global_average_pool_node(node: NodeView) -> Value:
    step = node.channels_first(node.computed(), 4)
    return node.result(node.network.global_pool("global_average_pool", step, node.source))


@NODE_FORMS.register("GlobalMaxPool")
def _global_max_pool_node(node: NodeView) -> Value:
    step = node.channels_first(node.computed(), 4)
    return node.result(node.network.global_pool("global_max_pool", step, node.source))
