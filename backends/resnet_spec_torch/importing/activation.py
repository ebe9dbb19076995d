"""Activations and regularization."""

from __future__ import annotations

from resnet_spec.backend import Value
from resnet_spec_torch.importing.call import CALLS, Call, Expression

_PLAIN = {
    "relu": "relu",
    "relu6": "relu6",
    "silu": "silu",
    "mish": "mish",
    "sigmoid": "sigmoid",
    "hardsigmoid": "hard_sigmoid",
    "hardswish": "hard_swish",
    "tanh": "tanh",
}


@CALLS.register(*(f"aten.{name}" for name in _PLAIN))
def _plain(call: Call) -> Value | None:
    return call.add(_PLAIN[call.function.removeprefix("aten.")], call.value())


@CALLS.register("aten.hardtanh", "aten.clamp")
def _clipped(call: Call) -> Value | Expression | None:
    limits = [call[name] for name in list(call.arguments)[1:]]
    if limits == [0, 6]:
        return call.add("relu6", call.value())
    if limits == [0, None]:
        return call.add("relu", call.value())
    return call.defer(f"clips to {limits[0]} and {limits[1]}, which no operation does")


@CALLS.register("aten.leaky_relu")
def _leaky_relu(call: Call) -> Value | None:
    return call.add("leaky_relu", call.value(), slope=float(call["negative_slope"]))


@CALLS.register("aten.elu")
def _elu(call: Call) -> Value | None:
    if (call["scale"], call["input_scale"]) != (1, 1):
        return call.refuse("is a scaled ELU")
    return call.add("elu", call.value(), alpha=float(call["alpha"]))


@CALLS.register("aten.gelu")
def _gelu(call: Call) -> Value | None:
    return call.add("gelu", call.value(), approximate=call["approximate"] == "tanh")


@CALLS.register("aten.softplus")
def _softplus(call: Call) -> Value | None:
    # Beyond a threshold of 20 the identity differs by less than float32 rounds.
    if call["beta"] != 1 or call["threshold"] < 20:
        return call.refuse("is a softplus with another beta, or a threshold below 20")
    return call.add("softplus", call.value())


@CALLS.register("aten.softmax.int", "aten._softmax")
def _softmax(call: Call) -> Value | None:
    axis = call["dim"] - 1 if call["dim"] > 0 else len(call.shape) + call["dim"]
    return call.add("softmax", call.value(), axis=axis)


@CALLS.register("aten.dropout")
def _dropout(call: Call) -> Value | None:
    return call.add("dropout", call.value(), rate=float(call["p"]))


@CALLS.register("aten.feature_dropout", "aten.alpha_dropout", "aten.feature_alpha_dropout")
def _left_out(call: Call) -> Value | None:
    call.remark(f"{call.function.removeprefix('aten.')}, which acts in training only and is left out")
    return call.value()
