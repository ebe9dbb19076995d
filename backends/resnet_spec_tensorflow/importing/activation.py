"""Reads functions of each element, and softmax, whether they are layers, arguments of layers or functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resnet_spec_keras.layers import gelu_erf, gelu_tanh
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.importing.calls import Call, as_list
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor, key_of, weight

PLAIN: dict[Any, tuple[str, dict[str, Any]]] = {
    keras.activations.relu: ("relu", {}),
    keras.activations.relu6: ("relu6", {}),
    keras.activations.sigmoid: ("sigmoid", {}),
    keras.activations.tanh: ("tanh", {}),
    keras.activations.softplus: ("softplus", {}),
    keras.activations.silu: ("silu", {}),
    keras.activations.gelu: ("gelu", {"approximate": False}),
    keras.activations.mish: ("mish", {}),
    keras.activations.hard_sigmoid: ("hard_sigmoid", {}),
    keras.activations.hard_silu: ("hard_swish", {}),
    keras.activations.elu: ("elu", {"alpha": 1.0}),
    keras.activations.leaky_relu: ("leaky_relu", {"slope": 0.2}),
    gelu_erf: ("gelu", {"approximate": False}),
    gelu_tanh: ("gelu", {"approximate": True}),
}
"""Functions that a layer may have as its activation, with their defaults, as operations."""


def is_linear(layer: Any) -> bool:
    """Whether a layer has no activation."""
    return layer.activation is None or layer.activation is keras.activations.linear


def activated(context: Context, tensor: Tensor | None, activation: Any, name: str = "") -> Tensor | None:
    """Add the activation that a layer has as an argument, after the layer's own node or under a name."""
    if tensor is None or activation in (None, keras.activations.linear):
        return tensor
    if activation is keras.activations.softmax:
        return _softmax(context, tensor, -1, name or f"{context.name}_softmax")
    if isinstance(activation, keras.Layer):
        call = _call_of(context, activation)
        key = key_of(activation)
        if key in READERS and not activation.weights:
            result = READERS[key](Context(context.reader, call, [tensor]))
            return result if isinstance(result, Tensor) else None
        return context.problem(f"has the layer {type(activation).__name__} as its activation; call it by itself")
    known = PLAIN.get(activation) if getattr(activation, "__hash__", None) else None
    if known is None:
        return context.problem(f"has the activation {_name(activation)}, which is not an operation of the language")
    op, fields = known
    return context.elementwise(op, tensor, name=name or f"{context.name}_{op}", **fields)


def _call_of(context: Context, layer: Any) -> Call:
    return replace(context.call, operation=layer, name=f"{context.name}_{layer.name}")


def _name(activation: Any) -> str:
    return repr(getattr(activation, "__name__", type(activation).__name__))


@READERS.register("layers.Activation")
def _activation(context: Context) -> Tensor | None:
    return activated(context, context.tensor, context.layer.activation, context.name)


@READERS.register("layers.ReLU")
def _relu(context: Context) -> Tensor | None:
    layer = context.layer
    most, slope, threshold = layer.max_value, float(layer.negative_slope or 0), float(layer.threshold or 0)
    if threshold or (most is not None and (slope or float(most) != 6)):
        return context.problem(
            f"has max_value {most}, negative_slope {slope:g} and threshold {threshold:g}; the language has relu, relu6"
            " and leaky_relu"
        )
    if slope:
        return context.elementwise("leaky_relu", slope=slope)
    return context.elementwise("relu" if most is None else "relu6")


@READERS.register("layers.LeakyReLU", "own.ExactLeakyReLU", "ops.LeakyRelu")
def _leaky_relu(context: Context) -> Tensor | None:
    return context.elementwise("leaky_relu", slope=float(context.layer.negative_slope))


@READERS.register("layers.ELU", "ops.Elu")
def _elu(context: Context) -> Tensor | None:
    return context.elementwise("elu", alpha=float(context.layer.alpha))


@READERS.register("layers.PReLU")
def _prelu(context: Context) -> Tensor | None:
    alpha = weight(context.layer.alpha)
    own = [axis for axis, size in enumerate(alpha.shape) if size > 1]
    if len(own) > 1:
        return context.problem("has a slope for each position; share them by shared_axes")
    tensor = context.tensor
    # Of one channel, all slopes are one.
    value = context.first(tensor, own[0]) if own else tensor
    return value and context.add(
        "prelu", value.value, value.axes, arrays={"weight": alpha.reshape(-1)}, per_channel=bool(own)
    )


@READERS.register("layers.Softmax", "ops.Softmax")
def _softmax_layer(context: Context) -> Tensor | None:
    axes = as_list(context.layer.axis)
    if len(axes) != 1:
        return context.problem("is over several axes; the language's softmax has one")
    return _softmax(context, context.tensor, axes[0], context.name)


def _softmax(context: Context, tensor: Tensor, axis: int, name: str) -> Tensor | None:
    place = context.axis(axis, tensor)
    if place is None:
        return None
    added = context.add("softmax", tensor.value, tensor.axes, name=name, axis=place)
    return added and added._replace(order=tensor.order)


@READERS.register("ops.Gelu")
def _gelu(context: Context) -> Tensor | None:
    return context.elementwise("gelu", approximate=bool(context.layer.approximate))


FUNCTIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Silu": "silu",
    "Mish": "mish",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_swish",
}
"""Functions of ``keras.ops`` without arguments."""


@READERS.register(*(f"ops.{name}" for name in FUNCTIONS))
def _function(context: Context) -> Tensor | None:
    return context.elementwise(FUNCTIONS[type(context.layer).__name__])


@READERS.register("ops.Clip")
def _clip(context: Context) -> Tensor | None:
    bounds = context.layer.x_min, context.layer.x_max
    if bounds != (0, 6):
        return context.problem(f"clips to {bounds[0]} and {bounds[1]}; the language has relu6")
    return context.elementwise("relu6")
