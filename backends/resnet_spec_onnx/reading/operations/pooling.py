"""The normal form of pools."""

from __future__ import annotations

from resnet_spec.operations.fields import MAX_RANK
from resnet_spec.structure.steps import Window
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS
from resnet_spec_onnx.reading.operations.windows import window_of


@NODE_FORMS.register("MaxPool")
def _max_pool_node(node: NodeView) -> Value:
    step, window = _window(node)
    return node.result(node.network.max_pool(step, node.source, window), len(node.computed().axes))


@NODE_FORMS.register("AveragePool")
def _average_pool_node(node: NodeView) -> Value:
    step, window = _window(node)
    counted = bool(node.integer("count_include_pad"))
    pooled = node.network.average_pool(step, node.source, window, count_include_pad=counted)
    return node.result(pooled, len(node.computed().axes))


def _window(node: NodeView) -> tuple[int, Window]:
    kernel = node.integers("kernel_shape")
    if not 1 <= len(kernel) <= MAX_RANK:
        raise node.error(f"has a window {list(kernel)}")
    step = node.channels_first(node.computed(), len(kernel) + 2)
    window = window_of(node, step, kernel)
    if any(d != 1 and k != 1 for d, k in zip(window.dilation, window.kernel, strict=True)):
        raise node.error("is dilated")
    return step, window._replace(dilation=(1,) * len(window.kernel))


@NODE_FORMS.register("GlobalAveragePool")
def _global_average_pool_node(node: NodeView) -> Value:
    return _global_pool_node(node, "global_average_pool")


@NODE_FORMS.register("GlobalMaxPool")
def _global_max_pool_node(node: NodeView) -> Value:
    return _global_pool_node(node, "global_max_pool")


def _global_pool_node(node: NodeView, kind: str) -> Value:
    rank = len(node.computed().axes)
    step = node.channels_first(node.computed(), rank)
    return node.result(node.network.global_pool(kind, step, node.source), rank)


@NODE_FORMS.register("Pow")
def _power_node(node: NodeView) -> Value:
    """A learned power, or the root that undoes it after a mean."""
    value, constant = node.computed(), node.constant(1)
    if constant.array.size != 1 or constant.array.dtype.kind != "f":
        raise node.error("has an exponent that is not a number")
    exponent, step = constant.array.reshape(1), node.network.steps[value.step]
    before = node.network.steps[step.inputs[0]] if step.kind == "global_average_pool" else step
    power = before.tensors["p"].array if before.kind == "power" else None
    if power is not None and abs(float(exponent[0]) * float(power[0]) - 1) < 1e-5:
        return node.elementwise("root", nonnegative=True)
    tensors = {"p": node.tensor(constant, exponent)}
    return Computed(node.network.add("power", (value.step,), node.source, None, tensors), value.axes)
