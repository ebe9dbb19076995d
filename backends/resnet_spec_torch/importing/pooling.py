"""Pools and reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from resnet_spec.backend import Value
from resnet_spec_torch.importing.call import CALLS, Call, pair


@CALLS.register("aten.max_pool2d")
def _max_pool2d(call: Call) -> Value | None:
    if pair(call["dilation"]) != [1, 1]:
        return call.refuse("is a dilated pool")
    return _pool(call, "max_pool2d")


@CALLS.register("aten.avg_pool2d")
def _avg_pool2d(call: Call) -> Value | None:
    if call["divisor_override"] is not None:
        return call.refuse("divides by a number of its own")
    padded = {"count_include_pad": call["count_include_pad"]} if any(pair(call["padding"])) else {}
    return _pool(call, "avg_pool2d", **padded)


def _pool(call: Call, op: str, **fields: bool) -> Value | None:
    kernel = pair(call["kernel_size"])
    padding = [[edge, edge] for edge in pair(call["padding"])]
    stride = pair(call["stride"]) if call["stride"] else kernel
    fields |= {"ceil_mode": call["ceil_mode"]}
    return call.add(op, call.value(), kernel=kernel, stride=stride, padding=padding, **fields)


@CALLS.register("aten.adaptive_avg_pool2d", "aten.adaptive_max_pool2d")
def _adaptive_pool(call: Call) -> Value | tuple[Value | None, ...] | None:
    x = call.value()
    if x is None:
        return None
    of_maximum = "max" in call.function
    wanted: list[int | None] = _sizes(call["output_size"])
    rows, columns = (own if size is None else size for size, own in zip(wanted, x.shape[1:], strict=True))
    if (rows, columns) == (1, 1):
        pooled = call.add("global_max_pool" if of_maximum else "global_avg_pool", x)
    elif (rows, columns) == x.shape[1:]:
        pooled = x
    elif x.shape[1] % rows or x.shape[2] % columns:
        return call.refuse(f"pools {x.shape[1]}×{x.shape[2]} to {rows}×{columns} by windows of different sizes")
    else:
        kernel = [x.shape[1] // rows, x.shape[2] // columns]
        call.remarks.append(f"{call.name} is written as windows of {kernel[0]}×{kernel[1]}, for this input size")
        pooled = call.add("max_pool2d" if of_maximum else "avg_pool2d", x, kernel=kernel)
    return (pooled, None) if of_maximum else pooled


def _sizes(value: Any) -> list[int | None]:
    return list(cast("Sequence[int | None]", value)) if isinstance(value, list | tuple) else [value, value]


@CALLS.register("aten.mean.dim", "aten.amax", "aten.sum.dim_IntList")
def _reduction(call: Call) -> Value | None:
    x = call.value()
    if x is None:
        return None
    rank = len(x.shape) + 1
    dims = call["dim"]
    axes = sorted((dim % rank) - 1 for dim in ([dims] if isinstance(dims, int) else dims or range(rank)))
    if axes[0] < 0:
        return call.refuse("reduces over the batch")
    word = {"mean": "mean", "amax": "max", "sum": "sum"}[call.function.split(".")[1]]
    whole = len(x.shape) == 3 and axes == [1, 2]
    if whole and word != "sum":
        reduced = call.add("global_avg_pool" if word == "mean" else "global_max_pool", x)
    else:
        reduced = call.add(word, x, axis=axes if len(axes) > 1 else axes[0])
    return reduced if call["keepdim"] else call.reshaped(reduced)
