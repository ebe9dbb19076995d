"""Reads nodes of TensorFlow's graphs, a fused or decomposed batch normalization and an added bias as one layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_spec.backend.graph_builder import valid_name
from resnet_spec_tensorflow.importing.calls import Call
from resnet_spec_tensorflow.importing.graph_def import Constant, GraphNode, owner_name
from resnet_spec_tensorflow.importing.joining import hard_sigmoid
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor, identity
from resnet_spec_tensorflow.importing.strides import whole_window

SUMS = ("BiasAdd", "AddV2", "Add")
SAME = ("Identity", "StopGradient")
FORMATS = {"NHWC": "channels_last", "NCHW": "channels_first"}
SPATIAL = {"NHWC": slice(1, 3), "NCHW": slice(2, 4)}


def format_of(context: Context) -> str:
    """A node's layout in TensorFlow's words."""
    return str(context.layer.attribute("data_format", "NHWC"))


def pair_of(context: Context, name: str) -> tuple[int, int]:
    """The rows and columns of an attribute that lists all axes."""
    values = context.layer.attribute(name) or [1, 1, 1, 1]
    first, second = values[SPATIAL[format_of(context)]]
    return int(first), int(second)


def padding_of(context: Context) -> Any:
    """A node's padding as a spec has it."""
    if context.padding is not None:
        return context.padding
    kind = context.layer.attribute("padding")
    if kind != "EXPLICIT":
        return "same" if kind == "SAME" else 0
    edges = context.layer.attribute("explicit_paddings")
    place = SPATIAL[format_of(context)].start
    return tuple((int(edges[2 * axis]), int(edges[2 * axis + 1])) for axis in (place, place + 1))


def _kernel(context: Context, index: int = 1) -> Constant | None:
    value = context.layer.values[index]
    if not isinstance(value, Constant):
        return context.problem("has a kernel that is computed from the input")
    context.layer.owner = value
    return value


def _biased(context: Context, call: Call | None, channels: int) -> Any:
    """The bias that the next call adds, which is read as nothing then."""
    if call is None or not isinstance(call.operation, GraphNode) or call.operation.kind not in SUMS:
        return None
    arrays = [value.array for value in call.operation.values if isinstance(value, Constant)]
    if len(arrays) != 1 or arrays[0].size != channels or arrays[0].shape[-1:] != (channels,):
        return None
    if call.operation.kind != "BiasAdd" and (format_of(context) == "NCHW" or _normalizes(call.operation)):
        return None
    context.absorb(call)
    return np.array(arrays[0].reshape(-1), np.float32)


def _next(context: Context) -> Call | None:
    """The only call that reads the result; nodes between that pass it on, as a function's results do, are left out."""
    later = context.only_reader
    while later is not None and getattr(later.operation, "kind", "") in SAME:
        later = context.reader.only_reader(later.outputs[0])
    return later


@READERS.register("tf.Conv2D", "tf.DepthwiseConv2dNative")
def _conv2d(context: Context) -> Tensor | None:
    kernel = _kernel(context)
    tensor = context.channels_first(context.tensor, FORMATS[format_of(context)])
    if kernel is None or tensor is None:
        return None
    array = kernel.array.transpose(3, 2, 0, 1)
    groups = tensor.value.shape[0] // max(array.shape[1], 1)
    if context.layer.kind != "Conv2D":
        array = kernel.array.transpose(2, 3, 0, 1)
        groups = array.shape[0]
        array = array.reshape(-1, 1, *array.shape[2:])
    later = _next(context)
    bias = _biased(context, later, len(array))
    window = array.shape[2:]
    steps = {"stride": pair_of(context, "strides"), "dilation": pair_of(context, "dilations")}
    return context.add(
        "conv2d",
        tensor.value,
        tensor.axes,
        name=_name(kernel),
        arrays={"weight": _own(array)} | ({} if bias is None else {"bias": bias}),
        channels=len(array),
        kernel=window,
        **whole_window(context, steps, None if bias is None else later),
        padding=0 if max(window) == 1 and context.layer.attribute("padding") == "SAME" else padding_of(context),
        groups=groups,
        bias=bias is not None,
    )


def _own(array: Any) -> Any:
    return np.array(array, np.float32, order="C")


def _name(constant: Constant) -> str:
    return valid_name(owner_name(constant))


@READERS.register("tf.Conv2DBackpropInput")
def _conv2d_backprop_input(context: Context) -> Tensor | None:
    kernel = _kernel(context)
    tensor = context.channels_first(context.tensor, FORMATS[format_of(context)])
    if kernel is None or tensor is None:
        return None
    if max(pair_of(context, "dilations")) > 1:
        return context.problem("is dilated; the language's transposed convolution is not")
    array = kernel.array.transpose(3, 2, 0, 1)
    bias = _biased(context, _next(context), array.shape[1])
    return context.add(
        "conv_transpose2d",
        tensor.value,
        tensor.axes,
        name=_name(kernel),
        arrays={"weight": _own(array)} | ({} if bias is None else {"bias": bias}),
        channels=array.shape[1],
        kernel=array.shape[2:],
        stride=pair_of(context, "strides"),
        padding=padding_of(context),
        bias=bias is not None,
    )


@READERS.register("tf.MatMul")
def _mat_mul(context: Context) -> Tensor | None:
    node: GraphNode = context.layer
    kernel = _kernel(context)
    tensor = context.tensor
    if kernel is None or node.attribute("transpose_a", False) or len(tensor.axes) != 1:
        return kernel and context.problem("multiplies something else than vectors by a matrix")
    array = kernel.array if node.attribute("transpose_b", False) else kernel.array.T
    bias = _biased(context, _next(context), len(array))
    return context.add(
        "linear",
        tensor.value,
        tensor.axes,
        name=_name(kernel),
        arrays={"weight": _own(array)} | ({} if bias is None else {"bias": bias}),
        features=len(array),
        bias=bias is not None,
    )


@READERS.register("tf.BatchMatMulV2", "tf.BatchMatMul")
def _batch_mat_mul(context: Context) -> Tensor | None:
    if len(context.tensors) != 2:
        return context.problem("multiplies by a constant matrix")
    axes = identity(len(context.tensors[0].axes))
    first, second = (context.arranged(tensor, axes) for tensor in context.tensors)
    flips: dict[str, Any] = {
        "transpose_first": bool(context.layer.attribute("adj_x", False)),
        "transpose_second": bool(context.layer.attribute("adj_y", False)),
    }
    return first and second and context.add("matmul", [first, second], axes, **flips)


# -- normalization -----------------------------------------------------------------------------------------------


@READERS.register("tf.FusedBatchNorm", "tf.FusedBatchNormV2", "tf.FusedBatchNormV3")
def _fused_batch_norm(context: Context) -> Tensor | None:
    node: GraphNode = context.layer
    arrays = [value for value in node.values[1:] if isinstance(value, Constant)]
    if len(arrays) != 4 or node.attribute("is_training", True):
        return context.problem("normalizes by the batch's own statistics; freeze the graph in inference mode")
    node.owner = arrays[2]
    tensor = context.channels_first(context.tensor, FORMATS[format_of(context)])
    names = ("weight", "bias", "running_mean", "running_var")
    return tensor and _batch_norm(
        context,
        tensor,
        {name: _own(value.array) for name, value in zip(names, arrays, strict=True)},
        float(node.attribute("epsilon", 1e-4)),
        _name(arrays[2]),
    )


def _batch_norm(context: Context, tensor: Tensor, arrays: dict[str, Any], epsilon: float, name: str) -> Tensor | None:
    context.remark(
        "batch normalizations of a frozen graph, which does not state their momentum; it is read as 0.01", name
    )
    return context.add(
        "batch_norm",
        tensor.value,
        tensor.axes,
        name=name,
        arrays=arrays,
        # The number that is this one in float32.
        epsilon=float(str(np.float32(epsilon))),
        momentum=0.01,
        running_variance="biased",
        scale="weight" in arrays,
        offset="bias" in arrays,
    )


def _normalizes(node: GraphNode) -> bool:
    """Whether a node adds or multiplies what a decomposed batch normalization does."""
    constants = [value for value in node.values if isinstance(value, Constant)]
    return any(value.op in ("Sub", "Neg") or _root(value) is not None for value in constants)


def _root(constant: Constant) -> tuple[Constant, float, Constant | None] | None:
    """The variance, the epsilon and the scale of a factor scale · rsqrt(variance + epsilon)."""
    scale: Constant | None = None
    while constant.op in ("Reshape", "Squeeze", "ExpandDims", "Cast"):
        constant = constant.inputs[0]
    if constant.op == "Mul":
        roots = [value for value in constant.inputs if value.op == "Rsqrt"]
        if len(roots) != 1:
            return None
        scale = next(value for value in constant.inputs if value is not roots[0])
        constant = roots[0]
    if constant.op != "Rsqrt" or constant.inputs[0].op not in ("Add", "AddV2"):
        return None
    parts_of = sorted(constant.inputs[0].inputs, key=lambda value: value.array.size)
    epsilon, variance = parts_of
    return (variance, float(epsilon.array.reshape(-1)[0]), scale) if epsilon.array.size == 1 else None


def _decomposed(context: Context, factor: Constant) -> Tensor | None:
    """x · factor + (offset - mean · factor) as a batch normalization; None, without a problem, if it is none."""
    root = _root(factor)
    later = context.only_reader
    if root is None or later is None or not isinstance(later.operation, GraphNode):
        return None
    node: GraphNode = later.operation
    shift = next((value for value in node.values if isinstance(value, Constant)), None)
    if shift is None or node.kind not in SUMS:
        return None
    variance, epsilon, scale = root
    product, offset = shift, None
    if shift.op == "Sub":
        offset, product = shift.inputs
    elif shift.op in ("Add", "AddV2"):
        product = next((value for value in shift.inputs if value.op == "Mul"), shift)
        offset = next((value for value in shift.inputs if value is not product), None)
    mean = _mean_of(product, factor)
    if mean is None:
        return None
    context.absorb(later)
    arrays = {"weight": scale, "bias": offset, "running_mean": mean, "running_var": variance}
    found = {name: _own(value.array.reshape(-1)) for name, value in arrays.items() if value is not None}
    if shift.op != "Sub":
        # What is added is minus the mean.
        found["running_mean"] = -found["running_mean"]
        mean = mean.inputs[0] if mean.op == "Neg" else mean
    context.layer.owner = mean
    tensor = context.first(context.tensor)
    return tensor and _batch_norm(context, tensor, found, epsilon, _name(mean))


def _mean_of(product: Constant, factor: Constant) -> Constant | None:
    """The mean in mean · factor, of which the factor may be the same node."""
    if product.op == "Neg":
        return None
    if product.op != "Mul" or factor not in product.inputs:
        return None
    return next((value for value in product.inputs if value is not factor), None)


# -- arithmetic --------------------------------------------------------------------------------------------------

JOINS = {
    "Add": "add",
    "AddV2": "add",
    "AddN": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Maximum": "maximum",
    "BiasAdd": "add",
    "RealDiv": "divide",
}


@READERS.register(*(f"tf.{kind}" for kind in JOINS))
def _join(context: Context) -> Tensor | None:
    node: GraphNode = context.layer
    op = JOINS[node.kind]
    constants = [value for value in node.values if isinstance(value, Constant)]
    if not constants:
        if op == "divide" or len({len(tensor.axes) for tensor in context.tensors}) > 1:
            return context.problem("divides by a value, or combines values of different ranks")
        if op == "multiply" and (silu := _silu(context)) is not None:
            return silu
        found = context.alike(context.tensors)
        return found and context.add(op, *found)
    (constant,) = constants
    reverse = node.values[0] is constant
    array = np.asarray(constant.array, np.float64)
    if op == "multiply" and (norm := _decomposed(context, constant)) is not None:
        return norm
    if op in ("multiply", "divide") and not reverse and (gate := hard_sigmoid(context, op, array)) is not None:
        return gate
    array = (
        array.reshape(array.shape[1:]) if array.ndim == len(context.tensor.axes) + 1 and array.shape[0] == 1 else array
    )
    if op == "maximum" or (op == "divide" and reverse):
        relu = op == "maximum" and not array.any()
        return (
            context.elementwise("relu")
            if relu
            else context.problem("computes with a constant what the language cannot")
        )
    if op == "divide":
        return context.constants([("scale", 1 / array)])
    if op == "subtract":
        steps = [("scale", np.asarray(-1.0)), ("offset", array)] if reverse else [("offset", -array)]
        return context.constants(steps)
    return context.constants([("scale" if op == "multiply" else "offset", array)])


def _silu(context: Context) -> Tensor | None:
    """x · sigmoid(x) as one operation, or None."""
    for one, other in (context.tensors, context.tensors[::-1]):
        made = context.reader.made(other.value)
        if made is not None and made.op == "sigmoid" and made.input == one.value and one.axes == other.axes:
            return context.elementwise("silu", one)
    return None


PLAIN = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Elu": "elu",
}


@READERS.register(*(f"tf.{kind}" for kind in PLAIN))
def _activation(context: Context) -> Tensor | None:
    return context.elementwise(PLAIN[context.layer.kind])


@READERS.register("tf.LeakyRelu")
def _leaky_relu(context: Context) -> Tensor | None:
    # The attribute is a float32.
    return context.elementwise("leaky_relu", slope=float(str(np.float32(context.layer.attribute("alpha", 0.2)))))


@READERS.register("tf.Softmax")
def _softmax(context: Context) -> Tensor | None:
    tensor = context.tensor
    return context.add("softmax", tensor.value, tensor.axes, axis=tensor.axes[-1])


@READERS.register("tf.Identity", "tf.StopGradient", "tf.PreventGradient", "tf.CheckNumerics", "tf.Snapshot")
def _nothing(context: Context) -> Tensor | None:
    return context.tensor


@READERS.register("tf.IdentityN")
def _identity_n(context: Context) -> list[Tensor | None]:
    return [*context.tensors]
