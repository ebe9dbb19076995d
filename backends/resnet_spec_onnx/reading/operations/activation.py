"""The normal forms of activations and softmax.

What exporters write as several nodes is recognized afterwards (``activation_recognition``).
"""

from __future__ import annotations

from resnet_spec.structure.steps import to_float32
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.joining import joined
from resnet_spec_onnx.reading.operations.parameters import per_channel
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS


@NODE_FORMS.register("Relu", "Sigmoid", "Softplus")
def _nonnegative_node(node: NodeView) -> Value:
    return node.elementwise(node.proto.op_type.lower(), nonnegative=True)


@NODE_FORMS.register("Tanh", "Erf", "Mish")
def _signed_node(node: NodeView) -> Value:
    return node.elementwise(node.proto.op_type.lower())


@NODE_FORMS.register("HardSwish")
def _hard_swish_node(node: NodeView) -> Value:
    return node.elementwise("hard_swish")


@NODE_FORMS.register("Swish")
def _swish_node(node: NodeView) -> Value:
    if node.real("alpha", 1.0) != 1:
        raise node.error("multiplies by a number within the sigmoid")
    return node.elementwise("silu")


@NODE_FORMS.register("LeakyRelu")
def _leaky_relu_node(node: NodeView) -> Value:
    return node.elementwise("leaky_relu", slope=to_float32(node.real("alpha", 0.01)))


@NODE_FORMS.register("PRelu")
def _prelu_node(node: NodeView) -> Value:
    value, constant = node.computed(), node.constant(1)
    array = constant.array.reshape(1) if constant.array.size == 1 else per_channel(node, value, constant)
    tensors = {"weight": node.tensor(constant, array)}
    return Computed(node.network.add("prelu", (value.step,), node.source, None, tensors), value.axes)


@NODE_FORMS.register("Elu")
def _elu_node(node: NodeView) -> Value:
    return node.elementwise("elu", alpha=to_float32(node.real("alpha", 1.0)))


@NODE_FORMS.register("Gelu")
def _gelu_node(node: NodeView) -> Value:
    return node.elementwise("gelu", approximate=node.string("approximate", "none") == "tanh")


@NODE_FORMS.register("HardSigmoid")
def _hard_sigmoid_node(node: NodeView) -> Value:
    slope, offset = to_float32(node.real("alpha", 0.2)), to_float32(node.real("beta", 0.5))
    return node.elementwise("hard_sigmoid", nonnegative=True, slope=slope, offset=offset)


@NODE_FORMS.register("Clip")
def _clip_node(node: NodeView) -> Value:
    minimum, maximum = (
        _number(node, index) if node.has_input(index) else node.real(name, limit)
        for index, name, limit in ((1, "min", float("-inf")), (2, "max", float("inf")))
    )
    return _clipped(node, minimum, maximum)


@NODE_FORMS.register("Min", "Max")
def _bound_node(node: NodeView) -> Value:
    if node.proto.op_type == "Max" and all(isinstance(value, Computed) for value in node.inputs):
        return joined(node, "maximum", [node.computed(index) for index in range(len(node.inputs))])
    if len(node.inputs) != 2:
        raise node.error("is not a bound of one value by a number")
    bound = _number(node, 1)
    return _clipped(node, bound, float("inf")) if node.proto.op_type == "Max" else _clipped(node, float("-inf"), bound)


def _number(node: NodeView, index: int) -> float:
    array = node.constant(index).array
    if array.size != 1 or array.dtype.kind != "f":
        raise node.error("has a bound that is not a number")
    return float(array.item())


def _clipped(node: NodeView, minimum: float, maximum: float) -> Value:
    if (minimum, maximum) == (0.0, float("inf")):
        return node.elementwise("relu", nonnegative=True)
    return node.elementwise("clip", nonnegative=minimum >= 0, minimum=minimum, maximum=maximum)


@NODE_FORMS.register("Softmax")
def _softmax_node(node: NodeView) -> Value:
    value, sizes = node.computed(), node.sizes(node.computed())
    axis = node.positive_axis(node.integer("axis", 1 if node.opset < 13 else -1), len(sizes))
    # Before opset 13 it is a softmax over that axis and all after it.
    after = () if node.opset >= 13 else [size for size in sizes[axis + 1 :] if size != 1]
    if not value.axes[axis] or after:
        raise node.error(f"is a softmax of {list(sizes)} over axis {axis}, which is not supported")
    return node.elementwise("softmax", nonnegative=True, axis=int(value.axes[axis] or 0) - 1)
