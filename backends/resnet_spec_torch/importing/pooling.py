"""Pools and reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch.nn import functional

from resnet_spec.backend import Value
from resnet_spec.operations import AvgPool, Pad
from resnet_spec.operations.windows import is_unpadded
from resnet_spec_torch.importing.call import CALLS, Call, Expression, Unreached, each, edges
from resnet_spec_torch.importing.formulas import constant


@CALLS.register("aten.max_pool1d", "aten.max_pool2d", "aten.max_pool3d")
def _max_pool(call: Call) -> Value | None:
    if each(call["dilation"], _rank(call)) != 1:
        return call.refuse("is a dilated pool")
    return _pool(call, f"max_pool{_rank(call)}d")


@CALLS.register("aten.avg_pool1d", "aten.avg_pool2d", "aten.avg_pool3d")
def _avg_pool(call: Call) -> Value | None:
    if call.arguments.get("divisor_override") is not None:
        return call.refuse("divides by a number of its own")
    padded = {"count_include_pad": call["count_include_pad"]} if edges(call["padding"], _rank(call)) else {}
    return _pool(call, f"avg_pool{_rank(call)}d", **padded)


def _rank(call: Call) -> int:
    """The rank in a function's name, such as ``aten.max_pool2d``."""
    return int(call.function[-2])


def _pool(call: Call, op: str, **fields: bool) -> Value | None:
    rank = _rank(call)
    kernel = each(call["kernel_size"], rank)
    stride = each(call["stride"], rank) if call["stride"] else kernel
    padding = edges(call["padding"], rank)
    x = call.value()
    if isinstance(x, Unreached):
        if padding or call["ceil_mode"]:
            return call.refuse("pads twice")
        x, padding = Value(x.index, x.unpadded), x.padding
    pad = call.made_by(x, f"pad{rank}d") if op.startswith("avg") and not call["ceil_mode"] else None
    if pad and not padding and isinstance(pad.operation, Pad) and pad.operation.adds_zeros:
        (x,), padding, fields = pad.inputs, pad.operation.padding, {"count_include_pad": True}
    return call.add(op, x, kernel=kernel, stride=stride, padding=padding, ceil_mode=call["ceil_mode"], **fields)


def average_of_counted(call: Call, x: Value, counts: Any) -> Value | None:
    """The average without the padding, if a padded average is divided by that of ones which are padded alike."""
    pool = call.builder.draft(x) if call.alone else None
    if pool is None or not isinstance(pool.operation, AvgPool) or not isinstance(counts, Expression):
        return None
    op, found = pool.operation, constant(counts)
    # ``same`` may be no padding at a size: the average is divided by ones.
    counts_all = op.count_include_pad or is_unpadded(op.padding)
    if found is None or not counts_all or isinstance(op.padding, str) or op.ceil_mode:
        return None
    ones = torch.ones(1, 1, *pool.inputs[0].shape[1:])
    padded = functional.pad(ones, [edge for pair in reversed(op.padding) for edge in pair])
    average: Any = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[op.rank - 1]
    if not torch.equal(found, average(padded, op.kernel, op.stride)):
        return None
    return call.builder.replace(x, pool.inputs, count_include_pad=False)


@CALLS.register(*(f"aten.adaptive_{kind}_pool{rank}d" for kind in ("avg", "max") for rank in (1, 2, 3)))
def _adaptive_pool(call: Call) -> Value | tuple[Value | None, ...] | None:
    x = call.value()
    if x is None:
        return None
    of_maximum = "max" in call.function
    rank, positions = _rank(call), x.shape[1:]
    sizes = [
        own if size is None else size for size, own in zip(_sizes(call["output_size"], rank), positions, strict=True)
    ]
    if sizes == [1] * rank:
        pooled = call.add("global_max_pool" if of_maximum else "global_avg_pool", x)
    elif sizes == list(positions):
        pooled = x
    elif any(own % size for own, size in zip(positions, sizes, strict=True)):
        given, wanted = ("×".join(map(str, shape)) for shape in (positions, sizes))
        return call.refuse(f"pools {given} to {wanted} by windows of different sizes")
    else:
        kernel = [own // size for own, size in zip(positions, sizes, strict=True)]
        call.remark(f"adaptive pools, written as windows of {'×'.join(map(str, kernel))} for this input size")
        pooled = call.add(f"{'max' if of_maximum else 'avg'}_pool{rank}d", x, kernel=each(kernel, rank))
    return (pooled, None) if of_maximum else pooled


def _sizes(value: Any, rank: int) -> list[int | None]:
    return list(cast("Sequence[int | None]", value)) if isinstance(value, list | tuple) else [value] * rank


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
    whole = len(x.shape) > 1 and axes == list(range(1, len(x.shape)))
    if whole and word != "sum":
        reduced = call.add("global_avg_pool" if word == "mean" else "global_max_pool", x)
    else:
        reduced = call.add(word, x, axis=axes if len(axes) > 1 else axes[0])
    return reduced if call["keepdim"] else call.reshaped(reduced)
