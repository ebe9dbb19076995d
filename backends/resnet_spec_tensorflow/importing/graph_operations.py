"""Reads nodes of TensorFlow's graphs that have a kernel, with the bias that follows, or that compute each element."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_spec.operations.convolution import usual_gamma
from resnet_spec_tensorflow.importing.calls import Call
from resnet_spec_tensorflow.importing.graph_attributes import (
    FORMATS,
    SAME,
    SUMS,
    format_of,
    layer_of,
    own_array,
    padding_of,
    spatial,
    window_of,
)
from resnet_spec_tensorflow.importing.graph_def import Constant, GraphNode, slice_of
from resnet_spec_tensorflow.importing.graph_normalization import decomposed, normalizes
from resnet_spec_tensorflow.importing.graph_standardized import standardized
from resnet_spec_tensorflow.importing.joining import hard_sigmoid
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor, identity
from resnet_spec_tensorflow.importing.strides import is_helper, whole_window


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
    first = FORMATS[format_of(context)] == "channels_first"
    if call.operation.kind != "BiasAdd" and (first or normalizes(call.operation)):
        return None
    context.absorb(call)
    return np.array(arrays[0].reshape(-1), np.float32)


def _next(context: Context) -> Call | None:
    """The only call that reads the result; nodes between that pass it on, as a function's results do, are left out."""
    later = context.only_reader
    while later is not None and getattr(later.operation, "kind", "") in SAME:
        later = context.reader.only_reader(later.outputs[0])
    return later


@READERS.register("tf.Conv2D", "tf.DepthwiseConv2dNative", "tf.Conv3D")
def _conv(context: Context) -> Tensor | None:
    kernel = _kernel(context)
    tensor = context.channels_first(context.tensor, FORMATS[format_of(context)])
    if kernel is None or tensor is None:
        return None
    found = standardized(kernel) if context.layer.kind == "Conv2D" else None
    rank = kernel.array.ndim - 2
    op, fields, arrays = f"conv{rank}d", dict[str, Any](), dict[str, Any]()
    if found is not None:
        kernel = context.layer.owner = found.weight
        op, fields = "std_conv2d", {"epsilon": float(str(np.float32(found.epsilon)))}
        if found.gain is not None:
            arrays["gain"] = own_array(found.gain.array.reshape(-1, 1, 1, 1))
            fields |= {"gain": True, "gamma": usual_gamma(found.gamma, 1e-4) or found.gamma}
    array = kernel.array.transpose(rank + 1, rank, *range(rank))
    groups = tensor.value.shape[0] // max(array.shape[1], 1)
    if context.layer.kind == "DepthwiseConv2dNative":
        array = kernel.array.transpose(2, 3, 0, 1)
        groups = array.shape[0]
        array = array.reshape(-1, 1, *array.shape[2:])
    later = _next(context)
    bias = _biased(context, later, len(array))
    window = array.shape[2:]
    steps = {"stride": window_of(context, "strides"), "dilation": window_of(context, "dilations")}
    return context.add(
        op,
        tensor.value,
        tensor.axes,
        name=layer_of(kernel),
        arrays={"weight": own_array(array), **arrays} | ({} if bias is None else {"bias": bias}),
        **fields,
        channels=len(array),
        kernel=window,
        **whole_window(context, steps, None if bias is None else later),
        padding=0 if max(window) == 1 and context.layer.attribute("padding") == "SAME" else padding_of(context),
        groups=groups,
        bias=bias is not None,
    )


@READERS.register("tf.Conv1D")
def _conv1d(context: Context) -> Tensor | None:
    kernel = _kernel(context)
    tensor = context.channels_first(context.tensor, FORMATS[format_of(context)])
    if kernel is None or tensor is None:
        return None
    array = kernel.array.transpose(2, 1, 0)
    bias = _biased(context, _next(context), len(array))
    same = context.layer.attribute("padding") == "SAME"
    return context.add(
        "conv1d",
        tensor.value,
        tensor.axes,
        name=layer_of(kernel),
        arrays={"weight": own_array(array)} | ({} if bias is None else {"bias": bias}),
        channels=len(array),
        kernel=array.shape[2],
        stride=window_of(context, "strides")[1],
        dilation=window_of(context, "dilations")[1],
        padding="same" if same and array.shape[2] > 1 else 0,
        groups=tensor.value.shape[0] // max(array.shape[1], 1),
        bias=bias is not None,
    )


def _crop(context: Context, last: Call) -> Any:
    """What the backend cuts from a transposed convolution after its last call, as the padding that it is; or None."""
    later = context.reader.only_reader(last.outputs[0])
    if later is None or not is_helper(later.name, context.name, ".crop") or later.operation.kind != "StridedSlice":
        return None
    bounds = [later.operation.constant(index) for index in (1, 2, 3)]
    if any(bound is None for bound in bounds):
        return None
    axes = spatial(format_of(context))
    sizes = last.outputs[0].shape[axes]
    keys = slice_of(later.operation, *bounds)[axes]
    if len(keys) != len(sizes) or not all(isinstance(key, slice) for key in keys):
        return None
    ends = [key.indices(size)[:2] for key, size in zip(keys, sizes, strict=True)]
    context.absorb(later)
    return tuple((start, size - stop) for (start, stop), size in zip(ends, sizes, strict=True))


@READERS.register("tf.Conv2DBackpropInput", "tf.Conv3DBackpropInputV2")
def _conv_backprop_input(context: Context) -> Tensor | None:
    kernel = _kernel(context)
    tensor = context.channels_first(context.tensor, FORMATS[format_of(context)])
    if kernel is None or tensor is None:
        return None
    if max(window_of(context, "dilations")) > 1:
        return context.problem("is dilated; the language's transposed convolution is not")
    rank = kernel.array.ndim - 2
    array = kernel.array.transpose(rank + 1, rank, *range(rank))
    later = _next(context)
    bias = _biased(context, later, array.shape[1])
    padding = padding_of(context)
    if not padding:
        padding = _crop(context, context.call if bias is None or later is None else later) or padding
    return context.add(
        f"conv_transpose{rank}d",
        tensor.value,
        tensor.axes,
        name=layer_of(kernel),
        arrays={"weight": own_array(array)} | ({} if bias is None else {"bias": bias}),
        channels=array.shape[1],
        kernel=array.shape[2:],
        stride=window_of(context, "strides"),
        padding=padding,
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
        name=layer_of(kernel),
        arrays={"weight": own_array(array)} | ({} if bias is None else {"bias": bias}),
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


@READERS.register("tf.LastAxis")
def _last_axis(context: Context) -> Tensor | None:
    """A linear layer along the last axis, which is a product of matrices of all rows of the batch."""
    kernel, tensor = context.layer.found["kernel"], context.tensor
    (ref,) = context.call.outputs
    if not isinstance(kernel, Constant) or tuple(ref.shape[1:-1]) != tensor.shape[:-1]:
        return context.problem("multiplies something else than rows by a matrix")
    context.layer.owner = kernel
    axes = identity(len(tensor.axes))
    value = context.arranged(tensor, axes)
    bias = _biased(context, _next(context), kernel.array.shape[1])
    arrays = {"weight": own_array(kernel.array.T)} | ({} if bias is None else {"bias": bias})
    fields: dict[str, Any] = {"features": kernel.array.shape[1], "bias": bias is not None}
    return value and context.add("linear", value, axes, name=layer_of(kernel), arrays=arrays, **fields)


@READERS.register("tf.BroadcastTo")
def _broadcast_to(context: Context) -> Tensor | None:
    """A learned value, the same for each image."""
    node: GraphNode = context.layer
    array, target = node.values[0], node.constant(1)
    if not isinstance(array, Constant) or target is None or array.array.size != np.prod(target[1:]):
        return context.problem("repeats values, which sums and products do themselves")
    node.owner = array
    sizes = tuple(int(size) for size in target[1:])
    axes = context.reader.usual(len(sizes))
    whole = own_array(array.array.reshape(sizes).transpose(np.argsort(axes)))
    fields = {"shape": whole.shape}
    return context.add(
        "parameter", context.reader.builder.input, axes, name=layer_of(array), arrays={"": whole}, **fields
    )


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
    if op == "multiply" and (norm := decomposed(context, constant)) is not None:
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
    return context.constants([("scale" if op == "multiply" else "offset", array)], learned=_is_variable(constant))


def _is_variable(constant: Constant) -> bool:
    """Whether an array is a variable of a SavedModel, which is learned by itself."""
    while constant.op == "Reshape":
        constant = constant.inputs[0]
    return constant.op == "Const" and constant.name.endswith("/value")


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
