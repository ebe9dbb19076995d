"""Normalizations."""

from __future__ import annotations

from typing import Any

from resnet_spec.backend import Value
from resnet_spec_torch.importing.call import CALLS, Array, Call


@CALLS.register("aten.batch_norm")
def _batch_norm(call: Call) -> Value | None:
    if call["training"] or call["running_mean"] is None:
        return call.refuse("normalizes by the batch's own statistics, also in inference")
    momentum = call["momentum"]
    if not momentum and getattr(call.layer, "momentum", None) != 0:
        # In inference PyTorch states 0 for a cumulative average, too.
        momentum = 0.1
        call.remark("batch normalizations with a cumulative average, written with momentum 0.1")
    names = ("weight", "bias", "running_mean", "running_var")
    return call.add_layer(
        "batch_norm",
        call.value(),
        {name: call[name] for name in names},
        epsilon=call["eps"],
        momentum=momentum,
        running_variance="unbiased",
        scale=call["weight"] is not None,
        offset=call["bias"] is not None,
    )


def _affine(call: Call) -> dict[str, Any]:
    return {"scale": call["weight"] is not None, "offset": call["bias"] is not None}


def _slots(call: Call) -> dict[str, Any]:
    return {name: call[name] for name in ("weight", "bias")}


@CALLS.register("aten.group_norm")
def _group_norm(call: Call) -> Value | None:
    fields = {"groups": call["num_groups"], "epsilon": call["eps"], **_affine(call)}
    return call.add_layer("group_norm", call.value(), _slots(call), **fields)


@CALLS.register("aten.layer_norm")
def _layer_norm(call: Call) -> Value | None:
    x = call.value()
    if len(call["normalized_shape"]) != 1:
        return call.refuse("normalizes over several axes")
    axis = 0 if x is None else len(x.shape) - 1
    return call.add_layer("layer_norm", x, _slots(call), axis=axis, epsilon=call["eps"], **_affine(call))


@CALLS.register("aten.instance_norm")
def _instance_norm(call: Call) -> Value | None:
    if not call["use_input_stats"]:
        return call.refuse("is an instance normalization with running statistics")
    return call.add_layer("instance_norm", call.value(), _slots(call), epsilon=call["eps"], **_affine(call))


@CALLS.register("aten.prelu")
def _prelu(call: Call) -> Value | None:
    weight = call["weight"]
    slopes = weight.tensor.numel() if isinstance(weight, Array) else 1
    return call.add_layer("prelu", call.value(), {"weight": weight}, per_channel=slopes > 1)
