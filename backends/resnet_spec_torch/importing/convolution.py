"""Convolutions and linear layers."""

from __future__ import annotations

from typing import Any

from resnet_spec.backend import Value
from resnet_spec.operations import Pad, Transpose
from resnet_spec.operations.windows import transposed_same_crop
from resnet_spec_torch.importing.call import CALLS, Array, Call, Expression, each, edges
from resnet_spec_torch.importing.formulas import standardized


@CALLS.register("aten.conv1d", "aten.conv2d", "aten.conv3d")
def _convolution(call: Call) -> Value | None:
    return _with_padding(call, edges(call["padding"], int(call.function[-2])))


@CALLS.register("aten.conv1d.padding", "aten.conv2d.padding", "aten.conv3d.padding")
def _convolution_of_named_padding(call: Call) -> Value | None:
    weight = call["weight"]
    sizes = weight.tensor.shape if isinstance(weight, Array) else weight.shape if isinstance(weight, Expression) else ()
    if call["padding"] == "valid" or not sizes:
        return _with_padding(call, 0)
    kernel = sizes[2:]
    dilation = each(call["dilation"], len(kernel))
    dilations = [dilation] * len(kernel) if isinstance(dilation, int) else dilation
    extents = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    # PyTorch pads the additional row at the end.
    return _with_padding(call, [[extent // 2, extent - extent // 2] for extent in extents])


def _with_padding(call: Call, padding: Any) -> Value | None:
    weight = call["weight"]
    found = standardized(weight) if isinstance(weight, Expression) else None
    if isinstance(weight, Expression) and found is None:
        return call.unexpressed(weight)
    op, fields, slots = found or (f"conv{call.function.split('.')[1][-2]}d", {}, {"weight": weight})
    weight = slots["weight"]
    if not isinstance(weight, Array):
        return call.refuse("has a kernel that is computed")
    rank = weight.tensor.ndim - 2
    x = call.value()
    pad = call.made_by(x, f"pad{rank}d")
    if pad and not padding and isinstance(pad.operation, Pad) and pad.operation.adds_zeros:
        (x,), padding = pad.inputs, pad.operation.padding
    return call.add_layer(
        op,
        x,
        {**slots, "bias": call["bias"]},
        **fields,
        channels=weight.tensor.shape[0],
        kernel=each(weight.tensor.shape[2:], rank),
        stride=each(call["stride"], rank),
        padding=padding,
        dilation=each(call["dilation"], rank),
        groups=call["groups"],
        bias=call["bias"] is not None,
    )


@CALLS.register("aten.conv_transpose1d", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input")
def _transposed(call: Call) -> Value | None:
    weight = call["weight"]
    if not isinstance(weight, Array):
        return call.refuse("has a kernel that is computed")
    rank = weight.tensor.ndim - 2
    if call["groups"] != 1 or each(call["dilation"], rank) != 1:
        return call.refuse("is a transposed convolution with groups or dilation")
    crops = [(edge, edge - more) for edge, more in zip(call["padding"], call["output_padding"], strict=True)]
    padding = edges(call["padding"], rank) if not any(call["output_padding"]) else crops
    if min(map(min, crops)) < 0 and crops == [*map(transposed_same_crop, weight.tensor.shape[2:], call["stride"])]:
        padding = "same"
    return call.add_layer(
        f"conv_transpose{rank}d",
        call.value(),
        {"weight": weight, "bias": call["bias"]},
        channels=weight.tensor.shape[1],
        kernel=each(weight.tensor.shape[2:], rank),
        stride=each(call["stride"], rank),
        padding=padding,
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
    inputs: list[Value | None] = []
    flips: dict[str, bool] = {}
    for name, flip in zip(call.arguments, ("transpose_first", "transpose_second"), strict=True):
        value = call.value(name)
        turned = call.builder.draft(value)
        rank = len(turned.shape) if turned else 0
        axes = (*range(rank - 2), rank - 1, rank - 2)
        if turned and isinstance(turned.operation, Transpose) and turned.operation.axes == axes:
            (value,), flips[flip] = turned.inputs, True
        inputs.append(value)
    return call.add("matmul", *inputs, **flips)
