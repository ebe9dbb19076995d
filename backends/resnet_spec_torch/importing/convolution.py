"""Convolutions and linear layers."""

from __future__ import annotations

from typing import Any

from resnet_spec.backend import Value
from resnet_spec_torch.importing.call import CALLS, Array, Call, pair


@CALLS.register("aten.conv2d")
def _conv2d(call: Call) -> Value | None:
    return _convolution(call, [[edge, edge] for edge in pair(call["padding"])])


@CALLS.register("aten.conv2d.padding")
def _conv2d_named_padding(call: Call) -> Value | None:
    weight = call["weight"]
    if call["padding"] == "valid" or not isinstance(weight, Array):
        return _convolution(call, 0)
    extents = [d * (k - 1) for d, k in zip(pair(call["dilation"]), weight.tensor.shape[2:], strict=True)]
    # PyTorch pads the additional row at the end.
    return _convolution(call, [[extent // 2, extent - extent // 2] for extent in extents])


def _convolution(call: Call, padding: Any) -> Value | None:
    weight = call["weight"]
    if not isinstance(weight, Array):
        return call.refuse("has a kernel that is computed")
    return call.add_layer(
        "conv2d",
        call.value(),
        {"weight": weight, "bias": call["bias"]},
        channels=weight.tensor.shape[0],
        kernel=list(weight.tensor.shape[2:]),
        stride=pair(call["stride"]),
        padding=padding,
        dilation=pair(call["dilation"]),
        groups=call["groups"],
        bias=call["bias"] is not None,
    )


@CALLS.register("aten.conv1d")
def _conv1d(call: Call) -> Value | None:
    weight = call["weight"]
    if not isinstance(weight, Array):
        return call.refuse("has a kernel that is computed")
    if (*call["stride"], *call["dilation"], call["groups"]) != (1, 1, 1):
        return call.refuse("is a conv1d with a stride, dilation or groups")
    return call.add_layer(
        "conv1d",
        call.value(),
        {"weight": weight, "bias": call["bias"]},
        channels=weight.tensor.shape[0],
        kernel=weight.tensor.shape[2],
        padding=call["padding"][0],
        bias=call["bias"] is not None,
    )


@CALLS.register("aten.conv_transpose2d.input")
def _conv_transpose2d(call: Call) -> Value | None:
    weight = call["weight"]
    if not isinstance(weight, Array):
        return call.refuse("has a kernel that is computed")
    if call["groups"] != 1 or pair(call["dilation"]) != [1, 1]:
        return call.refuse("is a transposed convolution with groups or dilation")
    edges = zip(pair(call["padding"]), pair(call["output_padding"]), strict=True)
    return call.add_layer(
        "conv_transpose2d",
        call.value(),
        {"weight": weight, "bias": call["bias"]},
        channels=weight.tensor.shape[1],
        kernel=list(weight.tensor.shape[2:]),
        stride=pair(call["stride"]),
        padding=[[edge, edge - more] for edge, more in edges],
        bias=call["bias"] is not None,
    )


@CALLS.register("aten.linear")
def _linear(call: Call) -> Value | None:
    weight, bias = call["weight"], call["bias"]
    if not isinstance(weight, Array):
        return call.refuse("has a kernel that is computed")
    slots = {"weight": weight, "bias": bias}
    return call.add_layer("linear", call.value(), slots, features=weight.tensor.shape[0], bias=bias is not None)


@CALLS.register("aten.matmul", "aten.bmm")
def _matmul(call: Call) -> Value | None:
    return call.add("matmul", *(call.value(name) for name in call.arguments))
